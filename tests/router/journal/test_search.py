"""A text is found in the bytes of a journal, whatever form a message holds it in."""

from __future__ import annotations

import json
from base64 import b64encode
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.journal.search import Key, id_of, needles, places

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=6, max_size=40)


@given(TEXTS, st.text(max_size=9), st.text(max_size=9))
def test_a_text_is_found_in_every_form(text: str, before: str, after: str) -> None:
    whole = (before + text + after).encode("utf-8", "replace")
    forms = [
        whole,
        b64encode(whole),
        json.dumps({"body": text}).encode(),
        json.dumps({"body": text}, ensure_ascii=False).encode(),
        f"<body>{escape(text)}</body>".encode(),
    ]
    for form in forms:
        assert any(needle in form for needle in needles(text))


@given(st.text(min_size=1, max_size=5))
def test_no_needle_is_empty_or_every_batch_would_hold_it(text: str) -> None:
    assert all(needles(text.encode("utf-8", "replace").decode()))


def test_an_id_is_found_only_where_an_id_begins() -> None:
    ids = bytes(range(48))
    key = id_of(ids[16:32].hex())
    assert key is not None
    assert places(key, ids) == [1]
    assert places(key, ids[1:]) == []
    assert id_of("x" * 32) is None
    assert id_of("ab") is None


@pytest.mark.parametrize("written", ["Bob.Smith@Example.NET", "bob.smith@example.net", "BOB.SMITH@EXAMPLE.NET"])
@pytest.mark.parametrize("typed", ["bob.smith@example.net", "BOB.Smith@example.Net"])
def test_an_address_is_found_in_any_case_and_an_id_only_as_it_is(written: str, typed: str) -> None:
    body = f"env_id=AbC&rcpt={written}&status=0".encode()
    assert Key(typed).within(b"", body)
    assert Key(typed).indices(b"", [(body, {}), (b"", {"to": written}), (b"", {})]) == [1, 0]
    assert Key("AbC").within(b"", body)
    assert not Key("abc").within(b"", body)

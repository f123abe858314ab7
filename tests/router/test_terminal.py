"""Text of others does nothing to a terminal, and stays readable; JSON of it keeps its value."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.terminal import harmless, harmless_json, quoted

ANY = st.text(st.characters())
"""Lone surrogates, too."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten\b\b", r"over\rwritten\x08\x08"),
        ("one\ntwo\ttabs\v\f", r"one\ntwo\ttabs\x0b\x0c"),
        ("\x9b2J\x85 \x90q\x9c", r"\x9b2J\x85 \x90q\x9c"),
        ("\x7f", r"\x7f"),
        ("\u202egnp.exe \u2066x\u2069 \u200f\u061c", r"\u202egnp.exe \u2066x\u2069 \u200f\u061c"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("no\u200bthing\ufeff\u2060", r"no\u200bthing\ufeff\u2060"),
        ("\udc80\ud800", r"\udc80\ud800"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("550 用户不存在\u3000ok, Ünï, שלום, 👍", "550 用户不存在\u3000ok, Ünï, שלום, 👍"),
        (r"a \x1b that somebody wrote", r"a \x1b that somebody wrote"),
    ],
)
def test_what_a_terminal_acts_on_is_shown_as_an_escape_and_letters_as_they_are(text: str, shown: str) -> None:
    assert harmless(text) == shown


def acts(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}]


@settings(max_examples=100)
@given(ANY)
def test_nothing_that_acts_is_left_and_what_is_harmless_stays(text: str) -> None:
    shown = harmless(text)
    assert not acts(shown)
    assert harmless(shown) == shown


@settings(max_examples=100)
@given(st.text())
def test_json_has_the_same_value_and_nothing_in_it_acts(text: str) -> None:
    document = json.dumps({text: [text]}, ensure_ascii=False).encode()
    shown = harmless_json(document)
    assert json.loads(shown) == {text: [text]}
    assert not acts(shown)


def test_a_value_cannot_be_taken_for_more_fields() -> None:
    assert quoted("plain-1.2") == "plain-1.2"
    assert quoted("550 no  status=0") == '"550 no  status=0"'
    assert quoted('a" status=0 b="') == r'"a\" status=0 b=\""'
    assert quoted("") == '""'

"""Events: their outward form."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from router.event import Event, Message


class Bare(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str = ""


class Extras(msgspec.Struct, frozen=True):
    from_: str = msgspec.field(name="from", default="")
    extra: dict[str, str] = {}


def event(fields: msgspec.Struct) -> Event:
    time = datetime(2026, 1, 1, tzinfo=UTC)
    return Event(id="ab", type="t", time=time, source="s", fields=fields, message=Message(b"", 1.5))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (Bare(), {}),
        (Bare("x"), {"text": "x"}),
        (Extras("y"), {"from": "y"}),
        (Extras("y", {"new": "1", "from": "forged"}), {"from": "y", "new": "1"}),
        (Bare('"extra":'), {"text": '"extra":'}),
    ],
)
def test_json_is_one_flat_object(fields: msgspec.Struct, expected: dict[str, str]) -> None:
    """An extra key never takes the place of a field."""
    flat = json.loads(event(fields).json())
    envelope = {
        "id": "ab",
        "type": "t",
        "time": "2026-01-01T00:00:00Z",
        "received": "1970-01-01T00:00:01.500000Z",
        "source": "s",
    }
    assert flat == {**envelope, **expected}


def test_fields_are_read_by_their_outward_names() -> None:
    one = event(Extras("y", {"new": "1"}))
    assert [one.get(n) for n in ("from", "new", "type", "id", "from_", "nothing")] == ["y", "1", "t", "ab", None, None]


def test_what_is_not_declared_has_a_name_of_its_own_even_where_a_field_has_the_same() -> None:
    one = event(Extras("y", {"new": "1", "from": "forged", "extra.class": "hard"}))
    assert [one.get(n) for n in ("extra.new", "extra.from", "extra.class", "from", "extra.nothing")] == [
        "1", "forged", "hard", "y", None
    ]  # fmt: skip

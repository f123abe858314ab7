"""Which texts a field can have: so that it is a mistake of a config to compare it with another, which never matches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum, EnumType
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import msgspec

from router.event import ENVELOPE_FIELDS


class Values(msgspec.Struct, frozen=True):
    """The texts that a field can have, apart from the empty one of a field that is absent."""

    pattern: str
    """A regular expression that fits the whole of each of them, and of what a later version of their writer may say."""
    said: str
    """What they are, in words: `a whole number`."""
    letters: str = ""
    """The characters that they are made of, as in a set of a regular expression (`a-z0-9-`); empty: any."""
    words: tuple[str, ...] = ()
    """The known ones, if there are few; of `type` how those begin that have no known name."""
    called: Mapping[str, str] = {}
    """What people say, in lower case, to the value that means it: for hints."""

    def include(self, text: str) -> bool:
        """Say whether the field can have the text."""
        return not text or re.fullmatch(self.pattern, text, re.DOTALL) is not None

    def odd(self, text: str) -> str:
        """Return the characters of a part of a text that the field's never have."""
        return re.sub(f"[{self.letters}]", "", text) if self.letters else ""


NUMBER = Values(r"-?(?:0|[1-9][0-9]*)", "a whole number", "0-9-")
_DECIMAL = Values(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", "a number", "0-9.eE+-")
_BOOLEAN = Values("true|false", "true or false", "a-z", ("true", "false"))
_DATE = Values(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a date, such as 2026-03-01", "0-9-")
_MOMENT = Values(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?",
    "a time, such as 2026-03-01T09:00:01+08:00",
    "0-9TZ:.+-",
)
_BY_TYPE: Mapping[Any, Values] = {bool: _BOOLEAN, int: NUMBER, float: _DECIMAL, datetime: _MOMENT, date: _DATE}

ENVELOPE = {
    "id": Values("[0-9a-f]{32}", "32 of 0-9 and a-f", "0-9a-f"),
    "time": _MOMENT,
    "received": _MOMENT,
}
"""What the engine gives to every event; a decoder says what types there are, and a config what sources."""
assert set(ENVELOPE) < set(ENVELOPE_FIELDS)


def of_type(hint: Any) -> Values | None:
    """Return the values that a type of a struct's field allows; None where they can be any text."""
    bare: Any = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(bare) in {Union, UnionType}:
        members = [member for member in get_args(bare) if member is not type(None)]
        return of_type(members[0]) if len(members) == 1 else None
    if get_origin(bare) is Literal:
        return _one_of([_written(value) for value in get_args(bare)])
    if isinstance(bare, EnumType):
        return _one_of([_written(member.value) for member in cast("type[Enum]", bare)])
    return _BY_TYPE.get(bare)


def _one_of(words: list[str]) -> Values:
    return Values("|".join(map(re.escape, words)), f"one of {', '.join(words)}", "", tuple(words))


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

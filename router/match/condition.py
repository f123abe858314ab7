"""The algebra of conditions: tests of one field each, joined by and, or and not.

A condition is frozen and has a stable `repr`. It can be asked about an event (`matches`), or told what some
fields are (`given`): what is left is decided, or a smaller condition on the other fields. That partial
evaluation is what makes routing flat in the number of routes.
"""

# ruff: noqa: D102 - `Condition` says what they do

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from router.event import Event
from router.match.operators import Operator


class Condition(msgspec.Struct, frozen=True):
    """Something that holds of an event or does not."""

    @property
    def fields(self) -> frozenset[str]:
        """The names of all fields that it looks at."""
        raise NotImplementedError

    def matches(self, event: Event) -> bool:
        """Say whether it holds of the event."""
        raise NotImplementedError

    def given(self, texts: Mapping[str, str]) -> Condition:
        """Return what is left to ask when these fields have these texts: `ALWAYS`, `NEVER` or a smaller condition."""
        raise NotImplementedError


class Test(Condition, frozen=True):
    """The operator holds of the field's text."""

    __test__ = False
    """Tell pytest that this is no test case."""

    field: str
    operator: Operator

    @property
    def fields(self) -> frozenset[str]:
        return frozenset((self.field,))

    def matches(self, event: Event) -> bool:
        return self.operator.holds(text_of(event, self.field))

    def given(self, texts: Mapping[str, str]) -> Condition:
        text = texts.get(self.field)
        if text is None:
            return self
        return ALWAYS if self.operator.holds(text) else NEVER


class All(Condition, frozen=True):
    """Every part holds; so with no parts, always."""

    parts: tuple[Condition, ...]

    @property
    def fields(self) -> frozenset[str]:
        return frozenset[str]().union(*(part.fields for part in self.parts))

    def matches(self, event: Event) -> bool:
        return all(part.matches(event) for part in self.parts)

    def given(self, texts: Mapping[str, str]) -> Condition:
        left: list[Condition] = []
        for part in self.parts:
            rest = part.given(texts)
            if rest == NEVER:
                return NEVER
            left.extend(rest.parts if isinstance(rest, All) else (rest,))
        return left[0] if len(left) == 1 else All(tuple(left))


class Either(Condition, frozen=True):
    """At least one part holds; so with no parts, never."""

    parts: tuple[Condition, ...]

    @property
    def fields(self) -> frozenset[str]:
        return frozenset[str]().union(*(part.fields for part in self.parts))

    def matches(self, event: Event) -> bool:
        return any(part.matches(event) for part in self.parts)

    def given(self, texts: Mapping[str, str]) -> Condition:
        left: list[Condition] = []
        for part in self.parts:
            rest = part.given(texts)
            if rest == ALWAYS:
                return ALWAYS
            left.extend(rest.parts if isinstance(rest, Either) else (rest,))
        return left[0] if len(left) == 1 else Either(tuple(left))


class Not(Condition, frozen=True):
    """The part does not hold."""

    part: Condition

    @property
    def fields(self) -> frozenset[str]:
        return self.part.fields

    def matches(self, event: Event) -> bool:
        return not self.part.matches(event)

    def given(self, texts: Mapping[str, str]) -> Condition:
        rest = self.part.given(texts)
        if rest == ALWAYS:
            return NEVER
        return ALWAYS if rest == NEVER else Not(rest)


ALWAYS = All(())
NEVER = Either(())


def text_of(event: Event, field: str) -> str:
    """Return the field's text as `Event.json()` shows it; empty where the event has no such field."""
    if field == "received":
        return as_text(datetime.fromtimestamp(event.received, UTC))
    return as_text(event.get(field))


def as_text(value: Any) -> str:
    """Return the text that a value is compared by, the one that it has in JSON; None is the empty text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    plain = msgspec.to_builtins(value)
    return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()

"""All routes of a config compiled together, so that an event costs the same however many do not want it.

Fields with few distinct values (the decoder says which; plus type, source and the account) make the routing
key of an event. For each key that occurs, every route is decided once as far as the key decides it, and the
outcome is remembered: the routes that want the event for sure, and those that depend on further fields. Of
the latter, the ones that want an exact value of a field are found through an index, and only the others are
asked one by one.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TypeAlias

import msgspec
import structlog

from router.event import ENVELOPE_FIELDS, LOST, UNDECODABLE, Event, UndecodableFields
from router.match.condition import ALWAYS, NEVER, All, Condition, Test, text_of
from router.match.operators import OneOf
from router.plugin import Decoder

MEMO_KEYS = 65_536
MEMO_RESIDUE = 1_000_000
"""The memo is emptied beyond so many keys, or so many undecided routes in its outcomes: it stays below some 100 MB."""

EVERYONE = "*"
"""The account pattern of those who see everything, and alone see what has no account."""

log = structlog.get_logger("match")

Undecided: TypeAlias = tuple[tuple[int, Condition], ...]
"""Routes, by their indices, with what is left to ask about the event."""


class Route(msgspec.Struct, frozen=True):
    """What goes to one subscription: the matching events of the accounts that one of the globs covers, in any case."""

    accounts: tuple[str, ...]
    condition: Condition

    def sees(self, account: str, *, decoded: bool = True) -> bool:
        """Say whether results of an account go here at all; those that could not be decoded go to `EVERYONE` alone."""
        return _Visibility(self.accounts).includes(account.lower()) if decoded else EVERYONE in self.accounts


class _Outcome(msgspec.Struct, frozen=True):
    """What a routing key decides: the routes that want the event for sure, and what it takes to know the others."""

    sure: tuple[int, ...]
    rest: _Rest | None


class _Rest(msgspec.Struct, frozen=True):
    """The undecided routes. `indexed` has, for a field, its text to the routes that want that very text."""

    asked: Undecided
    indexed: tuple[tuple[str, Mapping[str, Undecided]], ...]


class Routes:
    """Says which of the routes want an event."""

    def __init__(self, routes: Sequence[Route], decoder: Decoder) -> None:
        self._routes = tuple(routes)
        self._visible = {accounts: _Visibility(accounts) for accounts in {route.accounts for route in routes}}
        self._account = decoder.account
        self._decoder = f"{type(decoder).__qualname__} of {type(decoder).__module__}"
        self._narrow = _key_fields(self._routes, decoder)
        self._key = _key_of(self._narrow, decoder)
        self._memo: dict[Hashable, _Outcome] = {}
        self._outcomes: dict[Undecided, _Outcome] = {}
        self._residue = 0
        self._failed = False
        everything = ((i, route) for i, route in enumerate(routes) if EVERYONE in route.accounts)
        self._undecodable = _outcome(_left(everything, {"type": UNDECODABLE}))

    def wanted(self, event: Event) -> tuple[int, ...]:
        """Return the indices of the routes that want the event, in ascending order; never raises.

        The event may be journalled already: what cannot be matched goes where what cannot be decoded goes.
        """
        try:
            if event.type == UNDECODABLE:
                if event.id == LOST:
                    return ()
                outcome = self._undecodable
            else:
                key = self._key(event)
                outcome = self._memo.get(key) or self._decide(key, event)
            return outcome.sure if outcome.rest is None else _ask(outcome.sure, outcome.rest, event)
        except Exception as error:  # noqa: BLE001 - the daemon would end, and at every start again
            return self._unmatched(event, error)

    def _unmatched(self, event: Event, error: Exception) -> tuple[int, ...]:
        """Route an event that the decoder vouches for, and that makes matching fail."""
        reason = f"it cannot be matched: {type(error).__name__}"
        if not self._failed:  # there may be as many as events
            self._failed = True
            log.error("events cannot be matched", id=event.id, decoder=self._decoder, exc_info=error)
        fields = UndecodableFields(reason, "")
        unknown = Event(event.id, UNDECODABLE, event.time, event.source, fields, event.message)
        try:
            sure, rest = self._undecodable.sure, self._undecodable.rest
            return sure if rest is None else _ask(sure, rest, unknown)
        except Exception:  # noqa: BLE001 - the same again: a pattern that nothing can be held against
            return self._undecodable.sure

    def _decide(self, key: Hashable, event: Event) -> _Outcome:
        """Decide every route as far as the key does, and remember it; equal outcomes are kept once."""
        texts = {field: text_of(event, field) for field in self._narrow}
        account = texts.get(self._account, "").lower()
        seen = {accounts for accounts, visibility in self._visible.items() if visibility.includes(account)}
        left = _left(((i, route) for i, route in enumerate(self._routes) if route.accounts in seen), texts)
        if len(self._memo) >= MEMO_KEYS or self._residue > MEMO_RESIDUE:
            self._memo.clear()
            self._outcomes.clear()
            self._residue = 0
        outcome = self._outcomes.get(left)
        if outcome is None:
            outcome = self._outcomes[left] = _outcome(left)
            self._residue += len(left)
        self._memo[key] = outcome
        return outcome


class _Visibility:
    """The account globs of one department, compiled into one."""

    def __init__(self, accounts: tuple[str, ...]) -> None:
        self._everyone = EVERYONE in accounts
        self._globs = tuple(re.compile(fnmatch.translate(glob.lower())) for glob in accounts)

    def includes(self, account: str) -> bool:
        """Say whether an account, in lower case, is one that the department may see."""
        return self._everyone or any(glob.match(account) for glob in self._globs)


def _key_fields(routes: Sequence[Route], decoder: Decoder) -> tuple[str, ...]:
    """Return the fields of the routing key: the narrow ones that any route looks at."""
    looked_at = {field for route in routes for field in route.condition.fields}
    narrow = looked_at & {*decoder.narrow, "type", "source", decoder.account}
    if any(EVERYONE not in route.accounts for route in routes):
        narrow.add(decoder.account)
    return tuple(sorted(narrow))


def _key_of(fields: tuple[str, ...], decoder: Decoder) -> Callable[[Event], Hashable]:
    """Return what reads the routing key from an event."""
    attributes = {f.encode_name: f"fields.{f.name}" for f in msgspec.structs.fields(decoder.fields)}
    if not fields:
        return lambda _event: None
    return attrgetter(*(field if field in ENVELOPE_FIELDS else attributes[field] for field in fields))


def _left(routes: Iterable[tuple[int, Route]], texts: Mapping[str, str]) -> Undecided:
    """Return the routes that may want an event with these texts, and what is left to ask for each."""
    left = ((i, route.condition.given(texts)) for i, route in routes)
    return tuple((i, condition) for i, condition in left if condition != NEVER)


def _outcome(left: Undecided) -> _Outcome:
    sure: list[int] = []
    asked: list[tuple[int, Condition]] = []
    indexed: dict[str, dict[str, list[tuple[int, Condition]]]] = {}
    for index, condition in left:
        exact = _exact(condition)
        if condition == ALWAYS:
            sure.append(index)
        elif exact is None:
            asked.append((index, condition))
        else:
            field, operator, rest = exact
            texts = indexed.setdefault(field, {})
            for text in operator.texts:
                texts.setdefault(text, []).append((index, rest))
    if not asked and not indexed:
        return _Outcome(tuple(sure), None)
    frozen = tuple((field, {t: tuple(routes) for t, routes in texts.items()}) for field, texts in indexed.items())
    return _Outcome(tuple(sure), _Rest(tuple(asked), frozen))


def _exact(condition: Condition) -> tuple[str, OneOf, Condition] | None:
    """Find a test for exact texts that must hold, and what else must; None if there is no such test."""
    parts = condition.parts if isinstance(condition, All) else (condition,)
    for place, part in enumerate(parts):
        if isinstance(part, Test) and isinstance(part.operator, OneOf):
            return part.field, part.operator, All(parts[:place] + parts[place + 1 :])
    return None


def _ask(sure: tuple[int, ...], rest: _Rest, event: Event) -> tuple[int, ...]:
    """Ask the event about all that its key left open."""
    found = [index for index, condition in rest.asked if condition.matches(event)]
    for field, texts in rest.indexed:
        found += [index for index, condition in texts.get(text_of(event, field), ()) if condition.matches(event)]
    return tuple(sorted((*sure, *found))) if found else sure

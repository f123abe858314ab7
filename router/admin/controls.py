"""What the admin API can ask of the daemon, and the forms in which it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from router.admin.explanation import Explanation
from router.admin.questions import Unclear
from router.admin.status import Status
from router.config.moment import moment
from router.journal import DeadLetter, Kind, State
from router.journal.replay import Replay
from router.match import ALWAYS, parse
from router.plugin import Decoder
from router.verify import Balance

When: TypeAlias = float | str
"""Unix seconds, or a date and time in ISO 8601: without a zone of its own it is in the decoder's."""


def seconds_of(when: When, decoder: Decoder) -> float:
    """Return Unix seconds; raises `Unclear` for a text that is no time."""
    if not isinstance(when, str):
        return when
    try:
        return moment(when, time.time(), decoder.zone())
    except ValueError as error:
        raise Unclear(str(error)) from error


class Letter(msgspec.Struct, frozen=True):
    """A dead letter on the wire; `event` is its flat JSON. Times are Unix seconds."""

    position: int
    kind: Kind
    reason: str
    status: int | None
    attempts: int
    first_try: float
    last_try: float
    event: msgspec.Raw


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which of a subscription's dead letters: all, but for what is said here.

    `since` and `until` bound when they were given up on; `match` is as in the config.
    """

    kind: Kind | None = None
    since: When | None = None
    until: When | None = None
    match: dict[str, Any] | None = None
    positions: frozenset[int] | None = None

    def chooser(self, decoder: Decoder) -> Callable[[DeadLetter], bool]:
        """Return what says whether a letter is meant; raises `BadPattern`, or `Unclear` for what is no time."""
        condition = ALWAYS if self.match is None else parse(self.match, decoder)
        since = None if self.since is None else seconds_of(self.since, decoder)
        until = None if self.until is None else seconds_of(self.until, decoder)

        def chosen(letter: DeadLetter) -> bool:
            return (
                self.kind in {None, letter.kind}
                and (self.positions is None or letter.position in self.positions)
                and (since is None or since <= letter.last_try)
                and (until is None or letter.last_try < until)
                and condition.matches(letter.event)
            )

        return chosen


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to do with dead letters: those chosen, replayed at so many a second."""

    choice: Choice = Choice()
    per_second: float = 100.0


class ReplayOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to deliver again: stored from `since` to before `until`; `match` is as in a config."""

    since: When
    until: When | None = None
    match: dict[str, Any] | None = None
    per_second: float = 100.0

    def times(self, decoder: Decoder) -> tuple[float, float | None]:
        """Return `since` and `until` in Unix seconds; raises `Unclear`."""
        return seconds_of(self.since, decoder), None if self.until is None else seconds_of(self.until, decoder)


class ReplayChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which replay to stop or to go on with; None for all or the last one. `per_second` changes its rate."""

    number: int | None = None
    per_second: float | None = None


class ReplayReport(msgspec.Struct, frozen=True):
    """A replay of a subscription; what it waits for, and what else is to be said, if anything."""

    subscription: str
    replay: Replay
    waits: str = ""
    note: str = ""


class ReloadOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to reload: whether to say only what would change, and what to do with what would be orphaned.

    It may be dropped, or has `drain` seconds to be delivered.
    """

    drop: bool = False
    drain: float = 0.0
    plan: bool = False


class Done(msgspec.Struct, frozen=True):
    """What was done, in one line, and to how many."""

    text: str
    count: int = 0


class Letters(Protocol):
    """The daemon's dead letters. All raise `RouterError` for what cannot be done, with the likely fix."""

    async def choose(self, name: str, choice: Choice, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return up to `limit` of a subscription's dead letters at positions above `after`, in order."""
        ...

    async def replay(self, name: str, choice: Choice, per_second: float) -> int:
        """Give dead letters another life, at a rate; returns how many."""
        ...

    async def discard(self, name: str, choice: Choice) -> int:
        """Forget dead letters; returns how many."""
        ...


class Replays(Protocol):
    """The daemon's replays. All raise `RouterError` for what cannot be done, with the likely fix."""

    def known(self, name: str = "") -> Sequence[ReplayReport]:
        """Return the replays of a subscription, or of all."""
        ...

    async def begin(self, name: str, order: ReplayOrder) -> ReplayReport:
        """Begin to deliver again what is past."""
        ...

    async def stop(self, name: str, number: int | None) -> Sequence[ReplayReport]:
        """Stop a replay, or all that are not over."""
        ...

    async def resume(self, name: str, number: int | None, per_second: float | None) -> Sequence[ReplayReport]:
        """Go on with a replay that was stopped."""
        ...


class Controls(Protocol):
    """The daemon. All raise `RouterError` for what cannot be done, with the likely fix."""

    @property
    def replays(self) -> Replays:
        """The replays."""
        ...

    @property
    def letters(self) -> Letters:
        """The dead letters."""
        ...

    def status(self) -> Status:
        """Return a snapshot."""
        ...

    def turn(self, name: str, state: State) -> str:
        """Pause a subscription, or let it deliver again, and at once; returns what waits all the same, until when.

        `kept` waits until that is on disk.
        """
        ...

    async def kept(self, what: str) -> None:
        """Wait until what was done is on disk; if it cannot be, that is said behind `what` was done."""
        ...

    async def forget(self, name: str) -> str:
        """Drop all that is kept of a subscription that is not in the config; returns what that was, in a line."""
        ...

    async def explain(self, key: str, limit: int) -> Explanation:
        """Say what became of the newest events that a key names."""
        ...

    async def verify(self) -> Sequence[Balance]:
        """Recompute the balance of every subscription from the journal, by the config that is in force."""
        ...

    async def reload_file(self, *, drop: bool, drain: float, only_plan: bool) -> str:
        """Read the config file again and go on by it; returns what changed."""
        ...


def letter_of(letter: DeadLetter) -> Letter:
    """Return the form of a dead letter on the wire."""
    return Letter(
        letter.position,
        letter.kind,
        letter.reason,
        letter.status,
        letter.attempts,
        letter.first_try,
        letter.last_try,
        msgspec.Raw(letter.event.json()),
    )

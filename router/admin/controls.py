"""What the admin API can ask of the daemon, and the forms in which it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from router.admin.status import Status
from router.journal import DeadLetter, Kind, State


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


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do with a subscription's dead letters: all, or those of one kind; replayed at so many a second."""

    kind: Kind | None = None
    per_second: float = 100.0


class ReloadOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to reload: whether what would be orphaned may be dropped, and whether to say only what would change."""

    drop: bool = False
    plan: bool = False


class Done(msgspec.Struct, frozen=True):
    """What was done, in one line, and to how many."""

    text: str
    count: int = 0


class Controls(Protocol):
    """The daemon. All raise `RouterError` for what cannot be done, with the likely fix."""

    def status(self) -> Status:
        """Return a snapshot."""
        ...

    def turn(self, name: str, state: State) -> None:
        """Pause a subscription, or let it deliver again."""
        ...

    async def dead_letters(self, name: str, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return a page of a subscription's dead letters, by position."""
        ...

    async def replay(self, name: str, kind: Kind | None, per_second: float) -> int:
        """Give dead letters another life, at a rate; returns how many."""
        ...

    async def discard(self, name: str, kind: Kind | None) -> int:
        """Forget dead letters; returns how many."""
        ...

    async def reload_file(self, *, drop: bool, only_plan: bool) -> str:
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

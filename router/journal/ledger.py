"""Where the subscriptions are, as their last commits said; and which of that is not on disk yet. Synchronous."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from router.journal import NOTHING, Change, Progress
from router.journal.records import Records


class Unwritten(msgspec.Struct, frozen=True):
    """What was committed and is to be written: progress by subscription (None forgets it), changes in order."""

    progress: Mapping[str, Progress | None] = {}
    changes: Sequence[tuple[str, Change]] = ()


class Ledger:
    """The subscriptions of a journal."""

    def __init__(self, records: Records) -> None:
        self._progress = records.progress()
        self._marks = records.marks()
        self._dead = records.dead_counts()
        self._active: frozenset[str] = frozenset()
        self._dirty: dict[str, Progress | None] = {}
        self._changes: list[tuple[str, Change]] = []

    @property
    def dirty(self) -> bool:
        """Whether something is not written yet."""
        return bool(self._dirty or self._changes)

    @property
    def settled(self) -> int:
        """The position below which no active subscription needs anything; 0 if none is active."""
        return min((p.position for n, p in self._progress.items() if n in self._active), default=0)

    @property
    def dead(self) -> dict[str, int]:
        """How many dead letters each subscription has that has any."""
        return {name: count for name, count in self._dead.items() if count}

    def progress(self, name: str) -> Progress | None:
        """Return what was committed last; None for a new one."""
        return self._progress.get(name)

    def marks(self, name: str) -> Mapping[str, int]:
        """Return the positions that the subscription's sink keeps of itself."""
        return dict(self._marks.get(name, {}))

    def activate(self, names: Iterable[str]) -> None:
        """Say whose progress decides what is settled."""
        self._active = frozenset(names)

    def commit(self, name: str, progress: Progress, change: Change) -> None:
        """Note the progress and the change."""
        self._progress[name] = self._dirty[name] = progress
        if change is not NOTHING:
            self._changes.append((name, change))
            self._marks.setdefault(name, {}).update(change.marks)
            self._dead[name] = self._dead.get(name, 0) + len(change.dead) - len(change.undead)

    def forget(self, name: str) -> None:
        """Drop all that is kept of a subscription."""
        self._dirty[name] = None
        for kept in (self._progress, self._marks, self._dead):
            kept.pop(name, None)

    def take(self) -> Unwritten:
        """Return what is to be written now."""
        taken = Unwritten(self._dirty, self._changes)
        self._dirty, self._changes = {}, []
        return taken

    def put_back(self, taken: Unwritten) -> None:
        """Note that it could not be written, before all that was committed since."""
        self._dirty = {**taken.progress, **self._dirty}
        self._changes = [*taken.changes, *self._changes]

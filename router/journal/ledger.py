"""Where the subscriptions are, as their last commits said; and which of that is not on disk yet. Synchronous."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from router.journal.progress import JUST_NOW, NOTHING, PRECISION, Change, Progress, Span
from router.journal.records import Mark, Records
from router.journal.replay import Replay

Spans: TypeAlias = Mapping[tuple[str, int], Span]
"""By subscription and first position."""


class Renamed(msgspec.Struct, frozen=True):
    """A subscription has another name from now on."""

    name: str


class Unwritten(msgspec.Struct, frozen=True):
    """What was committed and is to be written: changes in order (None forgets a subscription), then the rest."""

    changes: Sequence[tuple[str, Change | Renamed | None]] = ()
    progress: Mapping[str, Progress] = {}
    spans: Spans = {}


class _Since(NamedTuple):
    """Where a subscription was when it committed for the first time since the last write; `begun` in Unix seconds."""

    progress: Progress
    begun: float


class Ledger:
    """The subscriptions of a journal."""

    def __init__(self, records: Records) -> None:
        self._progress = records.progress()
        self._marks = records.marks()
        self._dead = records.dead_counts()
        self._replays = records.replays()
        self._active: frozenset[str] = frozenset()
        self._written = {name: one.position for name, one in self._progress.items()}
        self._overwritten: dict[str, int] = {}
        self._changes: list[tuple[str, Change | Renamed | None]] = []
        self._dirty: dict[str, Progress] = {}
        self._spans: dict[tuple[str, int], Span] = {}
        self._latest: dict[str, Span] = {}
        self._since: dict[str, _Since] = {}
        self._moved: dict[int, tuple[str, Replay]] = {}

    @property
    def dirty(self) -> bool:
        """Whether something is not written yet."""
        return bool(self._dirty or self._changes)  # a replay never moves without its subscription's progress

    @property
    def names(self) -> Sequence[str]:
        """All subscriptions that ever committed."""
        return list(self._progress)

    @property
    def needed(self) -> dict[str, int]:
        """From which position on each subscription needs the events, if it needs any, as it is written.

        Where one moved on since, what it did with the events is not on disk yet, so they have to stay. One that is not
        in the config needs what was there when it was taken out.
        """
        return {n: min(self._written[n], p.position) for n, p in self._progress.items() if not p.over}

    @property
    def settled(self) -> int:
        """The position below which no subscription needs anything; 0 if there is none."""
        return min(self.needed.values(), default=0)

    @property
    def replayed(self) -> float:
        """The position below which no running replay needs anything; infinite if there is none."""
        running = (one for n, all_ in self._replays.items() if n in self._active for one in all_.values())
        return min((one.position for one in running if one.state == "running"), default=math.inf)

    @property
    def dead(self) -> dict[str, int]:
        """How many dead letters each subscription has that has any."""
        return {name: count for name, count in self._dead.items() if count}

    def progress(self, name: str) -> Progress | None:
        """Return what was committed last; None for a new one."""
        return self._progress.get(name)

    def marks(self, name: str) -> Mapping[str, int]:
        """Return the positions that the subscription's sink keeps of itself."""
        return {key: mark.value for key, mark in self._marks.get(name, {}).items()}

    def replays(self, name: str) -> Sequence[Replay]:
        """Return a subscription's replays."""
        return list(self._replays.get(name, {}).values())

    def activate(self, names: Iterable[str]) -> None:
        """Say which subscriptions run, and with them their replays."""
        self._active = frozenset(names)

    def commit(self, name: str, progress: Progress, change: Change, tail: int) -> None:
        """Note the progress and the change; `tail` is the oldest position that is still kept."""
        if name not in self._since:
            self._since[name] = _Since(self._progress.get(name, progress), time.time())
        if change is not NOTHING:
            if change.marks:
                change = self._mark(name, change, progress.position, tail)
            self._enter(name, change)
        self._progress[name] = self._dirty[name] = progress
        self._written.setdefault(name, progress.position)

    def _enter(self, name: str, change: Change) -> None:
        if change.spans:
            self._close(name)
            for span in change.spans:
                self._note(name, span)
        for one in change.replays:  # they move often, and only where they are now is written
            self._replays.setdefault(name, {})[one.number] = one
            self._moved[one.number] = (name, one)
        for number in change.forgotten:
            self._replays[name].pop(number, None)
            self._moved.pop(number, None)
        if change.replays:
            change = replace(change, replays=())
        if not change.only_spans:
            self._changes.append((name, change))
            self._dead[name] = self._dead.get(name, 0) + len(change.dead) - len(change.undead)

    def _mark(self, name: str, change: Change, position: int, tail: int) -> Change:
        """Note the marks, and that those may go that did not change since the oldest event that is still kept.

        No event that can come again, or be replayed, was delivered before such a mark: a sink does without it.
        """
        kept = self._marks.setdefault(name, {})
        for key, value in change.marks.items():
            kept.pop(key, None)
            kept[key] = Mark(value, position)  # last, so that the oldest is first
        gone = [key for key, _ in takewhile(lambda one: one[1].position < tail, kept.items())]
        for key in gone:
            del kept[key]
        return replace(change, marked_at=position, unmarked=gone)

    def _close(self, name: str) -> None:
        """Make a span of what was delivered since it was looked at last, if anything was."""
        before, begun = self._since.pop(name)
        now = self._progress.get(name, before)
        if now.delivered > before.delivered and now.position > before.position:
            self._note(name, Span(before.position, now.position, begun - JUST_NOW, time.time()))

    def _note(self, name: str, span: Span) -> None:
        """Join a span with the one before while both lie within a second, so that there is about one row a second."""
        latest = self._latest.get(name)
        if latest and span.first >= latest.end:
            span = latest.joined(span, PRECISION) or span
        self._latest[name] = self._spans[name, span.first] = span

    def forget(self, name: str) -> None:
        """Drop all that is kept of a subscription."""
        self._changes.append((name, None))
        self._moved = {number: moved for number, moved in self._moved.items() if moved[0] != name}
        for kept in self._books:
            kept.pop(name, None)
        self._spans = {place: span for place, span in self._spans.items() if place[0] != name}

    def rename(self, old: str, new: str) -> None:
        """Move all that is kept of a subscription to another name."""
        self._changes.append((old, Renamed(new)))
        self._moved = {number: (new if n == old else n, one) for number, (n, one) in self._moved.items()}
        for kept in self._books:
            if old in kept:
                kept[new] = kept.pop(old)
        self._spans = {(new if n == old else n, first): span for (n, first), span in self._spans.items()}

    @property
    def _books(self) -> Sequence[dict[str, Any]]:
        """All that is known by names."""
        known = (self._progress, self._marks, self._dead, self._replays, self._written)
        return (*known, self._dirty, self._latest, self._since)

    def take(self) -> Unwritten:
        """Return what is to be written now."""
        for name in list(self._since):
            self._close(name)
        moved = [(name, Change(replays=[one])) for name, one in self._moved.values()]
        taken = Unwritten([*self._changes, *moved], self._dirty, self._spans)
        self._overwritten = {name: self._written[name] for name in self._dirty}
        self._written |= {name: one.position for name, one in self._dirty.items()}
        self._changes, self._dirty, self._spans, self._moved = [], {}, {}, {}
        return taken

    def put_back(self, taken: Unwritten) -> None:
        """Note that it could not be written, before all that was committed since."""
        names = {name: name for name in (*taken.progress, *(place[0] for place in taken.spans))}
        for name, change in self._changes:
            if change is None:
                names = {was: now for was, now in names.items() if now != name}
            elif isinstance(change, Renamed):
                names = {was: change.name if now == name else now for was, now in names.items()}
        self._changes = [*taken.changes, *self._changes]
        self._dirty = {names[n]: p for n, p in taken.progress.items() if n in names} | self._dirty
        spans = {(names[n], first): span for (n, first), span in taken.spans.items() if n in names}
        self._spans = spans | self._spans
        self._written |= {names[n]: position for n, position in self._overwritten.items() if n in names}

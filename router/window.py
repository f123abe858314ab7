"""The window of one subscription: which positions are out for delivery, and what of them is settled.

Chunks of the journal are opened in order, one slot each, and settled in any order. The low-water mark moves over slots
that are settled whole. What is settled above it is counted, too, when it is time for that (`whole`): so one event that
waits keeps none of the others from being known as delivered. The counters are always true of exactly the events below
the mark and in the stretches above it, see `Progress`. Pure and synchronous.

| a slot | its `open` | its `stretches` |
|---|---|---|
| out | more than 0 | of what is settled of it, when it was counted last |
| settled behind one that is out | 0 | one or more, in which others that were settled behind it are merged |
| settled in an earlier life | 0 | what the progress said of it; nothing of it is counted again |
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Collection, Iterator, Sequence

from msgspec.structs import replace

from router.journal import JUST_NOW, NOTHING, Change, DeadLetter, Ending, Parked, Progress, Span
from router.journal.progress import PRECISION, join
from router.routed import Chunk

MOST = 1024
"""Stretches above the mark that differ only in when they were settled, at most; beyond, that is told less exactly."""


class Slot:
    """One chunk that is out: of the `wanted` positions `done` are settled, and `open` is how many are not."""

    __slots__ = (
        "begun",
        "dead",
        "delivered",
        "done",
        "end",
        "ended",
        "filtered",
        "first",
        "late",
        "left_out",
        "open",
        "parked",
        "stretches",
        "touched",
        "wanted",
    )

    def __init__(self, first: int, end: int, wanted: Collection[int], filtered: int = 0) -> None:
        self.first = first
        self.end = end
        self.wanted = wanted
        self.done: list[Sequence[int]] = []
        self.open = len(wanted)
        self.filtered = filtered
        self.left_out = 0
        """Those of the filtered that came before the present pattern."""
        self.delivered = 0
        self.parked: list[Parked] = []
        self.dead: list[DeadLetter] = []
        self.late: list[Ending] = []
        self.begun = self.ended = 0.0
        """When some were delivered at the first try: first and last, in Unix seconds; 0 if none was."""
        self.stretches: list[Span] = []
        """What of it was counted while it lay above the mark."""
        self.touched = True
        """Whether there is something to count."""

    def merge(self, behind: Slot) -> None:
        """Take in the slot behind, both being settled whole; what they have to be counted is kept apart until then."""
        self.end = behind.end
        for span in behind.stretches:
            join(self.stretches, span, PRECISION)

    def clear(self) -> None:
        """Note that all of it was counted that is settled by now."""
        self.delivered = self.filtered = self.left_out = 0
        self.parked, self.dead, self.late = [], [], []
        self.touched = False

    def settled(self, now: float) -> list[Span]:
        """Return the stretches that are settled, and when; `now` for those of which nothing was delivered."""
        begun, ended = self.begun or now, self.ended or now
        left = sorted(set(self.wanted).difference(*self.done)) if self.open else ()
        bounds = [self.first - 1, *left, self.end]
        pairs = itertools.pairwise(bounds)
        return [Span(before + 1, after, begun, ended) for before, after in pairs if before + 1 < after]


class Window:
    """What is out, above the progress that is counted."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._slots: deque[Slot] = deque()
        self._end = progress.position
        self._before = deque(progress.above)
        """What was settled in an earlier life and lies further on."""
        self._touched = False

    def __repr__(self) -> str:
        return f"<Window {self.progress.position}..{self._end} open={self.open}>"

    @property
    def open(self) -> int:
        """How many events are out and not settled."""
        return sum(slot.open for slot in self._slots)

    @property
    def idle(self) -> bool:
        """Whether nothing is out."""
        return not self._slots

    def unsettled(self, chunk: Chunk) -> Iterator[Chunk]:
        """Yield the parts of a chunk that were not settled in an earlier life: as a rule, all of it.

        Each part is to be taken before the next one is asked for.
        """
        while self._before and self._before[0].first < chunk.end:
            span = self._before.popleft()
            if span.first > self._end:
                yield chunk.between(self._end, span.first)
            end = min(span.end, chunk.end)
            slot = Slot(self._end, end, ())
            slot.stretches, slot.touched = [replace(span, first=self._end, end=end)], False
            self._slots.append(slot)
            self._end = end
            if end < span.end:
                self._before.appendleft(replace(span, first=end))
        if self._end < chunk.end:
            yield chunk.between(self._end, chunk.end)

    def take(self, end: int, positions: Sequence[int]) -> Slot:
        """Open the chunk from the last one's end to `end`, of which the events at some positions will be delivered."""
        slot = Slot(self._end, end, positions, end - self._end - len(positions))
        since = self.progress.since
        if self._end < since:
            slot.left_out = min(end, since) - self._end - sum(position < since for position in positions)
        self._end = end
        self._slots.append(slot)
        self._touched = True
        return slot

    def deliver(self, slot: Slot, positions: Sequence[int], now: float) -> None:
        """Note that some of the slot's events were delivered at the first try: `settle` for what is most common."""
        count = len(positions)
        slot.delivered += count
        slot.open -= count
        slot.done.append(positions)
        if not slot.begun or now < slot.begun:
            slot.begun = now
        slot.ended = max(slot.ended, now)
        slot.touched = self._touched = True

    def settle(
        self,
        slot: Slot,
        now: float,
        *,
        delivered: Sequence[int] = (),
        filtered: Sequence[int] = (),
        parked: Sequence[Parked] = (),
        dead: Sequence[DeadLetter] = (),
        late: Sequence[Ending] = (),
    ) -> None:
        """Note what became of some of the slot's events; all that were delivered are `late`, or none is."""
        slot.delivered += len(delivered)
        slot.filtered += len(filtered)
        slot.left_out += sum(position < self.progress.since for position in filtered)
        slot.parked.extend(parked)
        slot.dead.extend(dead)
        if late:
            slot.late.extend(late)
        elif delivered:
            slot.begun = min(slot.begun or now, now)
            slot.ended = max(slot.ended, now)
        slot.open -= len(delivered) + len(filtered) + len(parked) + len(dead)
        slot.done += (delivered, filtered, [one.position for one in (*parked, *dead)])
        slot.touched = self._touched = True

    def skip(self, end: int) -> None:
        """Pass over everything up to `end` as unwanted; only while idle."""
        if not self._slots and end > self._end:
            for part in self.unsettled(Chunk(end, (), ())):
                self.take(part.end, ())

    def advance(self, now: float, *, whole: bool = False) -> Change | None:
        """Count what is settled up to the first slot that is out, and with `whole` what is settled above, too.

        Returns what that parks and gives up on, or None if there is nothing to count. If any of it was delivered a
        while before `now` (Unix seconds), it also says when each slot was that the mark passed.
        """
        if not (whole and self._touched) and (not self._slots or self._slots[0].open):
            return None
        passed: list[Slot] = []
        spans: list[Span] = []
        slow = False
        while self._slots and not self._slots[0].open:
            slot = self._slots.popleft()
            slow = slow or bool(slot.stretches) or 0.0 < slot.begun < now - JUST_NOW
            if not slot.touched:
                spans += slot.stretches
            elif slot.begun:
                spans.append(Span(slot.first, slot.end, slot.begun, slot.ended))
            passed.append(slot)
        above = self._rise(now) if whole and self._touched else ()
        if not (passed or above):
            return None
        change = self._count([*passed, *above], passed[-1].end if passed else self.progress.position)
        return replace(change, spans=spans) if slow else change

    def _rise(self, now: float) -> Sequence[Slot]:
        """Return the slots above the mark that have something to count; note the stretches of them that are settled."""
        self._touched = False
        risen = [slot for slot in self._slots if slot.touched]
        for slot in risen:
            slot.stretches = slot.settled(now)
        merged: list[Slot] = []
        for slot in self._slots:
            if merged and not (slot.open or merged[-1].open):
                merged[-1].merge(slot)
            else:
                merged.append(slot)
        self._slots = deque(merged)
        return risen

    def _count(self, slots: Sequence[Slot], position: int) -> Change:
        """Count what the slots have to be counted, with the mark at a position; return what it parks and gives up."""
        done = self.progress
        parked = [one for slot in slots for one in slot.parked]
        dead = [one for slot in slots for one in slot.dead]
        late = [one for slot in slots for one in slot.late]
        self.progress = Progress(
            position=position,
            since=done.since,
            pattern=done.pattern,
            delivered=done.delivered + sum([slot.delivered for slot in slots]),
            filtered=done.filtered + sum([slot.filtered for slot in slots]),
            parked=done.parked + len(parked),
            dead=done.dead + len(dead),
            carried=done.carried,
            state=done.state,
            left_out=done.left_out + sum([slot.left_out for slot in slots]),
            until=done.until,
            above=self._above(),
        )
        for slot in slots:
            slot.clear()
        return Change(parked=parked, dead=dead, endings=late) if parked or dead or late else NOTHING

    def _above(self) -> tuple[Span, ...]:
        """Return what is settled above the mark, as far as it was counted, or was settled in an earlier life."""
        every = [span for slot in self._slots for span in slot.stretches]
        if len(every) <= MOST:
            return (*every, *self._before)
        above: list[Span] = []
        for span in every:
            join(above, span, math.inf if above and above[-1].end == span.first else -1.0)
        return (*above, *self._before)

    def revive(
        self,
        delivered: Sequence[Ending] = (),
        parked: Sequence[Parked] = (),
        dead: Sequence[DeadLetter] = (),
        filtered: Sequence[int] = (),
    ) -> Change:
        """Note what became of parked events: delivered, parked again, given up on, or left out by the steps."""
        done = self.progress
        self.progress = replace(
            done,
            delivered=done.delivered + len(delivered),
            filtered=done.filtered + len(filtered),
            parked=done.parked - len(delivered) - len(dead) - len(filtered),
            dead=done.dead + len(dead),
            left_out=done.left_out + sum(position < done.since for position in filtered),
        )
        gone = [*filtered, *(one.position for one in delivered), *(letter.position for letter in dead)]
        return Change(parked=parked, dead=dead, unparked=gone, endings=delivered)

"""The window of one subscription: which positions are out for delivery, and the mark below which all is settled.

Chunks of the journal are opened in order and settled in any order; the low-water mark and the counters move
only over chunks that are settled whole. So the counters are always true of exactly the events below the mark:
`position - since + carried = delivered + filtered + parked + dead`. Pure and synchronous.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec.structs import replace

from router.journal import JUST_NOW, NOTHING, Change, DeadLetter, Ending, Parked, Progress, Span


class Slot:
    """One chunk that is out: `end` is the position after it, `open` how many of its events are not settled."""

    __slots__ = ("begun", "dead", "delivered", "end", "ended", "filtered", "late", "open", "parked")

    def __init__(self, end: int, wanted: int, filtered: int) -> None:
        self.end = end
        self.open = wanted
        self.filtered = filtered
        self.delivered = 0
        self.parked: list[Parked] = []
        self.dead: list[DeadLetter] = []
        self.late: list[Ending] = []
        self.begun = self.ended = 0.0
        """When some were delivered at the first try: first and last, in Unix seconds; 0 if none was."""


class Window:
    """What is out, above the progress that is settled."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._slots: deque[Slot] = deque()
        self._end = progress.position

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

    def take(self, end: int, wanted: int) -> Slot:
        """Open the chunk from the last one's end to `end`, of which `wanted` events will be delivered."""
        slot = Slot(end, wanted, end - self._end - wanted)
        self._end = end
        self._slots.append(slot)
        return slot

    def settle(
        self,
        slot: Slot,
        now: float,
        *,
        delivered: int = 0,
        filtered: int = 0,
        parked: Sequence[Parked] = (),
        dead: Sequence[DeadLetter] = (),
        late: Sequence[Ending] = (),
    ) -> None:
        """Note what became of some of the slot's events; all that were delivered are `late`, or none is."""
        slot.delivered += delivered
        slot.filtered += filtered
        slot.parked.extend(parked)
        slot.dead.extend(dead)
        if late:
            slot.late.extend(late)
        elif delivered:
            slot.begun = min(slot.begun or now, now)
            slot.ended = max(slot.ended, now)
        slot.open -= delivered + filtered + len(parked) + len(dead)

    def skip(self, end: int) -> None:
        """Pass over everything up to `end` as unwanted; only while idle."""
        if not self._slots and end > self._end:
            self.take(end, 0)

    def advance(self, now: float) -> Change | None:
        """Move the mark over the settled slots; return what that parks and gives up on, or None if it stays.

        If any of it was delivered a while before `now` (Unix seconds), it also says when each slot was.
        """
        if not self._slots or self._slots[0].open:
            return None
        delivered = filtered = 0
        parked: list[Parked] = []
        dead: list[DeadLetter] = []
        late: list[Ending] = []
        spans: list[Span] = []
        end, slow = self.progress.position, False
        while self._slots and not self._slots[0].open:
            slot = self._slots.popleft()
            delivered += slot.delivered
            filtered += slot.filtered
            parked += slot.parked
            dead += slot.dead
            late += slot.late
            if slot.begun:
                slow = slow or slot.begun < now - JUST_NOW
                spans.append(Span(end, slot.end, slot.begun, slot.ended))
            end = slot.end
        done = self.progress
        self.progress = replace(
            done,
            position=end,
            delivered=done.delivered + delivered,
            filtered=done.filtered + filtered,
            parked=done.parked + len(parked),
            dead=done.dead + len(dead),
        )
        if not (parked or dead or slow or late):
            return NOTHING
        return Change(parked=parked, dead=dead, spans=spans if slow else (), endings=late)

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

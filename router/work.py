"""Work: a batch of events with all that is known of how it was tried, and a refusal of one. Frozen."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from router.errors import Reject
from router.event import Event
from router.journal import Parked
from router.rerun import Rerun
from router.window import Slot


class Work(msgspec.Struct, frozen=True):
    """A batch: the events with their positions, and how often it was tried quickly.

    `events` go out in the form that the steps gave them; `originals` are the same as they were journalled, where there
    are steps. `slot` is its place in the window, or in the replay that it belongs to (`rerun`); a batch of parked
    events has their `troubles` instead. `lane` is what it must stay in order with; None for nothing. `reason` is why
    the last try failed; `failed` is when the first one did, or when it was refused last, by the clock of the waits.
    `doubted`: it was refused, and then the destination took another. `instead`: it is tried before the one that its
    lane waits for, to learn whose fault it is that that one was refused.
    """

    slot: Slot | None
    positions: Sequence[int]
    events: Sequence[Event]
    first_try: float
    tries: int = 0
    troubles: Sequence[Parked] = ()
    lane: str | None = None
    originals: Sequence[Event] = ()
    reason: str = ""
    rerun: Rerun | None = None
    failed: float | None = None
    doubted: bool = False
    instead: bool = False

    @property
    def windowed(self) -> int:
        """How many events of the window it has; what was parked or is replayed has none."""
        return len(self.events) if self.rerun is None and not self.troubles else 0

    def original(self, index: int) -> Event:
        """Return an event as it was journalled."""
        return (self.originals or self.events)[index]

    def part(self, start: int, stop: int) -> Work:
        """Leave only the events from one index to before another; made by hand, since each event may be a batch."""
        return Work(
            self.slot,
            self.positions[start:stop],
            self.events[start:stop],
            self.first_try,
            self.tries,
            self.troubles[start:stop] if self.troubles else (),
            self.lane,
            self.originals[start:stop] if self.originals else (),
            self.reason,
            self.rerun,
        )

    def only(self, indices: Sequence[int], tries: int, reason: str = "") -> Work:
        """Leave only some of the events; `reason` is why they failed, if they did just now."""
        return replace(
            self,
            positions=[self.positions[i] for i in indices],
            events=[self.events[i] for i in indices],
            troubles=[self.troubles[i] for i in indices] if self.troubles else (),
            originals=[self.originals[i] for i in indices] if self.originals else (),
            tries=tries,
            reason=reason or self.reason,
        )


class Refusal(msgspec.Struct, frozen=True):
    """A batch that was refused by a call begun at `started`, set aside; an error for each of its events.

    `grave`: what is refused so is as a rule everything.
    """

    work: Work
    errors: Sequence[Reject]
    grave: bool
    started: float

"""The agenda of one subscription: batches to deliver now, batches to deliver later, and which of them wait for whom.

A batch that must wait for its next try takes no worker meanwhile. In order, a batch waits for those before it in
its lane: all in one lane, or a lane for each value of the key. Pure and synchronous.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

import msgspec

from router.event import Event
from router.journal import Parked
from router.rerun import Rerun
from router.window import Slot


class Work(msgspec.Struct, frozen=True):
    """A batch: the events with their positions, and how often it was tried quickly.

    `events` go out in the form that the steps gave them; `originals` are the same as they were journalled, where there
    are steps. `slot` is its place in the window, or in the replay that it belongs to (`rerun`); a batch of parked
    events has their `troubles` instead. `lane` is what it must stay in order with; None for nothing. `reason` is why
    the last try failed.
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
        return msgspec.structs.replace(
            self,
            positions=[self.positions[i] for i in indices],
            events=[self.events[i] for i in indices],
            troubles=[self.troubles[i] for i in indices] if self.troubles else (),
            originals=[self.originals[i] for i in indices] if self.originals else (),
            tries=tries,
            reason=reason or self.reason,
        )


class Agenda:
    """What is to be done. `open` counts the events of all batches that are not done, but for those of replays.

    Replays have what is left over: their batches are taken when no other may be tried.
    """

    def __init__(self) -> None:
        self._ready: deque[Work] = deque()
        self._spare: deque[Work] = deque()
        self._later: list[tuple[float, int, Work]] = []
        self._lanes: dict[str, deque[Work]] = {}
        self._numbers = 0
        self.open = 0

    @property
    def ready(self) -> int:
        """How many batches may be tried now, but for those of replays."""
        return len(self._ready)

    @property
    def spare(self) -> bool:
        """Whether batches of replays may be tried."""
        return bool(self._spare)

    def add(self, work: Work) -> None:
        """Add a new batch."""
        if work.rerun is None:
            self.open += len(work.events)
        if work.lane is None:
            self._queue(work).append(work)
        elif work.lane in self._lanes:
            self._lanes[work.lane].append(work)
        else:
            self._lanes[work.lane] = deque()
            self._queue(work).append(work)

    def again(self, work: Work, when: float) -> None:
        """Take a batch up again at a time; its lane stays closed until then."""
        self._numbers += 1
        heapq.heappush(self._later, (when, self._numbers, work))

    def defer(self, lane: str | None, parts: Sequence[Work]) -> None:
        """Put parts of a batch that is under way before anything else of its lane."""
        (self._queue(parts[0]) if lane is None else self._lanes[lane]).extendleft(reversed(parts))

    def take(self, now: float) -> Work | None:
        """Return the next batch that may be tried now."""
        while self._later and self._later[0][0] <= now:
            work = heapq.heappop(self._later)[2]
            self._queue(work).append(work)
        queue = self._ready or self._spare
        return queue.popleft() if queue else None

    def wait(self, now: float, spare: float | None = 0.0) -> float | None:
        """Return the seconds until a batch may be tried; None if none waits for a time.

        Those of replays may be tried in `spare` seconds, or not at all for now (None).
        """
        if self._ready:
            return 0.0
        waits = [spare] if self._spare and spare is not None else []
        if self._later:
            waits.append(max(0.0, self._later[0][0] - now))
        return min(waits, default=None)

    def settle(self, work: Work, count: int) -> None:
        """Note that so many events of a batch are done."""
        if work.rerun is None:
            self.open -= count

    def leave(self, work: Work) -> None:
        """Note that nothing of the batch is left; the next one of its lane may go."""
        if work.lane is None:
            return
        waiting = self._lanes[work.lane]
        if waiting:
            self._queue(waiting[0]).append(waiting.popleft())
        else:
            del self._lanes[work.lane]

    def drop(self, rerun: Rerun) -> int:
        """Take out all batches of a replay that are not under way; return how many events."""
        behind = [work for waiting in self._lanes.values() for work in _taken(waiting, rerun)]
        heads = [*_taken(self._spare, rerun), *(work for _, _, work in self._later if work.rerun is rerun)]
        self._later = [entry for entry in self._later if entry[2].rerun is not rerun]
        heapq.heapify(self._later)
        for work in heads:
            self.leave(work)
        return sum(len(work.events) for work in (*behind, *heads))

    def _queue(self, work: Work) -> deque[Work]:
        return self._ready if work.rerun is None else self._spare


def _taken(queue: deque[Work], rerun: Rerun) -> list[Work]:
    """Take a replay's batches out of a queue."""
    taken = [work for work in queue if work.rerun is rerun]
    kept = [work for work in queue if work.rerun is not rerun]
    queue.clear()
    queue.extend(kept)
    return taken

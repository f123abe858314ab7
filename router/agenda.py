"""The agenda of one subscription: batches to deliver now, batches to deliver later, and which of them wait for whom.

A batch that must wait for its next try takes no worker meanwhile, and no place in the window. What was refused is set
aside until it is known whose fault that is. In order, a batch waits for those before it in its lane: all in one lane,
or a lane for each value of the key. Pure and synchronous.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from router.rerun import Rerun
from router.work import Refusal, Work


class Lane:
    """What waits in a lane for its head.

    `stuck`: the head failed and is not done. `ahead`: one that is behind it is under way.
    """

    __slots__ = ("ahead", "stuck", "windowed", "works")

    def __init__(self) -> None:
        self.works: deque[Work] = deque()
        self.windowed = 0
        self.stuck = self.ahead = False


class Agenda:
    """What is to be done. `open` counts the events of the window that are not done, wherever they are.

    `waiting` of these wait for their next try or for a verdict, and `behind` wait in a lane for one that does.
    What failed and may be tried again takes turns with what is new. Replays have what is left over: their batches are
    taken when no other may be tried.
    """

    def __init__(self) -> None:
        self._ready: deque[Work] = deque()
        self._due: deque[Work] = deque()
        self._spare: deque[Work] = deque()
        self._later: list[tuple[float, int, Work]] = []
        self._lanes: dict[str, Lane] = {}
        self._numbers = 0
        self._due_next = False
        self.aside: list[Refusal] = []
        self.open = self.waiting = self.behind = 0

    @property
    def ready(self) -> int:
        """How many new batches may be tried now, but for those of replays."""
        return len(self._ready)

    @property
    def spare(self) -> bool:
        """Whether batches of replays may be tried."""
        return bool(self._spare)

    @property
    def idle(self) -> bool:
        """Whether nothing may be tried now."""
        return not (self._ready or self._due or self._spare)

    def add(self, work: Work) -> None:
        """Add a new batch, or one that was parked."""
        self.open += work.windowed
        if work.lane is None:
            self._queue(work).append(work)
        elif work.lane in self._lanes:
            self._lanes[work.lane].works.append(work)
            self._crowd(self._lanes[work.lane], work.windowed)
        else:
            self._lanes[work.lane] = Lane()
            self._queue(work).append(work)

    def again(self, work: Work, when: float) -> None:
        """Take a batch up again at a time; its lane stays closed until then."""
        self._numbers += 1
        heapq.heappush(self._later, (when, self._numbers, work))
        self._suspend(work)

    def set_aside(self, refusal: Refusal) -> None:
        """Keep a batch that was refused until it is known what that means; its lane stays closed until then."""
        self.aside.append(refusal)
        self._suspend(refusal.work)

    def pick(self, meant: Callable[[Refusal], bool]) -> list[Refusal]:
        """Take out those refusals that are meant, to be taken up again or given up.

        One before which another of its lane is under way stays until that one is back.
        """
        picked: list[Refusal] = []
        kept: list[Refusal] = []
        for one in self.aside:
            (picked if meant(one) and not self._is_passed(one.work) else kept).append(one)
        self.aside = kept
        self.waiting -= sum(one.work.windowed for one in picked)
        return picked

    def take_aside(self) -> Work | None:
        """Take up one event of those that were set aside; the last one of all is set aside again first."""
        refusal = next((one for one in self.aside if not self._is_passed(one.work)), None)
        if refusal is None:
            return None
        work, rest = refusal.work, range(1, len(refusal.work.events))
        self.waiting -= work.windowed
        self.aside = [one for one in self.aside if one is not refusal]
        if not rest:
            return work
        others_of_it = work.only(rest, work.tries)
        if work.lane is None:
            self.set_aside(replace(refusal, work=others_of_it, errors=refusal.errors[1:]))
        else:
            self.defer(work.lane, [others_of_it])
        return work.only([0], work.tries)

    def resume(self, work: Work) -> None:
        """Take a batch up again that was set aside."""
        self._queue(work).append(work)

    def hurry(self) -> None:
        """Take up at once whatever waits for a time."""
        self._bring(float("inf"))

    def defer(self, lane: str | None, parts: Sequence[Work]) -> None:
        """Put parts of a batch that is under way before anything else of its lane."""
        if lane is None:
            self._queue(parts[0]).extendleft(reversed(parts))
        else:
            self._lanes[lane].works.extendleft(reversed(parts))
            self._crowd(self._lanes[lane], sum(part.windowed for part in parts))

    def put_back(self, lane: str, parts: Sequence[Work]) -> None:
        """Put back what was taken out ahead of others of its lane."""
        if lane in self._lanes:
            self._lanes[lane].ahead = False
            self.defer(lane, parts)
            return
        if not parts:
            return
        self._lanes[lane] = Lane()
        self._queue(parts[0]).append(parts[0])
        self.defer(lane, parts[1:])

    def has_behind(self, work: Work) -> bool:
        """Whether anything waits for a batch that is under way."""
        return work.lane is not None and bool(self._lanes[work.lane].works)

    def ahead(self, lane: str | None) -> Work | None:
        """Take out the batch that is next in a lane, before the one that the lane waits for."""
        if lane is None or not self._lanes[lane].works or self._lanes[lane].ahead:
            return None
        self._lanes[lane].ahead = True
        work = self._shift(self._lanes[lane])
        return replace(work, instead=True)

    def take(self, now: float) -> Work | None:
        """Return the next batch that may be tried now."""
        self._bring(now)
        if self._due and (self._due_next or not self._ready):
            self._due_next = False
            return self._due.popleft()
        self._due_next = True
        queue = self._ready or self._spare
        return queue.popleft() if queue else None

    def take_new(self, now: float) -> Work | None:
        """Return the next batch that may be tried now, one that has not failed if there is one."""
        self._bring(now)
        queue = self._ready or self._due or self._spare
        return queue.popleft() if queue else None

    def take_due(self, now: float, meant: Callable[[Work], bool]) -> Work | None:
        """Return the next one that failed and may be tried now, of those that are meant."""
        self._bring(now)
        for index, work in enumerate(self._due):
            if meant(work):
                del self._due[index]
                return work
        return None

    def wait(self, now: float, spare: float | None = 0.0) -> float | None:
        """Return the seconds until a batch may be tried; None if none waits for a time.

        Those of replays may be tried in `spare` seconds, or not at all for now (None).
        """
        if self._ready or self._due:
            return 0.0
        waits = [spare] if self._spare and spare is not None else []
        if self._later:
            waits.append(max(0.0, self._later[0][0] - now))
        return min(waits, default=None)

    def wait_later(self, now: float) -> float | None:
        """Return the seconds until the next batch of those that wait for a time; None if none does."""
        return max(0.0, self._later[0][0] - now) if self._later else None

    def settle(self, work: Work, count: int) -> None:
        """Note that so many events of a batch are done."""
        if work.windowed:
            self.open -= count

    def leave(self, work: Work) -> None:
        """Note that nothing of the batch is left; the next one of its lane may go."""
        if work.lane is None:
            return
        lane = self._lanes[work.lane]
        lane.ahead = False
        if lane.stuck:
            lane.stuck = False
            self.behind -= lane.windowed
        if lane.works:
            following = self._shift(lane)
            self._queue(following).append(following)
        else:
            del self._lanes[work.lane]

    def take_out(self, meant: Callable[[Work], bool]) -> list[Work]:
        """Take out the batches of the window that are meant and not under way; their lanes go on."""

        def taken(work: Work) -> bool:
            return work.windowed > 0 and meant(work)

        behind: list[Work] = []
        for lane in self._lanes.values():
            gone = _taken(lane.works, taken)
            self._crowd(lane, -sum(work.windowed for work in gone))
            behind += gone
        later = [work for _, _, work in self._later if taken(work)]
        self._later = [entry for entry in self._later if not taken(entry[2])]
        heapq.heapify(self._later)
        self.waiting -= sum(work.windowed for work in later)
        aside = [one.work for one in self.pick(lambda one: taken(one.work))]
        heads = [*_taken(self._ready, taken), *_taken(self._due, taken), *later, *aside]
        for work in heads:
            self.leave(work)
        self.open -= sum(work.windowed for work in (*behind, *heads))
        return sorted((*heads, *behind), key=lambda work: work.positions[0])

    def drop(self, rerun: Rerun) -> int:
        """Take out all batches of a replay that are not under way; return how many events."""
        behind = [work for lane in self._lanes.values() for work in _taken(lane.works, lambda w: w.rerun is rerun)]
        aside = [one.work for one in self.pick(lambda one: one.work.rerun is rerun)]
        later = [work for _, _, work in self._later if work.rerun is rerun]
        heads = [*_taken(self._spare, lambda work: work.rerun is rerun), *aside, *later]
        self._later = [entry for entry in self._later if entry[2].rerun is not rerun]
        heapq.heapify(self._later)
        for work in heads:
            self.leave(work)
        return sum(len(work.events) for work in (*behind, *heads))

    def _bring(self, now: float) -> None:
        """Take up what waited for a time that has come."""
        while self._later and self._later[0][0] <= now:
            work = heapq.heappop(self._later)[2]
            self.waiting -= work.windowed
            self._queue(work).append(work)

    def _suspend(self, work: Work) -> None:
        self.waiting += work.windowed
        if work.lane is not None and not self._lanes[work.lane].stuck:
            self._lanes[work.lane].stuck = True
            self.behind += self._lanes[work.lane].windowed

    def _is_passed(self, work: Work) -> bool:
        return work.lane is not None and self._lanes[work.lane].ahead

    def _crowd(self, lane: Lane, events: int) -> None:
        """Note that so many events more, or less, wait in a lane."""
        lane.windowed += events
        if lane.stuck:
            self.behind += events

    def _shift(self, lane: Lane) -> Work:
        work = lane.works.popleft()
        self._crowd(lane, -work.windowed)
        return work

    def _queue(self, work: Work) -> deque[Work]:
        if work.rerun is not None:
            return self._spare
        return self._due if work.troubles or work.tries or work.doubted else self._ready


def _taken(queue: deque[Work], meant: Callable[[Work], bool]) -> list[Work]:
    """Take those batches out of a queue that are meant."""
    taken: list[Work] = []
    for _ in range(len(queue)):
        work = queue.popleft()
        (taken if meant(work) else queue).append(work)
    return taken

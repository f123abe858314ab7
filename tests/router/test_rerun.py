"""A replay's stretches, as tables and against a model; and its books beside all else that goes on meanwhile."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fakes.delivery import Books
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from router.bell import Bell
from router.errors import Reject
from router.journal import DeadLetter, Ending, Parked, Progress
from router.journal.conformance import event
from router.journal.replay import Replay
from router.replaying import Replaying
from router.rerun import Past, Rerun
from router.retry import Policy
from router.routed import Chunk
from router.settlement import refused
from router.tally import Tally
from router.work import Work


def replay(first: int = 1, end: int = 101) -> Replay:
    return Replay(number=1, first=first, end=end, position=first, per_second=10.0, begun=0.0)


def past(
    end: int, positions: Sequence[int], first: int = 1, letters: Sequence[int] = (), waiting: Sequence[int] = ()
) -> Past:
    return Past(first, end, positions, [event(b"%d" % p) for p in positions], frozenset(letters), waiting)


def letter(position: int) -> DeadLetter:
    return refused(Work(None, [position], [event(b"%d" % position)], 0.0), 0, Reject("no"), 0.0)


def ended(position: int) -> Ending:
    return Ending(position=position, at=5.0, tries=1, reason="")


def parked(position: int, due: float = 0.0) -> Parked:
    common = {"reason": "no", "status": None, "attempts": 1, "first_try": 0.0, "last_try": 0.0}
    return Parked(position=position, event=event(b"%d" % position), due=due, times=0, **common)  # type: ignore[arg-type]


PROGRESS = Progress(position=101, since=1, pattern="p", delivered=90, parked=4, dead=6)


def test_a_replay_moves_over_stretches_that_are_settled_whole_and_what_went_out_is_carried() -> None:
    rerun = Rerun(replay())
    first, second = (rerun.take(past(11, [2, 5]), [2, 5], ()), rerun.take(past(21, [12], 11), [12], ()))
    rerun.settle(second, [ended(12)], (), ())
    assert rerun.advance(PROGRESS, 7.0) is None
    rerun.settle(first, [ended(2)], [parked(5)], ())
    moved = rerun.advance(PROGRESS, 7.0)
    assert moved is not None
    progress, change = moved
    assert progress == replace(PROGRESS, delivered=92, parked=5, carried=3)
    assert [one.position for one in change.parked] == [5]
    (now,) = change.replays
    assert (now.position, now.delivered, now.parked, now.filtered, now.balance) == (21, 2, 1, 17, 0)
    assert now.state == "running"


def test_a_dead_letter_that_goes_out_again_leaves_the_count_of_the_dead_unless_it_is_refused_again() -> None:
    rerun = Rerun(replay(end=11))
    stretch = rerun.take(past(11, [2, 3, 4], letters=[2, 3, 9]), [2, 3, 4], ())
    rerun.settle(stretch, [ended(2), ended(4)], (), [letter(3)])
    moved = rerun.advance(PROGRESS, 7.0)
    assert moved is not None
    progress, change = moved
    assert progress == replace(PROGRESS, delivered=92, dead=5, carried=1)
    assert sorted(change.undead) == [2, 3]
    assert [one.position for one in change.dead] == [3]
    assert change.endings == [ended(2)]
    (now,) = change.replays
    assert (now.state, now.ended, now.delivered, now.dead, now.filtered, now.balance) == ("done", 7.0, 2, 1, 7, 0)


def test_what_the_steps_fail_on_is_dead_and_what_is_parked_or_gone_is_told_apart() -> None:
    rerun = Rerun(replay())
    rerun.take(past(21, [15], 11, waiting=[12, 13]), (), [letter(15)])
    moved = rerun.advance(PROGRESS, 7.0)
    assert moved is not None
    progress, change = moved
    assert progress == replace(PROGRESS, dead=7, carried=1)
    (now,) = change.replays
    assert (now.gone, now.waiting, now.dead, now.filtered, now.balance) == (10, 2, 1, 7, 0)


@given(
    st.lists(st.integers(2, 99), unique=True, max_size=20).map(sorted),
    st.lists(st.integers(2, 99), unique=True, max_size=5).map(sorted),
    st.integers(1, 7),
)
def test_parts_have_every_event_once_and_leave_no_gap(out: list[int], waiting: list[int], size: int) -> None:
    waiting = [position for position in waiting if position not in out]
    parts = list(past(100, out, 2, waiting=waiting).parts(size))
    assert [p for part in parts for p in part.positions] == out
    assert sorted(p for part in parts for p in part.waiting) == waiting
    assert all(len(part.positions) == len(part.events) <= size for part in parts)
    assert [part.first for part in parts] == [2, *(part.end for part in parts[:-1])]
    assert parts[-1].end == 100


class Machine(RuleBasedStateMachine):
    """Intake, tries, parking, dead letters, replays, crashes and stops, in any order; a delivery without its sink.

    The books check themselves at each commit. At the end everything is let through, and then each event was delivered
    at least once, or is a dead letter, or was discarded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.books = Books()
        self.policy = Policy(batch=3)
        self.out: list[Work] = []
        self.delivered: set[int] = set()
        self.discarded: set[int] = set()
        self.head = 1
        self.numbers = 0
        self.start()

    def start(self) -> None:
        self.tally = Tally("d/s", self.books.progress, self.books)
        self.replaying = Replaying(self.tally, Bell(), (), self.policy, self.books)
        self.fed = self.books.progress.position

    @initialize()
    def begin(self) -> None:
        self.arrive(5)

    @rule(count=st.integers(1, 5))
    def arrive(self, count: int) -> None:
        for _ in range(count):
            self.books.journal[self.head] = event(b"%d" % self.head)
            self.head += 1

    @rule()
    def feed(self) -> None:
        """Every third event is not wanted."""
        if self.fed == self.head:
            return
        positions = [p for p in range(self.fed, self.head) if p % 3]
        chunk = Chunk(self.head, positions, [self.books.journal[p] for p in positions])
        self.fed = self.head
        for part in self.tally.unsettled(chunk):
            slot = self.tally.take(part)
            for start in range(0, len(part.positions), self.policy.batch):
                stop = start + self.policy.batch
                self.out.append(Work(slot, part.positions[start:stop], part.events[start:stop], 0.0))
        self.tally.advance()

    @rule()
    def note(self) -> None:
        """Let a second go by."""
        self.tally.note()

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """End some call: each of its events is delivered, or parked, or refused."""
        work = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        fates = [data.draw(st.sampled_from(["delivered", "parked", "dead"])) for _ in work.events]
        self.end(work, fates)

    def end(self, work: Work, fates: Sequence[str]) -> None:
        told = list(zip(work.positions, fates, strict=True))
        delivered = [p for p, fate in told if fate == "delivered"]
        self.delivered.update(delivered)
        late = [parked(p) for p, fate in told if fate == "parked"]
        if work.rerun is not None and work.rerun.closed:
            work.rerun.drop(len(late))
            late = []
        dead = [letter(p) for p, fate in told if fate == "dead"]
        self.tally.enter(work, delivered, late, dead)

    @rule()
    def revive(self) -> None:
        if self.tally.reviving or not self.books.waiting:
            return
        due = list(self.books.waiting.values())
        self.tally.reviving = len(due)
        self.out.append(Work(None, [p.position for p in due], [p.event for p in due], 0.0, troubles=due))

    @precondition(lambda self: self.books.letters)
    @rule(data=st.data(), again=st.booleans())
    def choose_letters(self, data: st.DataObject, *, again: bool) -> None:
        """Replay or discard some dead letters, as `Delivery` does."""
        chosen = data.draw(st.lists(st.sampled_from(self.books.letters), unique_by=lambda one: one.position))
        free = [one for one in chosen if not self.replaying.holds(one.position)]
        if again:
            self.tally.replay(free, 100.0, 0.0)
        else:
            self.tally.discard(free)
            self.discarded.update(one.position for one in free)

    @precondition(lambda self: self.books.progress.position > 1)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        mark = self.books.progress.position
        first = data.draw(st.integers(1, mark - 1))
        end = data.draw(st.integers(first + 1, mark))
        self.numbers += 1
        job = Replay(number=self.numbers, first=first, end=end, position=first, per_second=10.0, begun=0.0)
        self.replaying.begin(job)

    @rule(limit=st.integers(1, 7), size=st.integers(1, 4))
    def go_on(self, limit: int, size: int) -> None:
        """Hand out the next parts of the replay that runs, as `Replaying.run` does."""
        rerun = self.replaying._current()
        if rerun is None or rerun.taken >= rerun.replay.end:
            return
        for part in self.books.look(rerun.replay, rerun.taken, limit).parts(size):
            self.replaying._hand_out(rerun, part)
        while (work := self.replaying._agenda.take(0.0)) is not None:
            self.out.append(work)

    @precondition(lambda self: any(one.state == "running" for one in self.replaying.all))
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        running = [one.number for one in self.replaying.all if one.state == "running"]
        self.replaying.stop(data.draw(st.sampled_from(running)))

    @precondition(lambda self: any(one.state == "stopped" for one in self.replaying.all))
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        stopped = [one.number for one in self.replaying.all if one.state == "stopped"]
        self.replaying.resume(data.draw(st.sampled_from(stopped)), None)

    @rule()
    def crash(self) -> None:
        self.out.clear()
        self.start()

    @invariant()
    def what_is_parked_is_nowhere_else(self) -> None:
        assert not self.books.waiting.keys() & {one.position for one in self.books.letters}
        assert self.tally.progress == self.books.progress

    def teardown(self) -> None:
        for one in self.replaying.all:
            if one.state == "stopped":
                self.replaying.resume(one.number, None)
        order = random.Random(0)
        for _ in range(1000):
            self.feed()
            self.go_on(7, 4)
            self.revive()
            while self.out:
                work = self.out.pop(order.randrange(len(self.out)))
                self.end(work, ["delivered"] * len(work.events))
        progress = self.books.progress
        assert (progress.position, progress.parked) == (self.head, 0)
        assert all(one.state == "done" for one in self.replaying.all)
        dead = {one.position for one in self.books.letters}
        wanted = {p for p in range(1, self.head) if p % 3}
        assert wanted <= self.delivered | dead | self.discarded


Machine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase

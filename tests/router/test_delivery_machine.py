"""Delivery against everything that a destination can do, and crashes at any moment: a machine that hypothesis drives.

What is refused as everything is holds the subscription, also over a crash, until something is taken.

Each life of the delivery starts from what was durable when the one before was killed: progress is committed lazily, so
the last commits may be lost. Time is trio's, the wall clock too, so that a schedule of hours takes milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import anyio
import msgspec
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.breaker import BreakerPolicy
from router.delivery import Delivery
from router.errors import Partial, Reject, Retry
from router.event import Batch, Event
from router.journal import Change, DeadLetter, Parked, Progress
from router.journal.replay import Replay
from router.plugin import Sink
from router.rerun import Past
from router.retry import Policy
from router.routed import Chunk
from router.testing import make_event

COUNT = 12
EVENTS = [make_event(number=str(n), k="abc"[n % 3]) for n in range(1, COUNT + 1)]
"""The event at position n has the number n."""

outcomes = st.sampled_from([
    "works", "works", "works", "works", "fails", "slowly", "later", "much later", "refused", "some", "some refused",
    "everything", "everything after some", "too large",
])  # fmt: skip
lives = st.tuples(st.lists(outcomes, max_size=20), st.floats(0, 4000), st.integers(0, 6))
"""What the calls of a life do, its seconds, and how many of its last commits are lost when it is killed."""
policies = st.builds(
    Policy,
    in_flight=st.integers(1, 4),
    batch=st.integers(1, 5),
    ordered=st.booleans(),
    tries=st.integers(1, 3),
    schedule=st.lists(st.floats(1, 1000), min_size=1, max_size=3),
)


class Books:
    """A journal of one subscription: the books as they are, and as they were after each commit."""

    def __init__(self, chunk: int) -> None:
        self.kept: list[tuple[Progress, dict[int, Parked], dict[int, DeadLetter]]] = [
            (Progress(position=1, since=1, pattern="p"), {}, {})
        ]
        self._chunk = chunk
        self._at = 1

    @property
    def progress(self) -> Progress:
        return self.kept[-1][0]

    @property
    def parked_at(self) -> set[int]:
        return {*self.kept[-1][1]}

    @property
    def letters(self) -> dict[int, DeadLetter]:
        return self.kept[-1][2]

    def killed(self, lost: int) -> None:
        """Lose the last commits."""
        del self.kept[max(1, len(self.kept) - lost) :]
        self._at = self.progress.position

    def rewind(self, position: int) -> None:
        self._at = position

    def last(self, size: int) -> int:
        raise AssertionError("nothing is bounded")

    async def expired(self, keep: int) -> Sequence[DeadLetter]:
        raise AssertionError("nothing expires")

    def marks(self) -> Mapping[str, int]:
        return {}

    def head(self) -> int:
        return COUNT + 1

    async def flush(self) -> None:
        await anyio.lowlevel.checkpoint()

    def replays(self) -> Sequence[Replay]:
        return ()

    async def past(self, replay: Replay, position: int, limit: int) -> Past:
        raise AssertionError("there are no replays")

    async def take(self, limit: int) -> Chunk:
        await anyio.lowlevel.checkpoint()
        if self._at > COUNT:
            await anyio.sleep_forever()
        first, self._at = self._at, min(self._at + self._chunk, COUNT + 1)
        return Chunk(self._at, range(first, self._at), EVENTS[first - 1 : self._at - 1])

    async def parked(self, limit: int) -> Sequence[Parked]:
        await anyio.lowlevel.checkpoint()
        return sorted(self.kept[-1][1].values(), key=lambda one: (one.due, one.position))[:limit]

    def commit(self, progress: Progress, change: Change) -> None:
        _, parked, letters = self.kept[-1]
        assert set(change.unparked) <= parked.keys()
        parked = {p: one for p, one in parked.items() if p not in change.unparked}
        parked |= {one.position: one for one in change.parked}
        letters = {p: one for p, one in letters.items() if p not in change.undead}
        letters |= {one.position: one for one in change.dead}
        assert progress.covered == progress.counted, "the books balance at each step"
        assert (progress.parked, progress.dead) == (len(parked), len(letters))
        assert progress.position >= self.kept[-1][0].position, "the mark never goes back"
        self.kept.append((progress, parked, letters))


class Destination(Sink, frozen=True, kw_only=True):
    """Does as its script says, then works; notes what it took, in the lives one after the other."""

    script: list[str] = []
    took: list[list[int]] = []
    under_way: set[int] = set()
    refused: list[float] = []
    """When everything was refused."""
    worked: list[float] = []
    """When calls began that took something."""

    async def deliver(self, batch: Batch) -> None:
        numbers = [number(event) for event in batch]
        assert not self.under_way & {*numbers}, "no event is tried twice at once"
        self.under_way.update(numbers)
        what, began, took = self.script.pop(0) if self.script else "works", trio.current_time(), len(self.took[-1])
        try:
            await self._do(what, numbers)
        finally:
            self.under_way.difference_update(numbers)
            if what.startswith("everything"):
                self.refused.append(trio.current_time())
            if len(self.took[-1]) > took:
                self.worked.append(began)

    async def _do(self, what: str, numbers: list[int]) -> None:
        await anyio.sleep(30.0 if what == "slowly" else 0.1)
        match what:
            case "fails":
                raise OSError("down")
            case "later":
                raise Retry("busy", 7.0)
            case "much later":
                raise Retry("busy", 1e9)
            case "refused":
                raise Reject("no", 400)
            case "too large":
                raise Reject("too large")
            case "everything":
                raise Reject("no access", 401, hold=True)
            case "some refused" | "everything after some":
                half = len(numbers) // 2
                self.took[-1].extend(numbers[:half])
                hold = True if what == "everything after some" else None
                raise Partial({index: Reject("not these", 400, hold=hold) for index in range(half, len(numbers))})
            case "some":
                half = (
                    len(numbers) // 2
                )  # the first ones: a destination that takes others instead breaks the order itself
                self.took[-1].extend(numbers[:half])
                raise Partial({index: Retry("not these") for index in range(half, len(numbers))})
            case _:
                self.took[-1].extend(numbers)


def number(event: Event) -> int:
    return int(event.get("number"))


async def live(books: Books, destination: Destination, policy: Policy, seconds: float) -> None:
    """Deliver for a while, then stop."""
    destination.took.append([])
    destination.under_way.clear()
    breaker = BreakerPolicy(failures=3, open_min=1.0, open_max=10.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Delivery("d/s", destination, (), policy, breaker, books.progress, books).run)
        await anyio.sleep(seconds)
        tasks.cancel_scope.cancel()


def in_order(took: Sequence[int], value: str) -> bool:
    mine = [n for n in took if EVENTS[n - 1].get("k") == value] if value else list(took)
    return mine == sorted(set(mine))


@given(policies, st.booleans(), st.integers(1, 5), st.lists(lives, max_size=4), st.lists(outcomes, max_size=20))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_nothing_is_lost_the_books_balance_and_order_holds(
    monkeypatch: pytest.MonkeyPatch,
    policy: Policy,
    by_key: bool,  # noqa: FBT001 - drawn
    chunk: int,
    before: list[tuple[list[str], float, int]],
    last: list[str],
) -> None:
    if policy.ordered:  # as the service does: in order there is one call at a time, unless there is a key
        key = "k" if by_key else ""
        policy = msgspec.structs.replace(policy, key=key, in_flight=policy.in_flight if key else 1)
    monkeypatch.setattr(time, "time", lambda: 1e9 + trio.current_time())
    books, destination = Books(chunk), Destination(script=[], took=[], refused=[-1.0], worked=[-1.0])

    async def run() -> None:
        for script, seconds, lost in [*before, (last, 100_000.0, 0)]:
            done = {n for n in range(1, COUNT + 1) if books.progress.settled(n)} - books.parked_at
            destination.script[:] = script
            await live(books, destination, policy, seconds)
            assert not done.intersection(destination.took[-1]), "what was settled does not come again"
            if not lost:
                assert set(destination.took[-1]) <= {n for n in range(1, COUNT + 1) if books.progress.settled(n)}
            books.killed(lost)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    took = {n for life in destination.took for n in life}
    assert took | books.letters.keys() == set(range(1, COUNT + 1)), "delivered, or a dead letter"
    done = books.progress
    assert (done.position, done.parked) == (COUNT + 1, 0)
    assert done.state == "active" or max(destination.worked) <= max(destination.refused), "held until one is taken"
    assert done.delivered + done.dead == COUNT
    if policy.ordered:
        for life in destination.took:
            keys = "abc" if policy.key else [""]
            assert all(in_order(life, letter) for letter in keys), "in order, and once in a life"

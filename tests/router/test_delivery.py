"""Delivery: what is tried again, what is given up on, and that the books balance meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import anyio
import pytest
import trio.testing

from router.delivery import Delivery, Policy, judge, pause
from router.dispatch import Chunk
from router.errors import Partial, Reject, Retry
from router.event import Batch, Event
from router.journal import DeadLetter, Progress
from router.journal.conformance import event
from router.plugin import Deliver, Sink, Step

pytestmark = pytest.mark.anyio

ONE = Policy(in_flight=1, batch=100, retry_min=1.0, retry_max=60.0)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Scripted(Sink, frozen=True, kw_only=True):
    """Fails as its script says, call by call; records what it was given and when."""

    script: list[Exception | None] = []
    calls: list[tuple[float, list[str]]] = []
    answer: Callable[[Batch], Exception | None] | None = None
    takes: float = 0.0

    async def deliver(self, batch: Batch) -> None:
        self.calls.append((anyio.current_time(), [e.id for e in batch]))
        await anyio.sleep(self.takes)
        error = self.answer(batch) if self.answer else self.script.pop(0) if self.script else None
        if error:
            raise error

    @property
    def batches(self) -> list[list[str]]:
        return [ids for _, ids in self.calls]


class Books:
    """A feed of chunks, and what is committed."""

    def __init__(self, *chunks: Chunk) -> None:
        self.chunks = list(chunks)
        self.progress = Progress(position=1, since=1, pattern="p")
        self.letters: list[DeadLetter] = []
        self.rewound: list[int] = []

    async def take(self, limit: int) -> Chunk:
        if not self.chunks:
            await anyio.sleep_forever()
        return self.chunks.pop(0)

    def commit(self, progress: Progress, letters: Sequence[DeadLetter]) -> None:
        assert progress.position - progress.since == progress.delivered + progress.filtered + progress.dead
        self.progress = progress
        self.letters += letters


def chunk(first: int, names: str, unwanted: int = 0) -> Chunk:
    events = [event(name.encode()) for name in names]
    return Chunk(first + len(events) + unwanted, range(first, first + len(events)), events)


def ids(names: str) -> list[str]:
    return [event(name.encode()).id for name in names]


def delivery(sink: Sink, books: Books, policy: Policy = ONE, steps: Sequence[Step] = ()) -> Delivery:
    return Delivery("d/s", sink, steps, policy, books.progress, books.take, books.commit, books.rewound.append)


@asynccontextmanager
async def running(subject: Delivery) -> AsyncGenerator[None]:
    with anyio.fail_after(10_000):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(subject.run)
            yield
            tasks.cancel_scope.cancel()


async def test_what_was_delivered_is_committed() -> None:
    books, sink = Books(chunk(1, "abc", unwanted=2)), Scripted(calls=[])
    async with running(delivery(sink, books)):
        await trio.testing.wait_all_tasks_blocked()
    assert sink.batches == [ids("abc")]
    assert (books.progress.position, books.progress.delivered, books.progress.filtered) == (6, 3, 2)


async def test_a_failed_batch_is_tried_again_until_it_works_and_the_next_waits() -> None:
    books = Books(chunk(1, "ab"), chunk(3, "c"))
    sink = Scripted(script=[OSError("down"), Retry("busy"), None], calls=[])
    async with running(delivery(sink, books)):
        await anyio.sleep(300)
    assert sink.batches == [ids("ab")] * 3 + [ids("c")]
    assert books.progress.delivered == 3


async def test_only_what_failed_of_a_batch_is_tried_again() -> None:
    books = Books(chunk(1, "abcd"))
    sink = Scripted(script=[Partial({1: Retry("x"), 2: Reject("never", 400)}), None], calls=[])
    async with running(delivery(sink, books)):
        await anyio.sleep(300)
    assert sink.batches == [ids("abcd"), ids("b")]
    assert (books.progress.delivered, books.progress.dead) == (3, 1)
    assert [(d.event.id, d.position, d.reason, d.status) for d in books.letters] == [(ids("c")[0], 3, "never", 400)]


async def test_one_refused_event_of_a_batch_is_found_and_the_others_are_delivered() -> None:
    poison = ids("c")[0]
    sink = Scripted(calls=[], answer=lambda batch: Reject("bad") if any(e.id == poison for e in batch) else None)
    books = Books(chunk(1, "abcd"))
    async with running(delivery(sink, books)):
        await trio.testing.wait_all_tasks_blocked()
    assert [d.event.id for d in books.letters] == [poison]
    assert (books.progress.position, books.progress.delivered, books.progress.dead) == (5, 3, 1)


async def test_the_wait_that_the_destination_asked_for_is_kept() -> None:
    books, sink = Books(chunk(1, "a")), Scripted(script=[Retry("later", after=500.0), None], calls=[])
    async with running(delivery(sink, books)):
        await anyio.sleep(1000)
    assert sink.calls[1][0] - sink.calls[0][0] >= 500


async def test_as_many_calls_as_allowed_are_in_flight_and_the_mark_waits_for_the_slowest() -> None:
    slow = ids("a")[0]

    class Slow(Sink, frozen=True, kw_only=True):
        now: ClassVar[list[int]] = [0, 0]

        async def deliver(self, batch: Batch) -> None:
            self.now[0] += 1
            self.now[1] = max(self.now)
            await anyio.sleep(1000 if batch[0].id == slow else 1)
            self.now[0] -= 1

    books, sink = Books(*(chunk(i + 1, name) for i, name in enumerate("abcdefgh"))), Slow()
    async with running(delivery(sink, books, Policy(in_flight=3, batch=1, retry_min=1, retry_max=1))):
        await anyio.sleep(100)
        assert books.progress.position == 1
        await anyio.sleep(1000)
    assert sink.now[1] == 3
    assert books.progress.delivered == 8


async def test_stopping_finishes_what_is_in_flight_and_tries_nothing_again() -> None:
    books = Books(chunk(1, "a"), chunk(2, "b"))
    sink = Scripted(calls=[], takes=5.0)
    subject = delivery(sink, books)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subject.run)
        await anyio.sleep(1)
        subject.stop()
    assert books.progress.delivered == 1

    books = Books(chunk(1, "a"))
    subject = delivery(Scripted(script=[OSError("down")] * 99, calls=[]), books)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subject.run)
        await anyio.sleep(30)
        subject.stop()
    assert books.progress.position == 1


async def test_a_sink_that_cannot_be_opened_is_opened_later_and_loses_nothing() -> None:
    tries: list[float] = []
    got: list[str] = []

    class Moody(Sink, frozen=True, kw_only=True):
        @asynccontextmanager
        async def open(self) -> AsyncGenerator[Deliver]:
            tries.append(anyio.current_time())
            if len(tries) < 4:
                raise OSError("no route")
            yield self.deliver

        async def deliver(self, batch: Batch) -> None:
            got.extend(e.id for e in batch)

    books = Books(chunk(1, "ab"))
    async with running(delivery(Moody(), books)):
        await anyio.sleep(1000)
    assert got == ids("ab")
    assert len(tries) == 4


async def test_steps_leave_out_and_a_failing_step_makes_a_dead_letter() -> None:
    leave, fail = ids("b")[0], ids("c")[0]

    class Choosy(Step, frozen=True, kw_only=True):
        def apply(self, event: Event) -> Event | None:
            if event.id == fail:
                raise ValueError("boom")
            return None if event.id == leave else event

    books, sink = Books(chunk(1, "abcd")), Scripted(calls=[])
    async with running(delivery(sink, books, steps=[Choosy()])):
        await trio.testing.wait_all_tasks_blocked()
    assert sink.batches == [ids("ad")]
    assert (books.progress.delivered, books.progress.filtered, books.progress.dead) == (2, 1, 1)
    assert "boom" in books.letters[0].reason


def test_an_unknown_error_means_try_again() -> None:
    outcome = judge(ValueError("odd"), 3)
    assert list(outcome.again) == [0, 1, 2]
    assert "ValueError: odd" in outcome.reason


def test_the_back_off_is_jittered_bounded_and_never_shorter_than_asked() -> None:
    waits = [pause(ONE, attempt, None) for attempt in range(1, 200)]
    assert all(0 <= w <= 60 for w in waits)
    assert len(set(waits)) > 100
    assert pause(ONE, 1, 700.0) == 700.0

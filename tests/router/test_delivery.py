"""Delivery: what is tried again, what is given up on, and that the books balance meanwhile."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import anyio
import msgspec
import pytest
import trio
import trio.testing
from fakes.delivery import ONE, Books, Scripted, chunk, delivery, ids, running
from msgspec.structs import replace

from router.errors import Partial, Reject, Retry
from router.event import UNDECODABLE, Batch, Event
from router.journal import DeadLetter, Ending, Parked, Progress, Span
from router.journal.conformance import Note, event
from router.plugin import Deliver, Placed, Sink, Step
from router.retry import SCHEDULE, Policy, judge, parking, pause
from router.routed import Chunk

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock go with trio's, for what is parked is due by the wall clock."""
    monkeypatch.setattr(time, "time", lambda: 1e9 + trio.current_time())


class Stamp(Step, frozen=True, kw_only=True):
    """Changes the fields and leaves the message alone; leaves out or fails on what it is told to."""

    stamp: str = "stamped"
    leave: ClassVar[set[str]] = set()
    fail: ClassVar[set[str]] = set()

    def apply(self, event: Event) -> Event | None:
        if event.id in self.fail:
            raise ValueError("boom")
        return None if event.id in self.leave else replace(event, fields=Note(self.stamp), encoded=None)


@pytest.fixture
def stamp() -> Iterator[Stamp]:
    yield Stamp()
    Stamp.leave.clear()
    Stamp.fail.clear()


async def test_what_was_delivered_is_committed() -> None:
    books, sink = Books(chunk(1, "abc", unwanted=2)), Scripted(calls=[])
    async with running(delivery(sink, books)):
        await trio.testing.wait_all_tasks_blocked()
    assert sink.batches == [ids("abc")]
    assert (books.progress.position, books.progress.delivered, books.progress.filtered) == (6, 3, 2)


async def test_a_failed_batch_is_tried_again_and_the_next_does_not_wait_for_it() -> None:
    books = Books(chunk(1, "ab"), chunk(3, "c"))
    sink = Scripted(script=[OSError("down"), None, None], calls=[])
    async with running(delivery(sink, books)):
        await anyio.sleep(300)
    assert sink.batches == [ids("ab"), ids("c"), ids("ab")]
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


async def test_the_wait_that_the_destination_asked_for_is_kept(clock: None) -> None:
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
    async with running(delivery(sink, books, Policy(in_flight=3, batch=1))):
        await anyio.sleep(100)
        assert books.progress.position == 1
        await anyio.sleep(1000)
    assert sink.now[1] == 3
    assert books.progress.delivered == 8


async def test_what_is_parked_is_looked_for_on_time_while_its_subscription_is_busy(clock: None) -> None:
    class Watched(Books):
        looks: ClassVar[list[float]] = []

        async def parked(self, limit: int) -> Sequence[Parked]:
            self.looks.append(anyio.current_time())
            return await super().parked(limit)

    poison = ids("a")[0]
    sink = Scripted(calls=[], takes=1.0, answer=lambda batch: OSError("x") if batch[0].id == poison else None)
    books = Watched(chunk(1, "abc"), chunk(4, "defghijklmnopqrstuvwxyz" * 4))
    async with running(delivery(sink, books, Policy(batch=1, tries=1, schedule=[5.0]))):
        await anyio.sleep(50)
    parked = sink.calls[0][0] + sink.takes
    assert [look for look in books.looks if parked + 5 <= look < parked + 8]


async def test_a_destination_that_is_back_gets_as_many_calls_at_once_as_before() -> None:
    class Back(Sink, frozen=True, kw_only=True):
        async def deliver(self, batch: Batch) -> None:
            if anyio.current_time() - start < 100:
                raise OSError("down")
            await anyio.sleep(1)

    start = trio.current_time()
    books = Books(chunk(1, "abcdefghijklmnopqrstuvwxyz" * 4))
    async with running(delivery(Back(), books, Policy(in_flight=4, batch=1, tries=10_000, retry_max=1.0))):
        await anyio.sleep(200)  # the breaker's probe at 136 s is the first call that works
        assert books.progress.delivered == 104


async def test_the_next_chunk_is_read_while_the_last_one_is_delivered() -> None:
    class Slow(Books):
        async def take(self, limit: int) -> Chunk:
            await anyio.sleep(1)
            return await super().take(limit)

    books = Slow(*(chunk(1 + 20 * i, "abcdefghijklmnopqrst") for i in range(10)))
    async with running(delivery(Scripted(calls=[], takes=1.0), books, Policy(in_flight=4, batch=1))):
        await anyio.sleep(55)
        assert books.progress.delivered == 200


@pytest.mark.parametrize(("in_flight", "batch", "taken"), [(32, 1, 64), (8, 16, 256), (1, 500, 500)])
async def test_calls_at_once_are_fed_a_window_at_a_time_and_not_a_batch(in_flight: int, batch: int, taken: int) -> None:
    class Watched(Books):
        limits: ClassVar[list[int]] = []

        async def take(self, limit: int) -> Chunk:
            self.limits.append(limit)
            return await super().take(limit)

    Watched.limits.clear()
    async with running(delivery(Scripted(calls=[]), Watched(), Policy(in_flight=in_flight, batch=batch))):
        await trio.testing.wait_all_tasks_blocked()
    assert Watched.limits == [taken]


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
    patient = Policy(retry_min=1e6, retry_max=1e6, tries=1000)
    subject = delivery(Scripted(script=[OSError("down")] * 99, calls=[]), books, patient)
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


async def test_an_event_that_keeps_failing_is_parked_on_the_schedule_and_then_given_up(clock: None) -> None:
    """While others pass. Three days take milliseconds."""
    poison = ids("b")[0]
    sink = Scripted(calls=[], answer=lambda batch: Retry("500") if batch[0].id == poison else None)
    books = Books(*(chunk(i + 1, name) for i, name in enumerate("abcd")))
    async with running(delivery(sink, books, Policy(in_flight=2, batch=1))):
        await anyio.sleep(60)
        assert (books.progress.delivered, books.progress.parked) == (3, 1)
        await anyio.sleep(4 * 86400)
    tries = [at for at, batch in sink.calls if batch == [poison]]
    assert (books.progress.delivered, books.progress.parked, books.progress.dead) == (3, 0, 1)
    assert len(tries) == 3 + 3 * len(SCHEDULE)
    (letter,) = books.letters
    assert (letter.kind, letter.attempts, letter.reason) == ("exhausted", len(tries), "500")
    assert letter.last_try - letter.first_try > sum(SCHEDULE)


async def test_a_parked_event_that_works_at_last_is_delivered_and_no_longer_parked(clock: None) -> None:
    sink = Scripted(script=[Retry("x")] * 3, calls=[])
    books = Books(chunk(1, "a"))
    async with running(delivery(sink, books)):
        await anyio.sleep(3)
        assert books.progress.parked == 1
        await anyio.sleep(30)
    assert (books.progress.delivered, books.progress.parked, len(sink.calls)) == (1, 0, 4)


async def test_a_long_retry_after_outlives_the_schedule(clock: None) -> None:
    sink = Scripted(script=[Retry("x"), Retry("x"), Retry("x", after=1000.0)], calls=[])
    async with running(delivery(sink, Books(chunk(1, "a")))):
        await anyio.sleep(2000)
    assert round(sink.calls[3][0] - sink.calls[2][0], 3) >= 1000  # the wall clock counts in larger steps


async def test_while_the_destination_is_down_the_breaker_waits_and_nothing_is_parked_or_given_up(clock: None) -> None:
    """A day; then all is delivered, and hardly anything was tried meanwhile."""
    down = True
    sink = Scripted(calls=[], answer=lambda _: OSError("refused") if down else None)
    books = Books(*(chunk(i, chr(96 + i)) for i in range(1, 21)))
    async with running(delivery(sink, books, Policy(in_flight=4, batch=1))) as subject:
        await anyio.sleep(86400)
        assert books.progress.position == 1
        assert subject.valve.breaker.state != "closed"
        assert len(sink.calls) < 86400 / 60 + 100
        down = False
        await anyio.sleep(130)
    assert (books.progress.delivered, books.progress.parked, books.progress.dead) == (20, 0, 0)


async def test_a_batch_that_fails_whole_is_not_parked(clock: None) -> None:
    """Its destination is down, and parking thousands would help nobody."""
    down = True
    sink = Scripted(calls=[], answer=lambda _: OSError("disk full") if down else None)
    books = Books(chunk(1, "abcdefgh"))
    async with running(delivery(sink, books)):
        await anyio.sleep(3600)
        assert books.progress.position == 1
        down = False
        await anyio.sleep(120)
    assert (books.progress.delivered, books.progress.parked) == (8, 0)


async def test_a_destination_that_is_gone_is_left_alone_until_resumed(clock: None) -> None:
    """410: nothing is lost, nothing more is tried; by hand it goes on."""
    gone = True
    sink = Scripted(calls=[], answer=lambda _: Reject("gone", status=410) if gone else None)
    books = Books(chunk(1, "a"), chunk(2, "b"))
    async with running(delivery(sink, books)) as subject:
        await anyio.sleep(86400)
        assert len(sink.calls) == 1
        assert (books.progress.state, books.progress.position) == ("gone", 1)
        gone = False
        subject.turn("active")
        await anyio.sleep(100)
    assert (books.progress.state, books.progress.delivered) == ("active", 2)


async def test_a_destination_that_is_gone_in_the_middle_of_a_batch_makes_no_dead_letters(clock: None) -> None:
    gone = {index: Reject("gone", status=410) for index in (1, 2)}
    books, sink = Books(chunk(1, "abc")), Scripted(calls=[], script=[Partial(gone), None])
    async with running(delivery(sink, books)) as subject:
        await anyio.sleep(86400)
        assert len(sink.calls) == 1
        assert (books.progress.state, books.progress.dead) == ("gone", 0)
        subject.turn("active")
        await anyio.sleep(100)
    assert sink.batches == [ids("abc"), ids("bc")]
    assert books.progress.delivered == 3


async def test_what_is_paused_by_hand_waits() -> None:
    books, sink = Books(chunk(1, "a")), Scripted(calls=[])
    subject = delivery(sink, books)
    subject.turn("paused")
    async with running(subject):
        await anyio.sleep(100)
        assert not sink.calls
        subject.turn("active")
        await anyio.sleep(1)
    assert books.progress.delivered == 1


async def test_in_order_what_fails_holds_up_what_is_behind_it(clock: None) -> None:
    sink = Scripted(script=[Retry("x")] * 8, calls=[])
    books = Books(chunk(1, "ab"), chunk(3, "cd"))
    async with running(delivery(sink, books, Policy(batch=1, ordered=True))):
        await anyio.sleep(3000)
    assert [batch[0] for batch in sink.batches] == [ids("a")[0]] * 9 + ids("bcd")
    assert (books.progress.delivered, books.progress.parked) == (4, 0)


class First(msgspec.Struct, frozen=True):
    """Fields with a key."""

    first: str


async def test_in_order_by_key_only_events_of_the_same_key_wait(clock: None) -> None:
    """The order of each key is kept, with many in flight; a key that fails holds up no other."""
    events = [replace(event(f"{key}{n}".encode()), fields=First(key)) for n in range(4) for key in "xyz"]
    stuck = True

    def answer(batch: Batch) -> Exception | None:
        return Retry("stuck") if stuck and bytes(batch[0].raw)[:1] == b"x" else None

    sink = Scripted(calls=[], answer=answer)
    books = Books(Chunk(13, range(1, 13), events))
    subject = delivery(sink, books, Policy(in_flight=3, batch=1, ordered=True, key="first"))
    names = {e.id: bytes(e.raw).decode() for e in events}
    async with running(subject):
        await anyio.sleep(200)
        passed = [names[batch[0]] for batch in sink.batches if names[batch[0]][0] != "x"]
        assert [n for n in passed if n[0] == "y"] == ["y0", "y1", "y2", "y3"]
        assert [n for n in passed if n[0] == "z"] == ["z0", "z1", "z2", "z3"]
        assert {names[batch[0]] for batch in sink.batches} & {"x1", "x2", "x3"} == set()
        stuck = False
        await anyio.sleep(2000)
    order = [names[batch[0]] for batch in sink.batches if names[batch[0]][0] == "x"]
    assert list(dict.fromkeys(order)) == ["x0", "x1", "x2", "x3"]
    assert books.progress.delivered == 12


async def test_the_rate_is_kept() -> None:
    books, sink = Books(*(chunk(i, chr(96 + i)) for i in range(1, 21))), Scripted(calls=[])
    async with running(delivery(sink, books, Policy(in_flight=20, batch=1, rate=2.0))):
        await anyio.sleep(60)
    times = sorted(at for at, _ in sink.calls)
    assert len(times) == 20
    assert times[-1] - times[0] >= (20 - 1 - 2) / 2


async def test_concurrency_shrinks_while_calls_fail_and_grows_back(clock: None) -> None:
    down = True
    sink = Scripted(calls=[], takes=0.1, answer=lambda _: Retry("busy") if down else None)
    books = Books(*(chunk(i, "x" * 0 + f"{i % 10}") for i in range(1, 60)))
    policy = Policy(in_flight=16, batch=1, retry_max=1.0)
    async with running(delivery(sink, books, policy)) as subject:
        await anyio.sleep(1)
        assert subject.valve.concurrency.limit < 16
        down = False
        await anyio.sleep(600)
        assert subject.valve.concurrency.limit > 4
    assert books.progress.delivered == 59


@pytest.mark.parametrize("steps", [[], [Stamp()]])
async def test_what_nobody_could_decode_is_a_letter_of_its_own_kind_when_it_is_refused_or_a_step_fails(
    stamp: Stamp, steps: Sequence[Step]
) -> None:
    """Not so when the destination did not answer: that is no fault of its form."""
    junk = replace(event(b"a"), type=UNDECODABLE)
    if steps:
        Stamp.fail.add(junk.id)
    sink = Scripted(calls=[], answer=lambda _: Reject("what is this?", 400))
    books = Books(Chunk(2, [1], [junk]), chunk(2, "b"))
    async with running(delivery(sink, books, Policy(batch=1), steps=steps)):
        await anyio.sleep(1)
    assert [(letter.position, letter.kind) for letter in books.letters] == [(1, "undecodable"), (2, "refused")]


async def test_dead_letters_get_another_life_at_a_rate(clock: None) -> None:
    refuse = True
    sink = Scripted(calls=[], answer=lambda _: Reject("no", 400) if refuse else None)
    books = Books(*(chunk(i, chr(96 + i)) for i in range(1, 6)))
    async with running(delivery(sink, books, Policy(batch=1))) as subject:
        await anyio.sleep(1)
        assert books.progress.dead == 5
        refuse = False
        subject.replay(list(books.letters), per_second=1.0)
        await anyio.sleep(3)
        assert 2 <= books.progress.delivered < 5
        await anyio.sleep(10)
    assert (books.progress.delivered, books.progress.dead, books.progress.parked) == (5, 0, 0)
    assert not books.letters


async def test_a_sinks_own_positions_are_committed_with_the_mark_that_they_belong_to() -> None:
    """And handed back when it is opened; never those of a chunk that is not settled whole."""
    opened: list[dict[str, int]] = []

    class Tape(Sink, frozen=True, kw_only=True):
        keeps_positions = True

        @asynccontextmanager
        async def resume(self, marks: Mapping[str, int]) -> AsyncGenerator[Placed]:
            opened.append(dict(marks))
            length = marks.get("tape", 0)

            async def place(batch: Batch) -> Mapping[str, int]:
                nonlocal length
                await anyio.sleep(1)
                length += len(batch)
                return {"tape": length}

            yield place

    books = Books(chunk(1, "ab"), chunk(3, "cdef"))
    policy = Policy(batch=2, ordered=True)
    async with running(delivery(Tape(), books, policy)):
        await anyio.sleep(1.5)
        assert (books.progress.position, books.marked) == (3, {"tape": 2})
        await anyio.sleep(1)
        assert (books.progress.position, books.marked) == (3, {"tape": 2})
        await anyio.sleep(1)
        assert (books.progress.position, books.marked) == (7, {"tape": 6})
    async with running(delivery(Tape(), books, policy)):
        await anyio.sleep(1)
    assert opened == [{}, {"tape": 6}]


async def test_one_event_that_waits_keeps_no_other_from_being_known_as_delivered(clock: None) -> None:
    """What is settled above the mark is committed while more is, at least each second when somebody looks."""
    slow = event(b"a").id
    sink = Scripted(calls=[], answer=lambda batch: Retry("busy", 50.0) if batch[0].id == slow else None)
    books = Books(*(chunk(i * 5 + 1, "abcde" if not i else f"{i:05}") for i in range(6)))
    async with running(delivery(sink, books, Policy(batch=1, in_flight=4))) as subject:
        await anyio.sleep(1)
        subject.tally.note()
        assert (books.progress.delivered, books.progress.pending(31)) == (29, 1)
        assert [(span.first, span.end) for span in books.progress.above] == [(2, 6), (6, 31)]


async def test_what_was_settled_is_not_sent_again_after_a_stop_in_the_middle() -> None:
    """However many are out: what was settled is committed when it ends, also when it is cut short."""
    sink = Scripted(calls=[], takes=0.1)
    books = Books(chunk(1, "abcdefghij"))
    policy = Policy(batch=1, in_flight=1, rate=5.0)
    async with running(delivery(sink, books, policy)):
        await anyio.sleep(0.95)
    first = sink.batches
    assert books.progress.delivered == len(first) == 4
    sink.calls.clear()
    books.chunks.append(chunk(1, "abcdefghij"))
    async with running(delivery(sink, books, policy)):
        await anyio.sleep(10)
    assert [*first, *sink.batches] == [[one] for one in ids("abcdefghij")]
    assert (books.progress.position, books.progress.delivered) == (11, 10)


async def test_the_positions_after_a_call_that_failed_in_part_are_committed_too() -> None:
    class Tapes(Sink, frozen=True, kw_only=True):
        keeps_positions = True
        script: list[Partial | None] = []

        @asynccontextmanager
        async def resume(self, marks: Mapping[str, int]) -> AsyncGenerator[Placed]:
            async def place(batch: Batch) -> Mapping[str, int]:
                if error := self.script.pop():
                    raise error
                return {"right": 1}

            yield place

    books = Books(chunk(1, "ab"))
    sink = Tapes(script=[None, Partial({1: Retry("torn")}, {"left": 1})])
    async with running(delivery(sink, books, Policy(batch=2, ordered=True))):
        await anyio.sleep(60)
    assert (books.progress.position, books.marked) == (3, {"left": 1, "right": 1})


class Reel(Sink, frozen=True, kw_only=True):
    """Keeps what it gets, cut back to its mark whenever it is opened."""

    keeps_positions = True
    reel: list[str] = []

    @asynccontextmanager
    async def resume(self, marks: Mapping[str, int]) -> AsyncGenerator[Placed]:
        del self.reel[marks.get("reel", 0) :]

        async def place(batch: Batch) -> Mapping[str, int]:
            await anyio.sleep(1)
            self.reel.extend(e.id for e in batch)
            return {"reel": len(self.reel)}

        yield place


async def test_a_pause_amid_a_chunk_commits_the_half_that_is_settled_with_the_sinks_positions(clock: None) -> None:
    """Or after a crash that half would be kept, and come again; and the other half would be missing."""
    books, sink = Books(chunk(1, "abcdef")), Reel(reel=[])
    policy = Policy(batch=2, ordered=True, single=True)
    async with running(delivery(sink, books, policy)) as subject:
        await anyio.sleep(1.5)
        subject.turn("paused")
        assert (books.progress.delivered, books.progress.pending(7), books.marked) == (2, 4, {"reel": 2})
        assert [(span.first, span.end) for span in books.progress.above] == [(1, 3)]
    books.chunks.append(chunk(1, "abcdef"))
    async with running(delivery(sink, books, policy)) as subject:
        subject.turn("active")
        await anyio.sleep(10)
    assert sink.reel == ids("abcdef")


async def test_a_dead_letter_that_is_replayed_does_not_come_between_the_batches_of_a_chunk(clock: None) -> None:
    """Where the sink's positions are those of one sequence."""
    letter = DeadLetter(
        position=1, event=event(b"z"), reason="no", status=None, attempts=1, first_try=1.0, last_try=1.0, kind="refused"
    )
    books, sink = Books(chunk(2, "abcd"), chunk(6, "ef")), Reel(reel=[])
    books.progress = Progress(position=2, since=1, pattern="p", dead=1)
    books.letters = [letter]
    async with running(delivery(sink, books, Policy(batch=2, ordered=True, single=True))) as subject:
        await anyio.sleep(0.5)
        subject.replay([letter], per_second=1.0)
        await anyio.sleep(1)
        assert (books.progress.position, books.progress.delivered, books.marked) == (2, 2, {"reel": 2})
        await anyio.sleep(10)
    assert sink.reel in (ids("abcd") + ids("ef") + ids("z"), ids("abcd") + ids("z") + ids("ef"))
    assert (books.progress.delivered, books.progress.dead, books.marked) == (7, 0, {"reel": 7})


async def test_what_is_parked_is_the_event_as_it_came_and_each_try_applies_the_steps_anew(
    clock: None, stamp: Stamp
) -> None:
    """As the journal restores it: from its message alone."""
    got: list[str] = []
    sink = Scripted(calls=[], answer=lambda batch: got.append(batch[0].get("text")) or Retry("x"))  # type: ignore[func-returns-value]
    books = Books(chunk(1, "a"))
    async with running(delivery(sink, books, Policy(tries=1), steps=[stamp])):
        await anyio.sleep(3)
        assert books.waiting[1].event == event(b"a")
        await anyio.sleep(30)
    assert got == ["stamped"] * 2
    assert books.waiting[1].event == event(b"a")
    assert books.waiting[1].times == 1


async def test_a_parked_event_that_its_steps_now_leave_out_is_filtered_and_one_that_they_fail_on_is_dead(
    clock: None, stamp: Stamp
) -> None:
    sink = Scripted(calls=[], answer=lambda batch: Retry("x"))
    books = Books(*(chunk(i, name) for i, name in enumerate("abc", 1)))
    async with running(delivery(sink, books, Policy(tries=1, batch=1), steps=[stamp])):
        await anyio.sleep(3)
        assert books.progress.parked == 3
        Stamp.leave.add(ids("a")[0])
        Stamp.fail.add(ids("b")[0])
        sink.calls.clear()
        await anyio.sleep(30)
    assert {batch[0] for batch in sink.batches} == {ids("c")[0]}
    assert (books.progress.filtered, books.progress.dead, books.progress.parked) == (1, 1, 1)
    (letter,) = books.letters
    assert (letter.kind, letter.event, letter.attempts) == ("config", event(b"b"), 1)


async def test_dead_letters_are_replayed_through_the_steps_of_today(clock: None, stamp: Stamp) -> None:
    got: list[str] = []
    refuse = True

    def answer(batch: Batch) -> Exception | None:
        got.append(batch[0].get("text"))
        return Reject("no", 400) if refuse else None

    books = Books(chunk(1, "a"))
    async with running(delivery(Scripted(calls=[], answer=answer), books, steps=[stamp])):
        await anyio.sleep(1)
        assert [letter.event for letter in books.letters] == [event(b"a")]
    refuse = False
    again = delivery(Scripted(calls=[], answer=answer), books, steps=[Stamp(stamp="anew")])
    async with running(again):
        again.replay(list(books.letters), per_second=1.0)
        await anyio.sleep(5)
    assert got == ["stamped", "anew"]
    assert (books.progress.delivered, books.progress.dead) == (1, 0)


async def test_when_each_event_was_delivered_and_after_how_many_tries_is_told(clock: None) -> None:
    """For those of the first try the span of their chunk; for the others the moment, the tries and what was wrong."""
    sink = Scripted(script=[Partial({1: Retry("busy", after=20.0)}), None], calls=[], takes=5.0)
    books = Books(chunk(1, "abc", unwanted=2))
    async with running(delivery(sink, books)):
        await anyio.sleep(100)
    (first, *_, last) = [1e9 + at + 5 for at, _ in sink.calls]
    assert books.spans == [Span(1, 6, first, first)]
    assert first + 20 < last
    assert books.endings == [Ending(position=2, at=last, tries=2, reason="busy")]


async def test_the_tries_of_what_was_parked_all_count(clock: None) -> None:
    """Also those of the batch that it was refused with, and of its life before a replay not."""
    sink = Scripted(script=[Retry("x"), Retry("x"), Retry("x"), Retry("y")], calls=[])
    books = Books(chunk(1, "a"))
    async with running(delivery(sink, books)):
        await anyio.sleep(1000)
    (ending,) = books.endings
    assert (ending.position, ending.tries, ending.reason, ending.fate) == (1, 5, "y", "delivered")
    assert ending.at == 1e9 + sink.calls[-1][0]
    assert not books.spans


async def test_of_a_batch_that_is_refused_each_event_says_so(clock: None) -> None:
    poison = ids("b")[0]
    sink = Scripted(calls=[], answer=lambda batch: Reject("no", 400) if poison in [e.id for e in batch] else None)
    books = Books(chunk(1, "abc"))
    async with running(delivery(sink, books)):
        await anyio.sleep(10)
    assert [(one.position, one.tries, one.reason) for one in books.endings] == [
        (1, 1, "refused together with others: no"),
        (3, 1, "refused together with others: no"),
    ]
    assert not books.spans


async def test_what_is_replayed_or_discarded_is_told_as_that(clock: None) -> None:
    refuse = True
    sink = Scripted(calls=[], answer=lambda _: Reject("no", 400) if refuse else None)
    books = Books(chunk(1, "a"), chunk(2, "b"))
    async with running(delivery(sink, books, Policy(batch=1))) as subject:
        await anyio.sleep(1)
        refuse = False
        replayed, discarded = books.letters
        subject.replay([replayed], per_second=1.0)
        subject.discard([discarded])
        await anyio.sleep(10)
    assert [(one.position, one.tries, one.reason, one.fate) for one in books.endings] == [
        (2, 1, "no", "discarded"),
        (1, 1, "replayed", "delivered"),
    ]


def test_the_schedule_ends() -> None:
    assert parking(ONE, len(SCHEDULE), None) is None
    for times, seconds in enumerate(SCHEDULE):
        assert seconds <= (parking(ONE, times, None) or 0) <= seconds * 1.1
    assert parking(ONE, 0, 9999.0) == 9999.0


def test_the_back_off_is_jittered_bounded_and_never_shorter_than_asked() -> None:
    waits = [pause(ONE, attempt, None) for attempt in range(1, 200)]
    assert all(0 <= w <= 60 for w in waits)
    assert len(set(waits)) > 100
    assert pause(ONE, 1, 700.0) == 700.0

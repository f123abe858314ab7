"""Replays beside everything else that a subscription does: in their turn, at their rate, and again after a crash."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from fakes.delivery import Books, Scripted, chunk, delivery, ids, running
from msgspec.structs import replace

from router.errors import Reject, Retry, RouterError
from router.event import Batch
from router.journal import DeadLetter, Progress
from router.journal.conformance import event
from router.journal.replay import Replay
from router.match import BadPattern, Mistake
from router.plugin import Placed, Sink
from router.rerun import Past
from router.retry import Policy
from router.settlement import reborn

pytestmark = pytest.mark.anyio

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock go with trio's, for what is parked is due by the wall clock."""
    monkeypatch.setattr(time, "time", lambda: 1e9 + trio.current_time())


def past(names: str = ALPHABET) -> Books:
    """Return books whose journal has one event a letter, all delivered."""
    books = Books()
    books.journal = {position: event(name.encode()) for position, name in enumerate(names, 1)}
    books.progress = Progress(position=len(names) + 1, since=1, pattern="p", delivered=len(names))
    return books


def replay(first: int = 1, end: int = len(ALPHABET) + 1, *, number: int = 1, per_second: float = 10.0) -> Replay:
    return Replay(number=number, first=first, end=end, position=first, per_second=per_second, begun=0.0)


def names(calls: list[list[str]]) -> str:
    """Return the letters of events that were tried, in order."""
    known = dict(zip(ids(ALPHABET), ALPHABET, strict=True))
    return "".join(known[one] for batch in calls for one in batch)


async def test_a_range_goes_out_again_in_order_at_its_rate_and_is_counted() -> None:
    books, sink = past(), Scripted(calls=[])
    async with running(delivery(sink, books, Policy(batch=5))) as subject:
        subject.replaying.begin(replay(3, 24))
        await anyio.sleep(60)
    assert names(sink.batches) == ALPHABET[2:23]
    assert sink.calls[-1][0] - sink.calls[0][0] >= (21 - 10 - 5) / 10
    (done,) = books.jobs.values()
    assert (done.state, done.position, done.delivered, done.left) == ("done", 24, 21, 0)
    assert books.progress == Progress(position=27, since=1, pattern="p", delivered=26 + 21, carried=21)


async def test_what_is_new_is_tried_before_what_is_past() -> None:
    """And a call's time after it came, however much a replay has to do."""
    books, sink = past(), Scripted(calls=[], takes=1.0)
    async with running(delivery(sink, books, Policy(batch=2))) as subject:
        subject.replaying.begin(replay(per_second=1000.0))
        await anyio.sleep(3.5)
        before = names(sink.batches)
        books.chunks += [chunk(27, "ab"), chunk(29, "cd")]
        books.wake.set()
        await anyio.sleep(2)
        assert names(sink.batches)[len(before) :] == "abcd"
        await anyio.sleep(60)
    assert Counter(names(sink.batches)) == Counter(ALPHABET) + Counter("abcd")
    assert (books.progress.position, books.progress.delivered) == (31, 26 + 26 + 4)


async def test_the_subscriptions_own_rate_is_spent_on_what_is_new() -> None:
    """No more than one event that is past waits for its tokens already."""
    books, sink = past(), Scripted(calls=[])
    async with running(delivery(sink, books, Policy(batch=1, in_flight=8, rate=1.0))) as subject:
        subject.replaying.begin(replay(per_second=1000.0))
        await anyio.sleep(5.5)
        books.chunks += [chunk(27, "abc")]
        books.wake.set()
        before = len(sink.calls)
        await anyio.sleep(4.2)
        assert "abc" in names(sink.batches[before : before + 4])
        await anyio.sleep(60)
    times = [at for at, _ in sink.calls]
    assert len(times) == 29
    assert times[-1] - times[0] >= 29 - 3


async def test_a_replay_waits_while_its_subscription_is_paused_or_its_breaker_is_open() -> None:
    """It parks nothing, and gives nothing up."""
    down = True
    books, sink = past(), Scripted(calls=[], answer=lambda _: OSError("down") if down else None)
    async with running(delivery(sink, books, Policy(batch=2))) as subject:
        subject.turn("paused")
        subject.replaying.begin(replay(per_second=1000.0))
        await anyio.sleep(3600)
        assert not sink.calls
        subject.turn("active")
        await anyio.sleep(86400)
        assert subject.valve.breaker.state != "closed"
        assert len(sink.calls) < 86400 / 60 + 100
        assert (books.progress.parked, books.progress.dead, books.progress.carried) == (0, 0, 0)
        down = False
        await anyio.sleep(1000)
    assert {*ids(ALPHABET)} <= {one for batch in sink.batches for one in batch}
    assert books.jobs[1].delivered == 26


async def test_a_gone_destination_stops_a_replay_where_it_is() -> None:
    gone = True
    books, sink = past(), Scripted(calls=[], answer=lambda _: Reject("gone", 410) if gone else None)
    async with running(delivery(sink, books, Policy(batch=2))) as subject:
        subject.replaying.begin(replay(per_second=1000.0))
        await anyio.sleep(3600)
        assert (len(sink.calls), books.progress.state, books.jobs[1].position) == (1, "gone", 1)
        gone = False
        subject.turn("active")
        await anyio.sleep(100)
    assert books.jobs[1].state == "done"


async def test_a_replay_that_is_stopped_tries_nothing_more_and_goes_on_when_resumed() -> None:
    books, sink = past(), Scripted(calls=[], takes=1.0)
    async with running(delivery(sink, books, Policy(batch=1, in_flight=2))) as subject:
        subject.replaying.begin(replay(per_second=1000.0))
        await anyio.sleep(3.5)
        subject.replaying.stop(1)
        tried = len(sink.calls)
        await anyio.sleep(3600)
        assert len(sink.calls) == tried == 8
        assert (books.jobs[1].state, books.jobs[1].position, books.jobs[1].delivered) == ("stopped", 9, 8)
        with pytest.raises(RouterError, match="stopped already"):
            subject.replaying.stop(1)
        subject.replaying.resume(1, 0.5)
        await anyio.sleep(60)
        with pytest.raises(RouterError, match="replay 1 is done"):
            subject.replaying.resume(1, None)
        with pytest.raises(RouterError, match="no replay 2"):
            subject.replaying.resume(2, None)
    assert sorted(names(sink.batches)) == sorted(ALPHABET)
    assert (books.jobs[1].state, books.jobs[1].per_second, books.jobs[1].delivered) == ("done", 0.5, 26)


async def test_what_fails_after_its_replay_was_stopped_is_not_tried_again() -> None:
    books, sink = past(), Scripted(calls=[], takes=1.0, answer=lambda _: Retry("x"))
    async with running(delivery(sink, books, Policy(batch=1, in_flight=4))) as subject:
        subject.replaying.begin(replay(per_second=1000.0))
        await anyio.sleep(0.5)
        subject.replaying.stop(1)
        await anyio.sleep(3600)
        assert len(sink.calls) == 4
        assert (books.jobs[1].position, books.progress.parked) == (1, 0)


@pytest.mark.parametrize("error", [None, Retry("x")])
async def test_the_next_replay_begins_when_nothing_of_one_that_was_stopped_is_with_the_destination(
    error: Exception | None,
) -> None:
    """Or the same event might be there twice, and be counted twice."""
    books, sink = past(), Scripted(calls=[], takes=10.0, script=[error])
    async with running(delivery(sink, books, Policy(batch=1, in_flight=2))) as subject:
        subject.replaying.begin(replay(1, 2))
        await anyio.sleep(1)
        subject.replaying.stop(1)
        subject.replaying.begin(replay(1, 2, number=2))
        await anyio.sleep(8)
        assert len(sink.calls) == 1
        await anyio.sleep(20)
    assert len(sink.calls) == 2
    assert books.jobs[2].delivered == 1
    assert books.progress.carried == 2 - bool(error)


async def test_two_replays_go_one_after_the_other_and_the_second_may_be_stopped_before_its_turn() -> None:
    books, sink = past(), Scripted(calls=[])
    async with running(delivery(sink, books, Policy(batch=3))) as subject:
        for number in (1, 2, 3):
            subject.replaying.begin(replay(1, 11, number=number))
        subject.replaying.stop(2)
        await anyio.sleep(60)
    assert names(sink.batches) == ALPHABET[:10] * 2
    assert [one.state for one in books.jobs.values()] == ["done", "stopped", "done"]


async def test_what_keeps_failing_is_parked_and_what_is_refused_is_dead_and_the_replay_goes_on() -> None:
    stuck, bad = ids("b")[0], ids("d")[0]

    def answer(batch: Batch) -> Exception | None:
        return (
            Retry("500")
            if batch[0].id == stuck and len(sink.calls) < 40
            else Reject("400")
            if batch[0].id == bad
            else None
        )

    books, sink = past(), Scripted(calls=[])
    sink = replace(sink, answer=answer)
    async with running(delivery(sink, books, Policy(batch=1))) as subject:
        subject.replaying.begin(replay())
        await anyio.sleep(30)
        done = books.jobs[1]
        assert (done.state, done.delivered, done.parked, done.dead) == ("done", 24, 1, 1)
        assert (books.progress.delivered, books.progress.parked, books.progress.dead) == (26 + 24, 1, 1)
        await anyio.sleep(86400)
    assert (books.progress.delivered, books.progress.parked, books.progress.dead) == (26 + 25, 0, 1)


def letter(position: int) -> DeadLetter:
    return DeadLetter(
        position=position,
        event=event(ALPHABET[position - 1].encode()),
        reason="no",
        status=400,
        attempts=1,
        first_try=1.0,
        last_try=1.0,
        kind="refused",
    )


async def test_dead_letters_of_the_range_get_another_life_and_what_is_parked_waits_for_its_next_try() -> None:
    books, sink = past(), Scripted(calls=[])
    books.letters = [letter(2), letter(9)]
    books.waiting = {4: reborn(letter(4), 2e9, 1e9)}
    books.progress = Progress(position=27, since=1, pattern="p", delivered=23, dead=2, parked=1)
    async with running(delivery(sink, books, Policy(batch=5))) as subject:
        subject.replaying.begin(replay(1, 6))
        await anyio.sleep(30)
    assert names(sink.batches) == "abce"
    assert [one.position for one in books.letters] == [9]
    assert books.progress == Progress(position=27, since=1, pattern="p", delivered=27, dead=1, parked=1, carried=3)
    assert (books.jobs[1].delivered, books.jobs[1].waiting) == (4, 1)


async def test_a_dead_letter_that_a_replay_has_under_way_is_left_to_it() -> None:
    books, sink = past(), Scripted(calls=[], takes=10.0, answer=lambda _: Retry("x"))
    books.letters = [letter(2), letter(9)]
    books.progress = Progress(position=27, since=1, pattern="p", delivered=24, dead=2)
    async with running(delivery(sink, books, Policy(batch=1, tries=1))) as subject:
        subject.replaying.begin(replay(2, 3))
        await anyio.sleep(1)
        assert subject.replay(list(books.letters), 100.0) == 1
        assert subject.discard(list(books.letters)) == 0
        await anyio.sleep(100)
    assert books.waiting.keys() == {2, 9}


async def test_letters_that_are_replayed_while_a_replay_reads_do_not_go_out_twice() -> None:
    books, sink = past(), Scripted(calls=[])
    books.letters = [letter(2)]
    books.progress = Progress(position=27, since=1, pattern="p", delivered=25, dead=1)
    async with running(delivery(sink, books, Policy(batch=1))) as subject:
        subject.replaying.begin(replay(1, 6, per_second=1.0))
        await anyio.sleep(1.5)
        assert names(sink.batches) == "a"
        assert subject.replay(list(books.letters), 100.0, 60.0) == 1
        await anyio.sleep(90)
    assert sorted(names(sink.batches)) == list("abcde")
    assert (books.jobs[1].delivered, books.jobs[1].waiting) == (4, 1)
    assert (books.progress.dead, books.progress.parked) == (0, 0)


async def test_in_order_a_replay_keeps_its_own_order_and_holds_up_nothing_new() -> None:
    stuck = True
    books = past()
    sink = Scripted(calls=[], answer=lambda batch: Retry("x") if stuck and batch[0].id in ids("c") else None)
    async with running(delivery(sink, books, Policy(batch=1, ordered=True))) as subject:
        subject.replaying.begin(replay(per_second=1000.0))
        await anyio.sleep(3)
        books.chunks += [chunk(27, "xyz")]
        books.wake.set()
        await anyio.sleep(3)
        assert "xyz" in names(sink.batches).replace("c", "")
        stuck = False
        await anyio.sleep(100)
    order = names(sink.batches).replace("c", "")
    assert order.replace("xyz", "", 1) == ALPHABET.replace("c", "")
    assert (books.jobs[1].delivered, books.progress.parked) == (26, 0)


async def test_a_match_that_lost_its_meaning_stops_its_replay_and_says_why() -> None:
    class Changed(Books):
        async def past(self, replay: Replay, position: int, limit: int) -> Past:
            raise BadPattern((Mistake((), "unknown field `regoin`"),))

    books, sink = Changed(), Scripted(calls=[])
    books.progress = past().progress
    async with running(delivery(sink, books)) as subject:
        subject.replaying.begin(replay())
        await anyio.sleep(1)
    assert books.jobs[1].state == "stopped"
    assert "regoin" in books.jobs[1].note


async def test_only_the_last_replays_that_are_over_are_kept() -> None:
    books, sink = past(), Scripted(calls=[])
    async with running(delivery(sink, books)) as subject:
        for number in range(1, 31):
            subject.replaying.begin(replay(1, 2, number=number))
            await anyio.sleep(1)
    assert [one.number for one in books.jobs.values()] == list(range(11, 31))


async def test_a_replay_goes_on_after_a_crash_at_any_moment_and_loses_nothing() -> None:
    """What was under way goes out twice; the books balance at each commit, or the fake would say so."""
    for crash in range(1, 40):
        books, sink = past(), Scripted(calls=[], takes=0.05)
        async with running(delivery(sink, books, Policy(batch=2, in_flight=2))) as subject:
            subject.replaying.begin(replay(per_second=100.0))
            await anyio.sleep(crash * 0.01)
        async with running(delivery(sink, books, Policy(batch=2, in_flight=2))):
            await anyio.sleep(60)
        tried = Counter(names(sink.batches))
        assert set(tried) == set(ALPHABET)
        assert max(tried.values()) <= 2
        assert (books.jobs[1].state, books.jobs[1].delivered) == ("done", 26)


class Reel(Sink, frozen=True, kw_only=True):
    """Keeps what it gets, cut back to its mark whenever it is opened; every third call fails."""

    keeps_positions = True
    reel: list[str] = []
    calls: list[int] = []

    @asynccontextmanager
    async def resume(self, marks: Mapping[str, int]) -> AsyncGenerator[Placed]:
        del self.reel[marks.get("reel", 0) :]

        async def place(batch: Batch) -> Mapping[str, int]:
            await anyio.sleep(0.05)
            self.calls.append(len(batch))
            if len(self.calls) % 3 == 0:
                raise OSError("disk full")
            self.reel.extend(e.id for e in batch)
            return {"reel": len(self.reel)}

        yield place


async def test_where_the_sink_keeps_its_positions_a_replay_appends_each_event_exactly_once_across_crashes() -> None:
    """With what is new in between, which comes exactly once and in order, too."""
    new = "uvwxyz"
    policy = Policy(batch=2, ordered=True, single=True, retry_min=0.1, retry_max=0.2)

    def feed(books: Books) -> None:
        rest = new[books.progress.position - 27 :]
        books.chunks = [chunk(books.progress.position, rest)] if rest else []
        books.wake.set()

    for crash in range(1, 60):
        books, sink = past("abcdefghijklmnopqrstuvwxyz"), Reel(reel=[], calls=[])
        books.journal = {p: one for p, one in books.journal.items() if p <= 20}
        async with running(delivery(sink, books, policy)) as subject:
            subject.replaying.begin(replay(1, 21, per_second=100.0))
            await anyio.sleep(crash % 7 * 0.05)
            feed(books)
            await anyio.sleep(crash * 0.03)
        async with running(delivery(sink, books, policy)):
            feed(books)
            await anyio.sleep(600)
        order = names([sink.reel])
        assert sorted(order) == sorted(ALPHABET[:20] + new)
        assert [one for one in order if one in new] == list(new)
        assert [one for one in order if one not in new] == list(ALPHABET[:20])

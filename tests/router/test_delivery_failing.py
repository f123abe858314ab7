"""Delivery past events that always fail: the others arrive, and those end by their schedule; and past long waits."""

from __future__ import annotations

import random
import time
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from fakes.delivery import delivery, running
from fakes.numbered import Feed, hook
from msgspec.structs import replace

from router.breaker import Breaker, BreakerPolicy
from router.errors import Partial, Retry
from router.retry import SCHEDULE, Policy, judge

pytestmark = pytest.mark.anyio

ALL = 4000
HOOK = Policy(in_flight=32, batch=1)
SCHEDULED = sum(SCHEDULE) * 1.1 + len(SCHEDULE) * 300
"""Seconds in which the schedule of whatever fails is over, quick tries included."""
DAY = 86_400.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock go with trio's."""
    monkeypatch.setattr(time, "time", lambda: 1e9 + trio.current_time())


def every_twentieth(n: int) -> Retry | None:
    return Retry("answered 500") if n % 20 == 0 else None


@pytest.mark.parametrize(
    ("policy", "whole", "seconds"),
    [
        (HOOK, False, 30),
        (replace(HOOK, rate=400.0), False, 30),
        (Policy(batch=500), False, 10),
        (Policy(batch=100, in_flight=8), True, 600),
    ],
    ids=["one by one", "at a rate", "in batches", "in batches that fail as a whole"],
)
async def test_events_that_always_fail_do_not_keep_the_others_from_arriving(
    policy: Policy,
    whole: bool,  # noqa: FBT001 - drawn
    seconds: float,
) -> None:
    """4,000 events, 500 for every twentieth: the good ones arrive at once, and the bad ones end by their schedule."""
    sink, books = hook(every_twentieth, whole=whole), Feed(ALL)
    async with running(delivery(sink, books, policy)):
        await anyio.sleep(seconds)
        assert len(sink.took) == ALL - ALL // 20
        await anyio.sleep(60)
        assert (books.progress.delivered, books.progress.parked) == (3800, 200)
        await anyio.sleep(SCHEDULED)
    assert (books.progress.delivered, books.progress.parked, books.progress.dead) == (3800, 0, 200)
    assert {letter.kind for letter in books.letters} == {"exhausted"}


async def test_the_last_events_of_a_campaign_that_fail_end_by_the_schedule() -> None:
    """Nothing else succeeds any more: they are parked, and then dead, and not tried once a minute for ever."""
    sink, books = hook(lambda n: Retry("answered 500") if n > 96 else None), Feed(100)
    async with running(delivery(sink, books, HOOK)):
        await anyio.sleep(60)
        assert (books.progress.delivered, books.progress.parked) == (96, 4)
        await anyio.sleep(SCHEDULED)
    assert (books.progress.delivered, books.progress.dead) == (96, 4)
    assert len(sink.asked) == 96 + 4 * 3 * (1 + len(SCHEDULE))


async def test_while_a_destination_is_down_nothing_is_used_up_however_long_that_takes() -> None:
    """Other than at the end of a campaign there is more to deliver; a probe a minute, and then all of it arrives."""
    back = trio.current_time() + 4 * DAY
    down = hook(lambda _: Retry("answered 500") if trio.current_time() < back else None)
    books = Feed(ALL, before=1000)
    async with running(delivery(down, books, HOOK)):
        await anyio.sleep(4 * DAY - 1)
        assert (books.progress.delivered, books.progress.parked, books.progress.dead) == (1000, 0, 0)
        assert len(down.asked) < 4 * DAY / 60 + 100
        await anyio.sleep(180)
    assert (books.progress.delivered, books.progress.parked) == (1000 + ALL, 0)


async def test_in_an_outage_only_a_few_of_those_that_trickle_in_are_parked() -> None:
    """One a minute for a day, and each is for a moment the last one that is left."""
    sink, books = hook(lambda _: Retry("answered 500")), Feed(0, before=1000)
    async with running(delivery(sink, books, HOOK)):
        for _ in range(24 * 60):
            books.grow(1)
            await anyio.sleep(60)
    assert (books.progress.dead, len(sink.took)) == (0, 0)
    assert books.progress.parked <= 21


async def test_a_breaker_probes_with_events_that_have_not_failed() -> None:
    """The first 60 never work, and look like an outage: what is behind them is found before all else."""
    sink, books = hook(lambda n: Retry("answered 500") if n <= 60 else None), Feed(1000)
    async with running(delivery(sink, books, HOOK)):
        await anyio.sleep(1800)
        assert len(sink.took) == 940
        before = [n for at, n in sink.asked if n <= 60 and at < min(at for at, n in sink.asked if n > 60)]
        assert len(set(before)) == len(before) == 60, "each was tried once until then"
        await anyio.sleep(120)
        assert books.progress.parked == 60
        await anyio.sleep(SCHEDULED)
    assert books.progress.dead == 60


async def test_a_new_event_is_a_probe_when_only_those_that_failed_are_left() -> None:
    """The breaker is open, and the new one works: it is closed at once."""
    sink, books = hook(lambda n: Retry("answered 500") if n <= 30 else None), Feed(30)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(3600)
        assert (books.progress.parked, subject.valve.breaker.state) == (0, "open")
        books.grow(5)
        await anyio.sleep(61)
        assert len(sink.took) == 5
        await anyio.sleep(60)
    assert books.progress.parked == 30


async def test_a_destination_that_fails_half_of_the_time_gets_everything_through() -> None:
    dice = random.Random(7)
    sink, books = hook(lambda _: Retry("answered 500") if dice.random() < 0.5 else None), Feed(1000)
    async with running(delivery(sink, books, HOOK)):
        await anyio.sleep(1800)
        assert len(sink.took) > 990
        await anyio.sleep(DAY)
    assert (books.progress.delivered, books.progress.dead) == (1000, 0)


async def test_one_key_that_is_stuck_stops_no_other() -> None:
    """However many events wait behind it."""
    stuck = True
    sink = hook(lambda n: Retry("answered 500") if n % 10 == 3 and stuck else None)
    books = Feed(ALL, keys=10)
    async with running(delivery(sink, books, Policy(in_flight=8, batch=1, ordered=True, key="key"))):
        await anyio.sleep(60)
        assert len(sink.took) == ALL * 9 // 10
        stuck = False
        await anyio.sleep(120)
    assert books.progress.delivered == ALL
    of_key = [n for _, n in sink.asked if n % 10 == 3]
    assert list(dict.fromkeys(of_key)) == sorted(set(of_key)), "in order"


async def test_no_more_than_a_thousand_wait_in_memory() -> None:
    """Where the quick tries take long, those beyond are parked at once."""
    patient = Policy(in_flight=32, batch=1, tries=10, retry_min=3600.0, retry_max=7200.0)
    sink = hook(lambda n: Retry("answered 500") if n % 2 else None)
    books = Feed(6000)
    async with running(delivery(sink, books, replace(patient, rate=0.0))) as subject:
        subject.valve.breaker = Breaker(BreakerPolicy(failures=1000, window=1000, rate=1.0))
        await anyio.sleep(300)
        assert len(sink.took) == 3000
        assert 1900 <= books.progress.parked <= 2000


async def test_whoever_is_told_to_wait_for_long_is_parked_at_once_and_holds_nobody_up() -> None:
    """429 with an hour for one of 3,000."""
    sink = hook(lambda n: Retry("answered 429", after=3600.0) if n == 1500 else None)
    books = Feed(3000)
    async with running(delivery(sink, books, HOOK)):
        await anyio.sleep(30)
        assert (books.progress.delivered, books.progress.parked, books.progress.position) == (2999, 1, 3001)
        await anyio.sleep(3500)
        assert len(sink.asked) == 3000
        await anyio.sleep(200)
    assert len(sink.asked) == 3001


async def test_a_destination_that_tells_everybody_to_wait_is_asked_again_after_that_and_parks_hardly_anything() -> None:
    sink, books = hook(lambda _: Retry("answered 429", after=3600.0)), Feed(3000, before=10)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(3500)
        assert len(sink.asked) <= 32
        assert subject.valve.breaker.state == "open"
        await anyio.sleep(DAY)
        assert 20 <= len(sink.asked) - 32 <= 60
    assert books.progress.parked <= 20


async def test_one_event_that_asks_for_an_hour_does_not_close_the_breaker_for_one() -> None:
    """The others that failed asked for nothing."""
    breaker = Breaker(BreakerPolicy())
    for batch in range(4):
        breaker.failed(batch, 0.0)
    breaker.failed(4, 0.0, after=3600.0)
    assert breaker.wait(0.0) == 5.0


@pytest.mark.parametrize("ordered", [False, True])
async def test_no_wait_is_obeyed_for_longer_than_the_longest(ordered: bool) -> None:  # noqa: FBT001 - drawn
    """31 years are an hour."""
    sink, books = hook(lambda _: Retry("answered 503", after=999_999_999.0)), Feed(50)
    async with running(delivery(sink, books, replace(HOOK, ordered=ordered, in_flight=1 if ordered else 32))):
        await anyio.sleep(60)
        before = len(sink.asked)
        await anyio.sleep(2 * 3600)
    assert len(sink.asked) > before


@pytest.mark.parametrize("after", [float("nan"), float("inf"), -5.0, 1e300])
def test_any_number_is_a_wait_of_some_length(after: float) -> None:
    whole, part = judge(Retry("x", after), 1, 3600.0), judge(Partial({0: Retry("x", after)}), 2, 3600.0)
    assert whole.after is None or 0.0 <= whole.after <= 3600.0
    assert whole.after == part.after


async def test_resuming_tries_at_once_what_waits_and_says_what_waits_all_the_same() -> None:
    """By hand nobody has to wait for what a destination asked for."""
    busy = True
    sink = hook(lambda _: Retry("answered 503", after=3600.0) if busy else None)
    books = Feed(200, before=10)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(60)
        busy = False
        subject.turn("active")
        parked, due = books.progress.parked, time.gmtime(subject.tally.due)
        assert subject.waits == f"{parked} parked events wait, the next is due {time.strftime('%F %T', due)}Z"
        await anyio.sleep(60)
        assert len(sink.took) == 200 - parked
        assert subject.valve.breaker.state == "closed"


async def test_a_paused_subscription_that_is_resumed_waits_for_no_breaker() -> None:
    down = True
    sink, books = hook(lambda _: Retry("answered 500") if down else None), Feed(100)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(3600)
        subject.turn("paused")
        down = False
        subject.turn("active")
        await anyio.sleep(10)  # one call at a time at first
        assert len(sink.took) == 100


async def test_a_last_error_has_a_time_and_goes_when_it_works_again() -> None:
    down = True
    sink, books = hook(lambda _: Retry("answered 500") if down else None), Feed(10)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(1)
        assert subject.last_error == "answered 500"
        assert time.time() - 1 <= subject.tally.last_error_at <= time.time()
        down = False
        await anyio.sleep(60)
        assert (subject.last_error, subject.tally.last_error_at) == ("", 0.0)


async def test_an_outage_has_a_line_in_the_log_when_it_begins_and_when_it_is_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    back = trio.current_time() + 3600
    sink = hook(lambda _: Retry("answered 500") if trio.current_time() < back else None)
    async with running(delivery(sink, Feed(500), HOOK)):
        await anyio.sleep(2 * 3600)
    lines = capsys.readouterr().out.splitlines()
    [opened] = [line for line in lines if "breaker opened" in line]
    [closed] = [line for line in lines if "breaker closed" in line]
    assert all(word in opened for word in ("d/s", "answered 500", "seconds=5.0"))
    assert float(closed.rpartition("seconds=")[2].split()[0]) > 3500


def _set(monkeypatch: pytest.MonkeyPatch, offset: float) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9 + offset + trio.current_time())


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_is_set_back_does_not_park_an_event_for_longer(
    monkeypatch: pytest.MonkeyPatch,
    restarted: bool,  # noqa: FBT001 - drawn
) -> None:
    """Nor over a restart: it waits for its interval once more, from when it is looked at."""
    fails = True
    sink, books = hook(lambda _: Retry("answered 500") if fails else None), Feed(1)
    policy = Policy(tries=1, schedule=[600.0, 600.0])
    async with running(delivery(sink, books, policy)) as subject:
        await anyio.sleep(30)
        assert books.progress.parked == 1
        fails = False
        _set(monkeypatch, -DAY)
        if not restarted:
            await anyio.sleep(800)
            assert len(sink.took) == 1
            return
        subject.stop()
    async with running(delivery(sink, books, policy)):
        await anyio.sleep(700)
        assert len(sink.took) == 1


async def test_a_clock_that_jumps_ahead_only_means_that_what_is_parked_is_tried_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink, books = hook(lambda n: Retry("answered 500") if n <= 3 else None), Feed(50)
    async with running(delivery(sink, books, Policy(batch=1, tries=1, schedule=[600.0] * 3))):
        await anyio.sleep(30)
        _set(monkeypatch, DAY)
        await anyio.sleep(120)
        assert (books.progress.parked, books.progress.dead) == (3, 0)
        assert len(sink.asked) == 50 + 3


async def test_dead_letters_that_are_replayed_slowly_keep_their_rate_though_they_wait_for_longer_than_any_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And when the clock is set back, they wait for that long from then."""
    sink, books = hook(lambda n: Retry("answered 500") if n else None), Feed(3)
    async with running(delivery(sink, books, Policy(batch=1, tries=1, schedule=[]))) as subject:
        await anyio.sleep(30)
        assert books.progress.dead == 3
        sink.asked.clear()
        subject.replay(list(books.letters), per_second=1 / 7200)
        await anyio.sleep(7200 + 60)
        assert len(sink.asked) == 2
        _set(monkeypatch, -DAY)
        await anyio.sleep(4 * 7200)
        assert len(sink.asked) == 3

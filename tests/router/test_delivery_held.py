"""Refusals: those of a whole destination hold its subscription, those of an event make it a dead letter."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from fakes.delivery import delivery, running
from fakes.numbered import Feed, hook
from msgspec.structs import replace

from router.errors import Partial, Reject, Retry
from router.retry import Policy, judge

pytestmark = pytest.mark.anyio

HOOK = Policy(in_flight=32, batch=1)
ORDERED = Policy(batch=1, ordered=True)
KEYED = Policy(in_flight=8, batch=1, ordered=True, key="key")
BATCHES = Policy(batch=50)
POLICIES = pytest.mark.parametrize(
    "policy", [HOOK, ORDERED, KEYED, BATCHES], ids=["free", "ordered", "keyed", "batches"]
)
EXPIRED = Reject("answered 401", 401, hold=True, always=True)
UNKNOWN = Reject("answered 404", 404, hold=True)
BAD = Reject("answered 400", 400)
HOUR = 3600.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock go with trio's."""
    monkeypatch.setattr(time, "time", lambda: 1e9 + trio.current_time())


def until(moment: float, error: Reject) -> Callable[[int], Reject | None]:
    """Refuse everything for so many seconds from now."""
    end = trio.current_time() + moment
    return lambda _: error if trio.current_time() < end else None


@POLICIES
async def test_a_destination_that_refuses_everything_holds_its_subscription_and_makes_no_dead_letters(
    policy: Policy,
) -> None:
    """An expired token: it is asked again about once a minute, and then all is delivered."""
    sink, books = hook(until(HOUR, EXPIRED)), Feed(1000, keys=10)
    async with running(delivery(sink, books, policy)) as subject:
        await anyio.sleep(1)
        states = [(subject.state, books.progress.state)]
        await anyio.sleep(HOUR - 10)
        assert (books.progress.dead, books.progress.parked, books.progress.delivered) == (0, 0, 0)
        assert len(sink.asked) < 400
        await anyio.sleep(300)
        states.append((subject.state, books.progress.state))
    assert states == [("held", "held"), ("active", "active")]
    assert (books.progress.delivered, books.progress.dead, sink.took) == (1000, 0, set(range(1, 1001)))


@POLICIES
async def test_a_token_that_expires_amid_the_flow_makes_no_dead_letters(policy: Policy) -> None:
    end = trio.current_time() + 1.02
    sink = hook(lambda _: EXPIRED if trio.current_time() > end else None)
    books = Feed(5000, keys=10)
    async with running(delivery(sink, books, policy)) as subject:
        await anyio.sleep(HOUR)
        assert (subject.state, books.progress.dead) == ("held", 0)
        assert len(sink.took) > 10


@pytest.mark.parametrize("error", [UNKNOWN, BAD], ids=["404", "400"])
@POLICIES
async def test_events_that_are_refused_while_others_are_taken_are_dead_letters(policy: Policy, error: Reject) -> None:
    """One in twenty; the subscription is held by none of them, or for a moment."""
    sink = hook(lambda n: error if n % 20 == 7 else None)
    books = Feed(1000, keys=11)
    async with running(delivery(sink, books, policy)) as subject:
        await anyio.sleep(400)
        assert (subject.state, subject.valve.breaker.state) == ("active", "closed")
    assert (books.progress.delivered, books.progress.dead) == (950, 50)
    assert {(letter.kind, letter.status) for letter in books.letters} == {("refused", error.status)}
    assert {letter.position % 20 for letter in books.letters} == {7}


async def test_events_that_are_refused_together_with_others_that_are_taken_are_dead_letters() -> None:
    """Nothing comes after them: that the others were taken at the same time says it."""
    sink, books = hook(lambda n: UNKNOWN if n in {3, 8} else None), Feed(10)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(5)
        assert subject.state == "active"
    assert (books.progress.delivered, books.progress.dead, len(sink.asked)) == (8, 2, 12)


@pytest.mark.parametrize("in_flight", [1, 32])
async def test_the_last_few_that_are_refused_when_all_others_were_taken_are_dead_letters(in_flight: int) -> None:
    """A 404 that some events get is about these, also at the end of a campaign, when nothing is left to ask with."""
    missing = Reject("answered 404", 404, hold=True)
    sink, books = hook(lambda number: missing if number % 10 == 0 or number > 296 else None), Feed(300)
    async with running(delivery(sink, books, replace(HOOK, in_flight=in_flight))) as subject:
        await anyio.sleep(60)
        assert subject.state == "active"
    assert (books.progress.delivered, books.progress.dead) == (267, 33)


async def test_a_route_that_goes_away_amid_the_flow_makes_no_dead_letters() -> None:
    """Though it answers 404 just after it took others: there are more than a few behind."""
    gone = trio.current_time() + 1.0
    missing = Reject("answered 404", 404, hold=True)
    sink = hook(lambda _: missing if gone < trio.current_time() < gone + 600 else None)
    books = Feed(3000)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(30)
        assert (subject.state, books.progress.dead) == ("held", 0)
        await anyio.sleep(1200)
    assert (books.progress.delivered, books.progress.dead) == (3000, 0)


async def test_one_event_alone_that_is_refused_as_everything_is_stays_held_until_another_is_taken() -> None:
    sink, books = hook(lambda n: UNKNOWN if n == 1 else None), Feed(1)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(24 * HOUR)
        assert (subject.state, books.progress.dead) == ("held", 0)
        assert len(sink.asked) < 24 * 60 + 10
        books.grow(1)
        await anyio.sleep(61)
        assert subject.state == "active"
    assert (books.progress.delivered, books.progress.dead) == (1, 1)


async def test_one_event_alone_that_is_taken_at_last_releases_its_subscription() -> None:
    sink, books = hook(until(HOUR, UNKNOWN)), Feed(1)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(HOUR + 61)
        assert subject.state == "active"
    assert (books.progress.delivered, books.progress.dead) == (1, 0)


@POLICIES
async def test_a_deploy_that_refuses_everything_as_bad_makes_a_few_dead_letters_at_most(policy: Policy) -> None:
    """400 to 3,000 events: after twenty different ones it is held, and what was refused is tried again."""
    sink, books = hook(until(HOUR, BAD)), Feed(3000, keys=10)
    async with running(delivery(sink, books, policy)) as subject:
        await anyio.sleep(HOUR - 10)
        assert (subject.state, books.progress.delivered) == ("held", 0)
        dead = books.progress.dead
        assert dead <= (20 if policy.ordered else 0)
        await anyio.sleep(400)
    assert (books.progress.delivered, books.progress.dead) == (3000 - dead, dead)


async def test_bad_answers_to_events_that_trickle_in_make_twenty_dead_letters_at_most() -> None:
    """One a minute, so that there is never another one to ask with."""
    sink, books = hook(lambda _: BAD), Feed(0)
    async with running(delivery(sink, books, HOOK)) as subject:
        for _ in range(100):
            books.grow(1)
            await anyio.sleep(60)
        assert subject.state == "held"
    assert books.progress.dead == 20


async def test_what_the_sink_itself_refuses_says_nothing_of_the_destination() -> None:
    """Too large, not in its form: a dead letter at once, however many there are."""
    for sure in (Reject("too large"), Reject("answered 422", 422, hold=False)):
        sink, books = hook(lambda _, sure=sure: sure), Feed(500)  # type: ignore[misc]
        async with running(delivery(sink, books, HOOK)) as subject:
            await anyio.sleep(60)
            assert (subject.state, subject.valve.breaker.state) == ("active", "closed")
        assert books.progress.dead == 500


async def test_a_held_subscription_is_held_after_a_restart_and_asks_at_once() -> None:
    sink, books = hook(lambda _: EXPIRED), Feed(100)
    async with running(delivery(sink, books, HOOK)):
        await anyio.sleep(HOUR)
    for refuses in (True, False):
        again, anew = hook(lambda _, refuses=refuses: EXPIRED if refuses else None), Feed(100)  # type: ignore[misc]
        anew.progress = books.progress
        async with running(delivery(again, anew, HOOK)) as subject:
            await anyio.sleep(1)
            assert subject.state == ("held" if refuses else "active")
            assert (len(again.asked) <= 2) == refuses
    assert anew.progress.delivered == 100


async def test_resuming_a_held_subscription_tries_at_once() -> None:
    sink, books = hook(until(HOUR, EXPIRED)), Feed(100)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(HOUR - 1)
        subject.turn("active")
        await anyio.sleep(0.5)
        assert subject.state == "held"
        await anyio.sleep(1)
        subject.turn("active")
        await anyio.sleep(4)
        assert (subject.state, books.progress.delivered, books.progress.dead) == ("active", 100, 0)


async def test_a_held_subscription_can_be_paused_and_gone() -> None:
    answer = EXPIRED
    sink, books = hook(lambda _: answer), Feed(100)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(60)
        subject.turn("paused")
        asked = len(sink.asked)
        await anyio.sleep(HOUR)
        assert (subject.state, len(sink.asked)) == ("paused", asked)
        subject.turn("active")
        await anyio.sleep(1)
        answer = Reject("gone", 410)
        await anyio.sleep(120)
        assert (subject.state, books.progress.dead) == ("gone", 0)


async def test_a_held_subscription_whose_destination_stops_answering_is_still_held() -> None:
    answer: Reject | Retry | None = EXPIRED
    sink, books = hook(lambda _: answer), Feed(500)
    async with running(delivery(sink, books, HOOK)) as subject:
        await anyio.sleep(60)
        answer = Retry("no answer")
        await anyio.sleep(HOUR)
        assert (subject.state, books.progress.parked, books.progress.dead) == ("held", 0, 0)
        answer = None
        await anyio.sleep(120)
    assert (books.progress.delivered, books.progress.dead) == (500, 0)


async def test_in_order_nothing_is_delivered_behind_what_is_tried_again() -> None:
    """Over holds, refusals and releases: what was taken, was taken in order."""
    flips = [10.0 * n for n in range(1, 40)]
    start = trio.current_time()

    def answer(n: int) -> Reject | None:
        if n % 50 == 13:
            return UNKNOWN
        if n % 50 == 31:
            return BAD
        return EXPIRED if sum(trio.current_time() - start > flip for flip in flips) % 3 == 1 else None

    for policy in (ORDERED, KEYED):
        sink, books = hook(answer), Feed(2000, keys=7)
        async with running(delivery(sink, books, policy)):
            await anyio.sleep(2 * HOUR)
        done = books.progress
        assert (done.position, done.delivered + done.dead) == (2001, 2000)
        taken = {n: at for at, n in sink.asked}
        for key in range(7 if policy.key else 1):
            mine = [n for n in sorted(sink.took) if not policy.key or n % 7 == key]
            assert all(taken[one] < taken[two] for one, two in pairwise(mine))


async def test_being_held_and_released_are_a_line_each_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    sink, books = hook(until(HOUR, EXPIRED)), Feed(1000)
    async with running(delivery(sink, books, HOOK)):
        await anyio.sleep(2 * HOUR)
    lines = capsys.readouterr().out.splitlines()
    [held] = [line for line in lines if "held:" in line]
    [released] = [line for line in lines if "released:" in line]
    assert all(word in held for word in ("error", "d/s", "answered 401"))
    assert float(released.rpartition("seconds=")[2].split()[0]) > HOUR - 60
    assert not [line for line in lines if "dead letter" in line or "breaker" in line]


async def test_calls_that_fail_are_counted_by_what_was_answered() -> None:
    """Refusals, too."""
    answers: dict[int, Retry | Reject] = {
        1: BAD,
        2: Retry("answered 503", status=503),
        3: Retry("no answer"),
        4: Reject("too large"),
    }
    sink, books = hook(answers.__getitem__), Feed(4)
    async with running(delivery(sink, books, replace(HOOK, tries=1))) as subject:
        await anyio.sleep(4)
        assert subject.valve.failures == {"400": 1, "503": 1, "no answer": 1, "refused": 1}


def test_a_batch_that_is_refused_as_everything_is_is_not_taken_apart() -> None:
    outcome = judge(EXPIRED, 3)
    assert ([index for index, _ in outcome.refused], outcome.singly, outcome.hold) == ([0, 1, 2], False, True)
    assert judge(Partial({1: EXPIRED}), 3).took(3) == 2

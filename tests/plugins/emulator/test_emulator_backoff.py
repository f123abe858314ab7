"""Push backoff: what a subscription that keeps failing is spared, and how fast it recovers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from random import Random

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.push_endpoint import endpoint

from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.backoff import Backoff, overtaken

DOWN = "500 Down\r\nContent-Length: 0"


def failing(backoff: Backoff, seconds: float) -> tuple[float, list[int]]:
    """Push to an endpoint that is down for so long; return the time, and how many pushes each second had."""
    now, made = 0.0, [0] * (int(seconds) + 1)
    while now < seconds:
        if backoff.wait(now):
            now += backoff.wait(now)
            continue
        made[int(now)] += 1
        backoff.settle(backoff.start(now), now, answered=False)
        now += 0.01
    return now, made


def test_nothing_is_held_back_before_a_whole_round_has_failed() -> None:
    backoff = Backoff()
    for _ in range(31):
        backoff.settle(backoff.start(0), 0, answered=False)
        assert backoff.wait(0) == 0
    backoff.settle(backoff.start(0), 0, answered=False)
    assert (backoff.level, backoff.interval(), backoff.wait(0), backoff.round_size()) == (1, 0.5, 0.5, 16)


def test_one_success_among_failures_begins_the_count_anew() -> None:
    backoff = Backoff()
    for number in range(1000):
        backoff.settle(backoff.start(0), 0, answered=number % 31 == 30)
    assert backoff.level == 0


def test_the_interval_grows_to_a_minute_and_the_round_falls_to_one() -> None:
    backoff = Backoff()
    failing(backoff, 600)
    assert (backoff.interval(), backoff.round_size()) == (60, 1)


def test_a_round_is_no_larger_than_its_size() -> None:
    backoff = Backoff()
    for _ in range(32):
        backoff.settle(backoff.start(0), 0, answered=False)
    epochs = [backoff.start(1) for _ in range(16)]
    assert backoff.wait(1) == 0.5
    assert set(epochs) == {1}


def test_pushes_that_were_under_way_when_the_level_changed_do_not_raise_it_again() -> None:
    backoff = Backoff()
    epochs = [backoff.start(0) for _ in range(500)]
    for epoch in epochs:
        backoff.settle(epoch, 5, answered=False)
    assert backoff.level == 1


def test_it_recovers_within_a_hundred_seconds_of_the_endpoint() -> None:
    backoff = Backoff()
    now, _ = failing(backoff, 600)
    up = now
    while backoff.level:
        now += backoff.wait(now)
        backoff.settle(backoff.start(now), now, answered=True)
    assert now - up <= 100


def test_fast_divides_the_intervals() -> None:
    backoff = Backoff(fast=100)
    for _ in range(32):
        backoff.settle(backoff.start(0), 0, answered=False)
    assert backoff.wait(0) == pytest.approx(0.005)


@given(st.lists(st.booleans(), max_size=300), st.floats(0.1, 1000))
def test_whatever_is_answered_the_limits_are_kept_and_a_push_may_start_after_a_minute(
    answers: list[bool], fast: float
) -> None:
    backoff, now = Backoff(fast), 0.0
    for answered in answers:
        assert 0 <= backoff.wait(now) <= 60 / fast
        assert 1 <= backoff.round_size() <= 32
        now += backoff.wait(now)
        backoff.settle(backoff.start(now), now, answered=answered)


def test_retries_that_were_due_while_a_push_was_held_back_are_lost() -> None:
    random = Random(1)
    assert overtaken("BACKOFF_RETRY", 2, 0, random) == 2
    assert overtaken("BACKOFF_RETRY", 2, 20, random) == 3
    assert overtaken("BACKOFF_RETRY", 2, 3600, random) == 4
    assert overtaken("EXPONENTIAL_DECAY_RETRY", 1, 7, random) == 4
    assert overtaken("EXPONENTIAL_DECAY_RETRY", 1, 10**6, random) == 177


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator(fast=100).serve() as running:
        running.create_topic("t")
        yield running


async def wait_until_idle(service: Service) -> None:
    with anyio.fail_after(10):
        while service.pushes.pending():
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_in_backoff_messages_get_fewer_tries_than_their_strategy_has() -> None:
    async with Emulator(fast=20_000).serve() as service, endpoint(DOWN) as there:
        service.create_topic("t")
        service.subscribe("t", "s", there.url)
        for _ in range(100):
            service.publish("t", "x")
        await wait_until_idle(service)
        assert 100 <= len(there.pushed) < 300
        assert service.pushes.backoff_of("t", "s") > 2
    last = [answer for answer in service.pushes.answers if answer.next_try is None]
    assert (len(last), {answer.attempt for answer in last}) == (100, {4})


@pytest.mark.anyio
async def test_after_a_failure_the_same_subscription_is_pushed_to_at_full_speed_again(service: Service) -> None:
    async with endpoint(*[DOWN] * 60, "204 No Content") as there:
        service.subscribe("t", "s", there.url, strategy="EXPONENTIAL_DECAY_RETRY")
        for _ in range(60):
            service.publish("t", "x")
        await there.wait(60)
        assert service.pushes.backoff_of("t", "s") >= 1
        await wait_until_idle(service)
        assert service.pushes.backoff_of("t", "s") == 0
    assert sum(answer.status == 204 for answer in service.pushes.answers) == 60


@pytest.mark.anyio
async def test_a_message_published_in_backoff_waits_for_the_interval() -> None:
    async with Emulator().serve() as service, endpoint(*[DOWN] * 32, "204 No Content") as there:
        service.create_topic("t")
        service.subscribe("t", "s", there.url)
        for _ in range(32):
            service.publish("t", "x")
        await there.wait(32)
        with anyio.fail_after(1):
            while not service.pushes.backoff_of("t", "s"):
                await anyio.sleep(0.005)
        began = anyio.current_time()
        service.publish("t", "late")
        assert (await there.wait(33))[-1].body == b"late"
        assert 0.4 < anyio.current_time() - began < 2

"""P3. What a destination took is known as delivered though an older event waits: it is not sent again after a stop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from anyio import to_thread
from servers.daemon import Daemon, post, running
from servers.hook import answering

pytestmark = pytest.mark.anyio


class Destination:
    """Fails for one number, takes all others; knows how often, and when first."""

    def __init__(self) -> None:
        self.stuck = 7
        self.took: Counter[int] = Counter()
        self.times: dict[int, float] = {}

    async def answer(self, request: web.Request) -> web.Response:
        number = int((await request.json())["env_id"])
        if number == self.stuck:
            return web.Response(status=500)
        self.took[number] += 1
        self.times.setdefault(number, time.monotonic())
        return web.Response(status=204)


def departments(url: str, delivery: str) -> str:
    return f"""
  a:
    accounts: ["*"]
    subscriptions:
      hook: {{to: {{type: webhook, url: "{url}/"}}, delivery: {{{delivery}}}}}
"""


async def wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.02)


async def status(daemon: Daemon) -> dict[str, int]:
    return (await to_thread.run_sync(daemon.status))["subscriptions"]["a/hook"]  # type: ignore[no-any-return]


WAITS = "tries: 5, retry_min: 60s, retry_max: 60s"
"""The one that fails waits for its next try, up to a minute."""


async def test_one_event_that_waits_hides_no_other_and_a_clean_stop_sends_nothing_again(tmp_path: Path) -> None:
    where = Destination()
    async with answering(where.answer) as url:
        with running(tmp_path, departments(url, WAITS)) as daemon:
            await post(daemon.url, range(1000), {})
            await wait(lambda: len(where.took) == 999)
            said = await status(daemon)
            assert (said["delivered"], said["pending"], said["in_flight"]) == (999, 1, 0)
            assert await to_thread.run_sync(daemon.stop) == 0
            (balance,) = (await to_thread.run_sync(daemon.verify))["subscriptions"]
            assert (balance["delivered"], balance["pending"], balance["problem"]) == (999, 1, "")
            where.stuck = -1
            await to_thread.run_sync(daemon.start)
            await to_thread.run_sync(daemon.wait_settled)
            assert (await to_thread.run_sync(daemon.verify))["ok"]
    assert where.took == dict.fromkeys(range(1000), 1)


async def test_a_kill_sends_again_what_was_taken_in_the_last_second_at_most(tmp_path: Path) -> None:
    """And all that is behind what waits is known, at a rate, too."""
    where = Destination()
    async with answering(where.answer) as url:
        with running(tmp_path, departments(url, f"{WAITS}, rate: 60")) as daemon:
            await post(daemon.url, range(250), {})
            await wait(lambda: len(where.took) > 100)
            said = await status(daemon)
            assert said["delivered"] > 60
            await to_thread.run_sync(daemon.kill)
            killed = time.monotonic()
            where.stuck = -1
            await to_thread.run_sync(daemon.start)
            await to_thread.run_sync(daemon.wait_settled)
            assert (await to_thread.run_sync(daemon.verify))["ok"]
    again = {number for number, count in where.took.items() if count > 1}
    assert set(where.took) == set(range(250))
    assert max(where.took.values()) <= 2
    assert all(killed - where.times[number] < 3 for number in again), "about a second, on a busy machine"


async def test_explain_says_when_what_is_above_the_mark_was_delivered(tmp_path: Path) -> None:
    """P5: also after a restart, in which the one that waits goes first."""
    where = Destination()
    async with answering(where.answer) as url:
        with running(tmp_path, departments(url, WAITS)) as daemon:
            await post(daemon.url, range(20), {})
            await wait(lambda: len(where.took) == 19)

            def explained(key: str) -> str:
                return daemon.cli("explain", str(daemon.config), key).stdout

            before = await to_thread.run_sync(explained, "12")
            assert "delivered between" in before
            assert "at the first try" in before
            assert "taken for delivery" in await to_thread.run_sync(explained, "7")
            await to_thread.run_sync(daemon.stop)
            where.stuck = -1
            await to_thread.run_sync(daemon.start)
            await to_thread.run_sync(daemon.wait_settled)
            after = await to_thread.run_sync(explained, "12")
            moment = before[before.index("between") :][: len("between 2026-11-30 22:00:00Z")]
            assert moment in after

"""Threads: blocking calls that stand in nobody's way."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from router import threads
from router.threads import USUAL, Threads

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """Hang until the test ends."""
    event = threading.Event()
    yield event
    event.set()


async def wait_busy(*some: Threads) -> None:
    with anyio.fail_after(10):
        while not all(one.busy for one in some):
            await anyio.sleep(0.001)


async def test_a_call_returns_what_the_function_returns_and_raises_what_it_raises() -> None:
    def fail() -> None:
        raise OSError("no disk")

    mine = Threads()
    with pytest.raises(OSError, match="no disk"):
        await mine.run(fail)
    assert await mine.run(lambda: 7) == 7


async def test_calls_that_hang_elsewhere_hold_up_nobody(hang: threading.Event) -> None:
    """However many they are."""
    hanging = [Threads() for _ in range(5 * USUAL)]
    async with anyio.create_task_group() as tasks:
        for one in hanging:
            tasks.start_soon(one.run, hang.wait)
        await wait_busy(*hanging)
        mine = Threads()
        with anyio.fail_after(5):
            assert [await mine.run(lambda: 7) for _ in range(100)] == [7] * 100
        tasks.cancel_scope.cancel()


async def test_at_most_so_many_calls_are_under_way() -> None:
    now, most, order = 0, 0, list[int]()
    lock = threading.Lock()

    def call(number: int) -> None:
        nonlocal now, most
        with lock:
            order.append(number)
            now += 1
            most = max(most, now)
        threading.Event().wait(0.002)
        with lock:
            now -= 1

    mine = Threads(2)
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(mine.run, lambda n=number: call(n))
            await anyio.lowlevel.checkpoint()
    assert most == 2
    assert sorted(order) == list(range(20))


async def test_who_is_cancelled_does_not_wait_and_the_call_still_counts(hang: threading.Event) -> None:
    mine, begun = Threads(), list[int]()
    with anyio.move_on_after(0.05):
        await mine.run(hang.wait)
    with anyio.move_on_after(0.05):
        await mine.run(lambda: begun.append(1))
    assert mine.busy == 1
    hang.set()
    assert await mine.run(lambda: 7) == 7
    assert begun == [], "a call that nobody waits for any more was begun"


async def test_a_thousand_that_call_at_once_share_a_few_threads() -> None:
    before = threading.active_count()
    some, seen = [Threads() for _ in range(1000)], set[str | int | None]()
    async with anyio.create_task_group() as tasks:
        for one in some:
            tasks.start_soon(one.run, lambda: seen.add(threading.get_ident()))
    assert len(seen) <= 2 * USUAL
    assert threading.active_count() <= before + 2 * USUAL


async def test_threads_that_have_nothing_to_do_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE", 0.01)
    thread = await Threads().run(threading.current_thread)
    with anyio.fail_after(10):
        while thread.is_alive():
            await anyio.sleep(0.005)
    assert await Threads().run(lambda: 7) == 7


def test_a_process_ends_although_a_call_hangs() -> None:
    program = """
import anyio, threading
from router.threads import Threads

async def main():
    with anyio.move_on_after(0.1):
        await Threads().run(threading.Event().wait)

anyio.run(main)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=20, check=False).returncode == 0

"""A worker: a thread of one's own."""

from __future__ import annotations

import threading
import time

import anyio
import anyio.lowlevel
import pytest

from router.bell import Bell
from router.worker import Worker

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_calls_are_made_in_its_one_thread_and_their_results_returned() -> None:
    with Worker("mine") as worker:
        names = [await worker.run(lambda: threading.current_thread().name) for _ in range(3)]
    assert names == ["mine"] * 3


async def test_what_a_call_raises_is_raised_where_it_was_made_and_the_next_one_is_made_all_the_same() -> None:
    def fail() -> None:
        raise OSError("no disk")

    with Worker("mine") as worker:
        with pytest.raises(OSError, match="no disk"):
            await worker.run(fail)
        assert await worker.run(lambda: 7) == 7


async def test_the_loop_goes_on_while_a_call_blocks() -> None:
    going = threading.Event()
    with Worker("mine") as worker:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run, lambda: going.wait(30))
            await anyio.sleep(0.01)
            going.set()


async def test_who_is_cancelled_does_not_go_before_the_call_has_ended() -> None:
    going, ended = threading.Event(), list[bool]()

    def work() -> None:
        going.wait(30)
        time.sleep(0.05)
        ended.append(True)

    with Worker("mine") as worker:
        with anyio.move_on_after(0.01) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.run, work)
                await anyio.lowlevel.checkpoint()
                threading.Timer(0.05, going.set).start()
        assert scope.cancelled_caught
        assert ended == [True]


async def test_its_thread_ends_with_the_block() -> None:
    with Worker("mine") as worker:
        ident = await worker.run(threading.get_ident)
    assert ident not in {thread.ident for thread in threading.enumerate()}


async def test_a_bell_wakes_all_who_wait_and_is_not_remembered() -> None:
    bell, woken = Bell(), list[int]()

    async def wait(number: int) -> None:
        await bell.wait()
        woken.append(number)

    bell.ring()
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(wait, number)
        await anyio.wait_all_tasks_blocked()
        assert not woken
        bell.ring()
    assert sorted(woken) == [0, 1, 2]
    began = anyio.current_time()
    await bell.wait(0.02)
    assert anyio.current_time() - began >= 0.01

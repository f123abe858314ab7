"""A source that ends listens no longer until it is started again: whoever connects is refused, and does not wait."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import anyio
import anyio.lowlevel
import pytest

from router.intake import Intake
from router.listeners import Listener
from router.plugin import Count, Emit, Source
from router.running import Supplier

pytestmark = pytest.mark.anyio


class Ends(Source, frozen=True, kw_only=True):
    """Ends as soon as it is ready, by an error or by itself."""

    parallel: ClassVar[bool] = True

    error: bool

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        raise NotImplementedError

    async def run_on(
        self, sockets: Sequence[socket.socket], emit: Emit, ready: Callable[[], None], count: Count
    ) -> None:
        assert sockets
        ready()
        if self.error:
            raise OSError("no more")


@pytest.mark.parametrize("error", [True, False])
async def test_where_a_source_has_ended_nobody_waits_to_be_accepted(*, error: bool) -> None:
    listener = Listener("127.0.0.1:0")
    [listening] = listener.sockets(1, 1)
    address = listening.getsockname()
    supplier = Supplier("push", Ends(error=error), None, listener)
    intake = Intake(cast("Any", None), cast("Any", None))  # nothing comes in
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: supplier.run(intake, must_start=False))
        with anyio.fail_after(5):
            while listening.fileno() >= 0:
                await anyio.sleep(0.01)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        await supplier.stop()
    assert bool(supplier.last_error) == error


class Mends(Source, frozen=True, kw_only=True):
    """Fails at first, with a group, and works when it is started again."""

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        count("starts")
        if len(STARTS) == 0:
            STARTS.append(1)
            raise ExceptionGroup("unhandled", [ExceptionGroup("inner", [ConnectionRefusedError("nobody there")])])
        ready()
        await anyio.sleep_forever()


STARTS: list[int] = []


async def test_a_sources_last_error_says_what_was_at_fault_and_when_and_goes_when_it_works_again() -> None:
    STARTS.clear()
    supplier = Supplier("s", Mends(), None, None)
    intake = Intake(cast("Any", None), cast("Any", None))  # nothing comes in
    before = time.time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: supplier.run(intake, must_start=False))
        with anyio.fail_after(20):
            while not supplier.error:
                await anyio.sleep(0.01)
            assert supplier.error.text == "ConnectionRefusedError: nobody there"
            assert before <= supplier.error.at <= time.time()
            while not supplier.ready:
                await anyio.sleep(0.01)
        assert supplier.error is None
        assert supplier.last_error == ""
        await supplier.stop()


class Leaves(Source, frozen=True, kw_only=True):
    """Raises what ends a process, or a task."""

    error: type[BaseException]

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        ready()
        await anyio.lowlevel.checkpoint()
        raise self.error


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError])
async def test_a_source_that_raises_what_ends_a_process_or_a_task_is_started_again(error: type[BaseException]) -> None:
    supplier = Supplier("s", Leaves(error=error), None, None)
    intake = Intake(cast("Any", None), cast("Any", None))  # nothing comes in
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: supplier.run(intake, must_start=False))
        with anyio.fail_after(10):
            while not supplier.error:
                await anyio.sleep(0.01)
        assert supplier.error.text == error.__name__
        assert not supplier.ended.is_set()
        await supplier.stop()

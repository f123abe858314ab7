"""A source that ends listens no longer until it is started again: whoever connects is refused, and does not wait."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import anyio
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

"""The stdout sink: whole lines, and a reader that is slow or gone harms nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

import anyio
import anyio.to_thread
import pytest

from router import Retry
from router.testing import make_event, make_events
from router_plugins.stdout import STDOUT, Stdout

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def piped() -> Generator[int]:
    """Make standard output a pipe inside the block, and yield its reading end (pytest undoes a fixture's)."""
    saved = os.dup(STDOUT)
    reading, writing = os.pipe()
    os.dup2(writing, STDOUT)
    os.close(writing)
    try:
        yield reading
    finally:
        os.dup2(saved, STDOUT)
        os.close(saved)
        with suppress(OSError):  # the test may have closed it
            os.close(reading)


async def test_every_event_is_one_line_of_json() -> None:
    with piped() as reader:
        await Stdout().deliver(make_events(3))
        lines = os.read(reader, 65536).splitlines()
        assert [json.loads(line)["number"] for line in lines] == ["0", "1", "2"]


async def test_raw_lines_are_the_bytes_as_they_came() -> None:
    with piped() as reader:
        await Stdout(form="raw").deliver([make_event(raw=b"env_id=1"), make_event(raw=b"env_id=2")])
        assert os.read(reader, 65536) == b"env_id=1\nenv_id=2\n"


async def test_a_line_longer_than_the_pipe_arrives_whole() -> None:
    with piped() as reader:
        event = make_event(text="x" * 300_000)
        received = bytearray()

        def read() -> None:
            while not received.endswith(b"\n"):
                received.extend(os.read(reader, 65536))

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, read)
            await Stdout().deliver([event])
        assert received == event.json() + b"\n"


async def test_a_reader_that_is_gone_is_retry() -> None:
    with piped() as reader:
        os.close(reader)
        with pytest.raises(Retry, match="Broken pipe"):
            await Stdout().deliver(make_events(1))


async def test_a_reader_that_does_not_read_does_not_keep_the_router_from_stopping() -> None:
    with piped() as reader:
        started = time.monotonic()
        with anyio.move_on_after(0.05) as scope:
            await Stdout().deliver([make_event(text="x" * 4000) for _ in range(100)])
        assert scope.cancelled_caught
        assert time.monotonic() - started < 2
        assert os.read(reader, 1_000_000).endswith(b"}\n"), "it ends between two lines"

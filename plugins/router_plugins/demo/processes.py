"""The two daemons of the demo, each a process of its own, started and ended as an operator would."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from router import RouterError

START = 30.0
"""Seconds that a daemon may take to start."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def _ended(process: Process) -> AsyncGenerator[Process]:
    """End the process with the block: asked first, then killed."""
    async with process:
        try:
            yield process
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.terminate()
                with anyio.move_on_after(20):
                    await process.wait()
                if process.returncode is None:
                    process.kill()


@asynccontextmanager
async def emulator(folder: Path, fast: float) -> AsyncGenerator[str]:
    """Run the emulator, its waits divided by `fast`; yields its URL."""
    command = [sys.executable, "-m", "router", "emulator", "--listen", "127.0.0.1:0", "--fast", str(fast)]
    with (folder / "emulator.log").open("ab") as log:
        started = await anyio.open_process(command, stdin=subprocess.DEVNULL, stderr=log)
    async with _ended(started) as process:
        assert process.stdout is not None
        lines = BufferedByteReceiveStream(process.stdout)
        try:
            with anyio.fail_after(START):
                line = (await lines.receive_until(b"\n", 1000)).decode()
        except (TimeoutError, anyio.IncompleteRead) as error:
            raise RouterError(f"the emulator did not start; see {folder / 'emulator.log'}") from error
        yield line.split()[-1]


class Daemon:
    """The router of the demo; `kill` ends it without a word, and `start` starts it again on the same state."""

    def __init__(self, config: Path, environ: Mapping[str, str], log: Path) -> None:
        self._command = [sys.executable, "-m", "router", "run", str(config)]
        self._environ = environ
        self._log = log
        self._process: Process | None = None

    async def start(self) -> None:
        """Start the process."""
        with self._log.open("ab") as log:
            self._process = await anyio.open_process(
                self._command, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def check(self) -> None:
        """Raise `RouterError` if it ended by itself."""
        if self._process is None or self._process.returncode is not None:
            raise RouterError(f"the router ended by itself; see {self._log}")

    async def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """End it with SIGTERM; returns its exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        with anyio.move_on_after(30):
            return await self._process.wait()
        await self.kill()
        return -signal.SIGKILL


@asynccontextmanager
async def daemon(config: Path, environ: Mapping[str, str], log: Path) -> AsyncGenerator[Daemon]:
    """Run the router with a config; it is ended with the block."""
    running = Daemon(config, environ, log)
    await running.start()
    try:
        yield running
    finally:
        with anyio.CancelScope(shield=True):
            await running.stop()

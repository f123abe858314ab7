"""A process on a core of its own, and what it used: CPU time and memory, as Linux counts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """Return the core of what is measured, and that of load and sinks; the same where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 % len(usable)]


SERVER_CORE, LOAD_CORE = cores()


_given: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on, and another one each time."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process so far, in steps of 10 ms."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


class Process:
    """A process that is running, in a session of its own, with the processes that it starts."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def cpu_seconds(self) -> float:
        """Return the CPU time of its processes and their threads so far, in steps of 10 ms."""
        return sum(int(words[11]) + int(words[12]) for _, words in self._session()) / _TICKS

    def mebibytes(self, what: str = "VmRSS") -> float:
        """Return the memory of its processes: `VmRSS` now, `VmHWM` the most so far."""
        total = 0
        for folder, _ in self._session():
            lines = (folder / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))
        return total / 1024

    def _session(self) -> Generator[tuple[Path, list[str]]]:
        """Yield the folder and the figures, from the state on, of the process and of all that it started."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if int(words[3]) == self.pid:
                yield folder, words

    def wait_ended(self) -> None:
        """Wait until it has ended by itself, or by somebody else's hand."""
        self._popen.wait()

    def kill(self) -> None:
        """End it at once, with all that it started."""
        os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def stop(self, seconds: float = 60) -> None:
        """Ask it to end, and wait; kill it when it does not."""
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def running(
    command: Sequence[str], *, core: int, log: Path, environment: Mapping[str, str] | None = None
) -> Generator[Process]:
    """Run a command on one core, its words in the log; stop it at the end of the block."""
    with log.open("ab") as words:
        # It starts on our core and is moved before it has threads, which then inherit the core.
        popen = subprocess.Popen(
            command, stdout=words, stderr=words, env=environment, cwd=log.parent, start_new_session=True
        )
    os.sched_setaffinity(popen.pid, {core})
    process = Process(popen)
    try:
        yield process
    finally:
        if not process.ended:
            process.stop()


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 60, pause: float = 0.02) -> None:
    """Wait for a condition; raises TimeoutError that says what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(pause)


def wait_listening(process: Process, port: int, log: Path, *, seconds: float = 60) -> None:
    """Wait until the process accepts connections; raises RuntimeError with its last words if it ends instead."""

    def listens() -> bool:
        if process.ended:
            raise RuntimeError(f"it ended: {log.read_text(errors='replace')[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    wait_until(listens, f"port {port} is open", seconds=seconds, pause=0.005)

"""What comes where: web servers and watched files on the load's core, which note each result and when it came."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.process import LOAD_CORE, free_port, running, wait_listening
from benchmarks.question import Ground
from benchmarks.tree import INSIDE


class Arrivals:
    """What arrived at one destination; known only after the block that noted it has ended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pairs(self) -> Sequence[tuple[int, float]]:
        """Return every number that came, with its monotonic time in seconds."""
        flat = array("d")
        flat.frombytes(self._path.read_bytes())
        return [(int(number), time) for number, time in zip(flat[::2], flat[1::2], strict=True)]

    def numbers(self) -> list[int]:
        return [number for number, _ in self.pairs()]

    def first(self) -> Mapping[int, float]:
        """Return when each number came first."""
        return dict(reversed(self.pairs()))


@contextmanager
def web_servers(ground: Ground, count: int, *, status: int = 204, delay: float = 0.0) -> Generator[dict[str, Arrivals]]:
    """Run web servers that answer everything alike, `delay` seconds late; yield what arrives at each by its URL."""
    ports = [free_port() for _ in range(count)]
    log = ground.folder / "receiver.log"
    command = ground.tree.python(INSIDE / "receiver.py", ground.folder, str(status), str(delay), *map(str, ports))
    with running(command, core=LOAD_CORE, log=log) as process:
        for port in ports:
            wait_listening(process, port, log)
        yield {f"http://127.0.0.1:{port}/in": Arrivals(ground.folder / f"{port}.times") for port in ports}


@contextmanager
def watched(ground: Ground, path: Path) -> Generator[Arrivals]:
    """Watch a file grow."""
    times, log = ground.folder / f"{path.name}.times", ground.folder / "tail.log"
    with running(ground.tree.python(INSIDE / "tail.py", path, times), core=LOAD_CORE, log=log):
        yield Arrivals(times)

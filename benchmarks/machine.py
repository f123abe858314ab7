"""What every benchmark prints first: the machine, the versions, the commit and the command."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks.tree import described

_PACKAGES = ("msgspec", "uvloop", "httptools", "aiohttp", "anyio")
_SYNCS = 200


def describe(folder: Path) -> list[str]:
    """Return a few lines that say where and with what a figure was measured; state and files are in `folder`."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    system = f"{platform.system()} {platform.release()}, fsync of 4 KiB {fsync_milliseconds(folder):.2f} ms (median)"
    return [
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f}, {system}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {packages}",
        f"{time.strftime('%Y-%m-%d')}, commit {described()}; python -m benchmarks {' '.join(sys.argv[1:])}",
    ]


def fsync_milliseconds(folder: Path) -> float:
    """Return how long the disk under a folder takes to make 4 KiB durable."""
    took: list[float] = []
    with TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return median and range."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"

"""Where the time goes: a sampling profiler on the process that is measured, and its samples as a table.

`py-spy` sees the Python frames of the thread that holds the interpreter, without a word in the program, `py-spy-all`
those of all threads that are not idle, also while they wait for the disk; `perf` sees the C code of the libraries
and the kernel, and no Python. Both are attached once the process is ready, so its start is not in the profile; of
several processes in a round (`drain` makes its journal with one) the last one's is kept.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

RATE = 500
"""Samples a second."""
SHOWN = 40
_STACK = re.compile(r"(.*) (\d+)")


@contextmanager
def py_spy(pid: int, folder: Path, *more: str) -> Generator[None]:
    """Sample Python's frames; `profile.raw` (stacks, for a flame graph) and `profile.txt` are left behind."""
    program = shutil.which("py-spy") or str(Path(sys.executable).parent / "py-spy")
    if not Path(program).exists():
        raise SystemExit("no py-spy here (pip install py-spy)")
    raw = folder / "profile.raw"
    raw.unlink(missing_ok=True)
    options = ["--format", "raw", "--rate", str(RATE), "--nonblocking", "--output", str(raw), *more]
    with subprocess.Popen([program, "record", *options, "--pid", str(pid)], stdout=subprocess.DEVNULL) as sampling:
        try:
            yield
        finally:
            sampling.send_signal(signal.SIGINT)
    if raw.exists():  # not after a process that ended before the profiler was ready
        (folder / "profile.txt").write_text("\n".join(summary(raw.read_text().splitlines())) + "\n")


@contextmanager
def perf(pid: int, folder: Path) -> Generator[None]:
    """Sample the machine's instructions; `profile.txt` is left behind."""
    if not shutil.which("perf"):
        raise SystemExit("no perf here (apt-get install linux-perf)")
    data = folder / "profile.data"
    command = ["perf", "record", "--quiet", "--freq", str(RATE), "--output", str(data), "--pid", str(pid)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sampling:
        try:
            yield
        finally:
            sampling.send_signal(signal.SIGINT)
    report = ["perf", "report", "--stdio", "--input", str(data), "--sort", "dso,symbol", "--percent-limit", "0.5"]
    said = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    lines = [line.rstrip() for line in said.splitlines() if line.strip() and not line.startswith("#")]
    (folder / "profile.txt").write_text("\n".join(lines[: 2 * SHOWN]) + "\n")


TOOLS: dict[str, Callable[[int, Path], AbstractContextManager[None]]] = {
    "py-spy": lambda pid, folder: py_spy(pid, folder, "--gil"),
    "py-spy-all": py_spy,
    "perf": perf,
}


def summary(stacks: Sequence[str]) -> list[str]:
    """Return the functions by their own samples, with those in which they were anywhere on the stack."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for stack in stacks:
        found = _STACK.fullmatch(stack)
        if found:
            frames, count = found[1].split(";"), int(found[2])
            names = [re.sub(r":\d+\)$", ")", frame) for frame in frames]
            own[names[-1]] += count
            within.update(dict.fromkeys(names, count))
    total = sum(own.values()) or 1
    lines = [f"{total} samples; share of them in the function itself, and with all that it calls"]
    lines += [
        f"{own[name] / total:6.1%} {within[name] / total:6.1%}  {name}"
        for name in sorted(within, key=lambda name: -own[name])[:SHOWN]
    ]
    return lines

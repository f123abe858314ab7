"""States with a backlog: what the subscriptions of a config have before them when the router starts."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.messages import body
from benchmarks.question import Ground
from benchmarks.router import Subscriptions, router
from benchmarks.tree import INSIDE, Tree

_AT_ONCE = 10_000


def state_with(
    ground: Ground, name: str, subscriptions: Subscriptions, count: int, *, top: Mapping[str, Any] | None = None
) -> Path:
    """Return a state in which each subscription has `count` results before it, made at the first call of that name.

    The router runs once without any results, so that its subscriptions have a place in the journal; then it is filled.
    """
    state = ground.kept / name
    if not state.exists():
        with router(ground, subscriptions, top=top, state=state):
            pass
        fill(ground.tree, state, count)
    return state


def copied(state: Path, folder: Path) -> Path:
    """Return a copy that the router may change."""
    subprocess.run(["cp", "-r", "--reflink=auto", str(state), str(folder / "state")], check=True)
    return folder / "state"


def fill(tree: Tree, state: Path, count: int) -> None:
    """Journal the results 1 to `count`."""
    command = tree.python(INSIDE / "fill.py", state)
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=tree.environment(), cwd=state) as filling:
        assert filling.stdin
        for first in range(1, count + 1, _AT_ONCE):
            some = range(first, min(first + _AT_ONCE, count + 1))
            filling.stdin.write(b"".join([body(number) + b"\n" for number in some]))
    if filling.returncode:
        raise RuntimeError(f"filling {state} ended with {filling.returncode}")

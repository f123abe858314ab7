"""The router as it is measured: `router run` on its own core, over a config made of plain mappings."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.process import SERVER_CORE, Process, free_port, running, wait_listening
from benchmarks.question import Ground

PATH = "/n"
"""Where pushes go."""

Subscriptions = Mapping[str, Mapping[str, Any]]
"""Name to what stands under it in the YAML; all belong to the department `a`, which sees everything."""


def to_file(path: Path, **more: Any) -> dict[str, Any]:
    """Return a subscription to one file."""
    return {"to": {"type": "file", "path": str(path)}, **more}


class Router:
    """A router that is running."""

    def __init__(self, process: Process, push: int, admin: int, started: float) -> None:
        self.process = process
        self.push = ("127.0.0.1", push)
        self.admin = admin
        self.start_seconds = started
        """From the start of the process to its listening for pushes."""

    def status(self) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/status", timeout=60) as answer:
            return json.load(answer)

    def pending(self, *names: str) -> int:
        """Return the events that these subscriptions, or all, still have before them."""
        found = self.status()["subscriptions"]
        return sum(one["pending"] for name, one in found.items() if not names or name.removeprefix("a/") in names)

    def wait_settled(self, *names: str, stall: float = 60, pause: float = 0.02) -> None:
        """Wait until these subscriptions, or all, have nothing before them; TimeoutError when they do not get on."""
        left, deadline = self.pending(*names), time.monotonic() + stall
        while left:
            time.sleep(pause)
            now = self.pending(*names)
            if now < left:
                deadline = time.monotonic() + stall
            elif time.monotonic() > deadline:
                raise TimeoutError(f"{left:,} events pending, and no fewer for {stall:.0f} s")
            left = now


def config(
    state: Path,
    push: int,
    admin: int,
    subscriptions: Subscriptions,
    source: Mapping[str, Any],
    sources: Mapping[str, Any],
    top: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the config; `source` replaces settings of the push source, `sources` are others, `top` is beside them."""
    pushes = {"type": "mns_push", "listen": f"127.0.0.1:{push}", "path": PATH, "verify": False, "max_age": 0}
    return {
        "state": str(state),
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "sources": {"push": pushes | dict(source), **sources},
        "departments": {"a": {"accounts": ["*"], "subscriptions": subscriptions}},
        **top,
    }


@contextmanager
def router(
    ground: Ground,
    subscriptions: Subscriptions,
    *,
    source: Mapping[str, Any] | None = None,
    sources: Mapping[str, Any] | None = None,
    top: Mapping[str, Any] | None = None,
    state: Path | None = None,
    command: Sequence[str | Path] = (),
) -> Generator[Router]:
    """Run the router of the ground's tree, with its state in the round's folder unless another is given.

    It always has a push source, whose settings `source` replaces, and those of `sources` besides; `top` are settings
    at the top of the config. `command` is what Python runs instead of the router's own.
    """
    push, admin = free_port(), free_port()
    path = ground.folder / "router.yaml"  # JSON is YAML
    where = state or ground.folder / "state"
    path.write_text(json.dumps(config(where, push, admin, subscriptions, source or {}, sources or {}, top or {})))
    command = ground.tree.python(*command or ("-m", "router", "run", "--log-level", "error", path))
    log = ground.folder / "router.log"
    began = time.monotonic()
    with running(command, core=SERVER_CORE, log=log, environment=ground.tree.environment()) as process:
        wait_listening(process, push, log, seconds=600)
        started = time.monotonic() - began
        with ground.watch(process.pid):
            yield Router(process, push, admin, started)

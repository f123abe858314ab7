"""`router run` and `router check`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import anyio
import typer

from router import service
from router.cli.logs import configure
from router.config import Config, load

ConfigFile = Annotated[Path, typer.Argument(help="The YAML file.", metavar="CONFIG")]
Level = Annotated[str, typer.Option(help="debug, info, warning or error.")]


def run(config: ConfigFile, log_level: Level = "info") -> None:
    """Run the daemon until SIGTERM or SIGINT; a second one ends it at once.

    Example: router run config/minimal.yaml
    """
    configure(log_level)
    loaded = load(config, os.environ)
    anyio.run(_run, loaded, backend_options={"use_uvloop": sys.platform != "win32"})


async def _run(config: Config) -> None:
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch_signals, stop, tasks.cancel_scope)
        await service.serve(config, stop)
        tasks.cancel_scope.cancel()


async def _watch_signals(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if stop.is_set():
                scope.cancel()
                return
            stop.set()


def check(config: ConfigFile) -> None:
    """Check a config: every mistake with its line and the likely fix; exit code 78 if there is one.

    Example: router check config/full.yaml
    """
    loaded = load(config, os.environ)
    count = sum(len(d.subscriptions) for d in loaded.departments.values())
    print(
        f"{config}: good: sources {', '.join(loaded.sources) or 'none'}; "
        f"{len(loaded.departments)} departments, {count} subscriptions"
    )

"""`router run` and `router check`."""

from __future__ import annotations

import gc
import math
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import typer
from anyio import to_thread
from anyio.streams.memory import MemoryObjectSendStream

from router import service
from router.cli import tables
from router.cli.descriptors import raise_limit
from router.cli.early import remembered
from router.cli.force import Force
from router.cli.logs import configure, take_all
from router.cli.loop import Loop
from router.cli.watching import watch
from router.config import Config, load
from router.ending import Ending
from router.fronts.crew import FRONT

ConfigFile = Annotated[Path, typer.Argument(help="The YAML file.", metavar="CONFIG")]
Level = Annotated[
    Literal["debug", "info", "warning", "error"],
    typer.Option(help="debug, info, warning or error.", case_sensitive=False),
]


def run(
    config: ConfigFile,
    log_level: Level = "info",
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Begin anew where nothing is left of the journal that was there.")
    ] = False,
) -> None:
    """Run the daemon until SIGTERM or SIGINT; a second one ends it at once. SIGHUP reloads the config.

    Exit code 70: a plugin did not end, and the process was ended without it.

    Example: router run config/minimal.yaml
    """
    configure(log_level)
    take_all()
    pem_files: set[Path] = set()
    loaded = load(config, os.environ, pem_files)
    if accept_loss:
        loaded.journal.accept_loss(Path(loaded.state))
    front = (*FRONT, log_level)
    raise_limit()
    gc.freeze()  # what was imported stays: to look through it for garbage would stop the loop for a tenth of a second
    force = Force()
    try:
        anyio.run(_run, loaded, config, pem_files, front, force, backend_options={"loop_factory": Loop})
    finally:
        force.leave()


async def _run(config: Config, path: Path, pem_files: set[Path], front: Sequence[str], force: Force) -> None:
    to_thread.current_default_thread_limiter().total_tokens = math.inf  # sinks that block bound themselves, alone
    stop, early = anyio.Event(), remembered()
    again = partial(load, path, os.environ, pem_files)
    send, receive = anyio.create_memory_object_stream[None](1)
    async with send, receive, anyio.create_task_group() as tasks:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals, force.watching():
            if early.stop:
                return
            reload = partial(_ask_to_reload, send)
            if early.reload:
                reload()
            tasks.start_soon(_obey, signals, stop, partial(_end_now, force.ending, tasks.cancel_scope), reload)
            if config.watch:
                tasks.start_soon(watch, path, os.environ, reload, pem_files)
            await service.serve(config, stop, again, receive, front, force.ending)
            tasks.cancel_scope.cancel()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is over: one that comes now must not look like a crash


async def _obey(
    signals: AsyncIterator[signal.Signals],
    stop: anyio.Event,
    end_now: Callable[[], Coroutine[Any, Any, None]],
    reload: Callable[[], None],
) -> None:
    async for number in signals:
        if number == signal.SIGHUP:
            reload()
        elif stop.is_set():
            await end_now()
            return
        else:
            stop.set()


async def _end_now(ending: Ending, scope: anyio.CancelScope) -> None:
    """Commit what is settled, and cut off everything else."""
    await ending.commit()
    scope.cancel()


def _ask_to_reload(hangups: MemoryObjectSendStream[None]) -> None:
    with suppress(anyio.WouldBlock):  # one that waits already will see the same file
        hangups.send_nowait(None)


def check(config: ConfigFile) -> None:
    """Check a config: every mistake with its line and the likely fix; exit code 78 if there is one.

    Example: router check config/full.yaml
    """
    loaded = load(config, os.environ)
    count = sum(len(d.subscriptions) for d in loaded.departments.values())
    tables.say(
        f"{config}: good: sources {', '.join(loaded.sources) or 'none'}; "
        f"{len(loaded.departments)} departments, {count} subscriptions"
    )

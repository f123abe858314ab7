"""A front as a process: `python -m router.cli.front LEVEL` with its link as standard input; the daemon starts it."""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import socket
import sys
import time
from pathlib import Path
from threading import Thread

import anyio

from router.cli.descriptors import raise_limit
from router.cli.logs import configure, flush, secure_streams, take_all
from router.cli.loop import Loop
from router.cli.watchdog import Watchdog
from router.config.plugins import import_drop_in
from router.fronts.crew import LINGER
from router.fronts.front import Front
from router.fronts.link import Link
from router.fronts.wire import VERSION, Failed, Hello, read_hello, say
from router.outlet import LAST


def main() -> None:
    """Run until the daemon says stop, or is gone."""
    secure_streams()
    for number in (signal.SIGINT, signal.SIGHUP):  # sent to all by a terminal: the daemon says what is to be done
        signal.signal(number, signal.SIG_IGN)
    level = sys.argv[1] if len(sys.argv) > 1 else "info"
    raise_limit()
    handle = _own_link()
    Thread(target=_end_with, args=(handle,), name="daemon's end", daemon=True).start()
    link = Link(socket.socket(fileno=handle))
    sys.exit(anyio.run(_run, link, level, backend_options={"loop_factory": Loop}))


def _own_link() -> int:
    """Take the socket off the standard input, so that no process that a plugin starts has it."""
    handle = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return handle


async def _run(link: Link, level: str) -> int:
    hello = read_hello(await link.receive())
    if hello.version != VERSION:
        await link.send(say(Failed(f"the files are of another version than the daemon: {hello.version}, {VERSION}")))
        return 1
    configure(level, source=hello.source, front=hello.number)
    take_all()
    try:
        front = _front(link, hello)
    except Exception as error:  # noqa: BLE001 - code of plugins runs here, and the daemon is told what it raised
        await link.send(say(Failed(f"the plugins cannot be loaded: {type(error).__name__}: {error}")))
        return 1
    gc.freeze()  # as in the daemon: what was imported stays
    sockets = [socket.socket(fileno=handle) for handle in hello.listening]
    watchdog = Watchdog()
    watchdog.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_obey_signals, front)
        await front.run(sockets)
        tasks.cancel_scope.cancel()
    watchdog.stop()
    return 1 if front.error else 0


def _front(link: Link, hello: Hello) -> Front:
    for file in hello.drop_ins:
        import_drop_in(Path(file))
    source, decoder = pickle.loads(hello.plugins)  # noqa: S301 - from the daemon, over a socket that only it has
    return Front(link, hello.source, source, decoder, gone=_end)


def _end() -> None:
    """End at once: the daemon is gone, so nothing that is here can become safe, or may be answered."""
    flush(LAST)
    os._exit(1)


def _end_with(handle: int) -> None:
    """End soon after the daemon did, though a plugin may hold the loop, which then is not told."""
    poll = select.poll()
    poll.register(handle, 0)  # that the other end is closed is always said
    poll.poll()
    time.sleep(LINGER + 1.0)  # the daemon ends it before, if it is there
    os._exit(1)


async def _obey_signals(front: Front) -> None:
    """Stop on SIGTERM, which a supervisor sends to all processes of the daemon."""
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            front.stop()


if __name__ == "__main__":
    main()

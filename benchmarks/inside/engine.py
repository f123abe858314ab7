"""The daemon on a config, with other fronts than its own: `engine.py CONFIG COMMAND...`, ended by SIGTERM."""

import os
import signal
import sys
from pathlib import Path

import anyio

from router import service
from router.cli.logs import configure
from router.config import Config, load


async def run(config: Config, front: list[str]) -> None:
    stop = anyio.Event()
    send, receive = anyio.create_memory_object_stream[None](1)
    with send, receive, anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def obey() -> None:
                async for _ in signals:
                    stop.set()

            tasks.start_soon(obey)
            await service.serve(config, stop, lambda: config, receive, front)
            tasks.cancel_scope.cancel()


configure("error")
anyio.run(run, load(Path(sys.argv[1]), os.environ), sys.argv[2:], backend_options={"use_uvloop": True})

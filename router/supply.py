"""The supply: all sources of the config that run, here or as crews of fronts, and where they listen."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from functools import partial

import anyio
from anyio.abc import TaskGroup

from router.config.model import Config
from router.config.plugins import drop_ins
from router.fronts.crew import FRONT, Command, Crew
from router.fronts.wire import VERSION, Hello, Wire
from router.intake import Intake
from router.listeners import Listener
from router.plugin import Decoder, Source
from router.running import Supplier


class Supply:
    """Starts and stops sources; `front` is the command of a front process."""

    def __init__(self, intake: Intake, tasks: TaskGroup, front: Command = FRONT) -> None:
        self.suppliers: dict[str, Supplier] = {}
        self._intake = intake
        self._tasks = tasks
        self._front = front
        self._listeners: dict[str, Listener] = {}

    def start(self, config: Config, *, must_start: bool) -> None:
        """Run the sources of the config that do not run yet; they accept from the sockets that there were before."""
        self._withdraw(config.sources)
        for name, source in config.sources.items():
            if name not in self.suppliers:
                listener = self._listener(name, source)
                crew = self._crew(name, source, config.decoder, listener) if source.workers else None
                supplier = self.suppliers[name] = Supplier(name, source, crew, listener)
                self._tasks.start_soon(partial(supplier.run, self._intake, must_start=must_start), name=name)

    async def stop(self, names: Sequence[str]) -> None:
        """Stop sources and take them out; what they have in hand is answered, or left to come again."""
        async with anyio.create_task_group() as stopping:
            for name in names:
                stopping.start_soon(self.suppliers.pop(name).stop)

    async def end(self) -> None:
        """Stop them all; they end what they have in hand, and nobody else comes."""
        self._withdraw({})
        await self.stop(list(self.suppliers))

    def _withdraw(self, sources: Mapping[str, Source]) -> None:
        """Listen no longer where none of these sources does."""
        for name, listener in tuple(self._listeners.items()):
            source = sources.get(name)
            if source is None or _address(source) != listener.address:
                listener.close()
                del self._listeners[name]

    def _listener(self, name: str, source: Source) -> Listener | None:
        if address := _address(source):
            return self._listeners.setdefault(name, Listener(address))
        return None

    def _crew(self, name: str, source: Source, decoder: Decoder, listener: Listener | None) -> Crew:
        plugins = source.divided(source.workers), decoder
        hello = Hello(VERSION, name, 0, (), drop_ins(plugins), pickle.dumps(plugins))
        return Crew(hello, Wire(decoder, name), source.workers, self._front, listener)


def _address(source: Source) -> str:
    """Return where a source listens that takes sockets; empty for others."""
    return str(getattr(source, "listen", "")) if source.parallel else ""

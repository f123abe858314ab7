"""The supply: all sources of the config that run, here or as crews of fronts, and the listeners of those."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from functools import partial

import anyio
from anyio.abc import TaskGroup

from router.config.model import Config
from router.config.plugins import drop_ins
from router.fronts.crew import FRONT, Command, Crew
from router.fronts.listeners import Listener
from router.fronts.wire import VERSION, Hello, Wire
from router.intake import Intake
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
        """Run the sources of the config that do not run yet; those of fronts accept where they listened before."""
        self._close_listeners(config.sources)
        for name, source in config.sources.items():
            if name not in self.suppliers:
                crew = self._crew(name, source, config.decoder) if source.workers else None
                supplier = self.suppliers[name] = Supplier(name, source, crew)
                self._tasks.start_soon(partial(supplier.run, self._intake, must_start=must_start), name=name)

    async def stop(self, names: Sequence[str]) -> None:
        """Stop sources and take them out; what they have in hand is answered, or left to come again."""
        async with anyio.create_task_group() as stopping:
            for name in names:
                stopping.start_soon(self.suppliers.pop(name).stop)

    def withdraw(self, sources: Mapping[str, Source]) -> None:
        """Listen no longer where none of these sources will, before fronts stop: they accept what waits there last."""
        for name, listener in self._listeners.items():
            if kept := _fronts_at(listener, sources.get(name)):
                listener.retain(kept)
            else:
                listener.close()

    async def end(self) -> None:
        """Stop them all."""
        self.withdraw({})
        await self.stop(list(self.suppliers))
        self._close_listeners({})

    def _crew(self, name: str, source: Source, decoder: Decoder) -> Crew:
        plugins = source.divided(source.workers), decoder
        hello = Hello(VERSION, name, 0, (), drop_ins(plugins), pickle.dumps(plugins))
        if address := _address(source):
            self._listeners.setdefault(name, Listener(address))
        return Crew(hello, Wire(decoder, name), source.workers, self._front, self._listeners.get(name))

    def _close_listeners(self, sources: Mapping[str, Source]) -> None:
        """Close what none of these sources listens on."""
        self.withdraw(sources)
        for name, listener in tuple(self._listeners.items()):
            if not _fronts_at(listener, sources.get(name)):
                del self._listeners[name]


def _fronts_at(listener: Listener, source: Source | None) -> int:
    """Return how many fronts of a source listen there."""
    return source.workers if source and listener.address == _address(source) else 0


def _address(source: Source) -> str:
    return str(getattr(source, "listen", ""))

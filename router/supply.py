"""The supply: all sources of the config that run, here or as crews of fronts, and where they listen."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from functools import partial

import anyio
from anyio import to_thread
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
        self._opened: Sequence[Listener] = ()
        """What was opened for a config that is to come."""

    async def open(self, config: Config) -> None:
        """Listen wherever the config's sources do; raises `RouterError` if that cannot be, and opens nothing.

        What listens already goes on, until `start`.
        """
        listeners = self._assigned(config.sources)
        self._opened = [one for one in listeners.values() if one not in self._listeners.values()]
        try:
            for one in self._opened:
                await to_thread.run_sync(one.sockets, 1, 1)
        except BaseException:
            self.close_opened()
            raise

    def close_opened(self) -> None:
        """Listen no longer where `open` did."""
        for one in self._opened:
            one.close()
        self._opened = []

    def start(self, config: Config, *, must_start: bool) -> None:
        """Run the sources of the config that do not run yet; they accept from the sockets that there were before."""
        listeners = self._assigned(config.sources)
        for one in {*self._listeners.values(), *self._opened} - {*listeners.values()}:
            one.close()  # where no source listens any more
        self._listeners, self._opened = listeners, []
        for name, source in config.sources.items():
            if name not in self.suppliers:
                listener = listeners.get(name)
                crew = self._crew(name, source, config.decoder, listener) if source.workers else None
                supplier = self.suppliers[name] = Supplier(name, source, crew, listener)
                self._tasks.start_soon(partial(supplier.run, self._intake, must_start=must_start), name=name)

    def _assigned(self, sources: Mapping[str, Source]) -> dict[str, Listener]:
        """Say from where each source accepts that takes sockets: if any listens at its address, from that one."""
        wanted = {name: address for name, source in sources.items() if (address := _address(source))}
        own = {n: one for n, one in self._listeners.items() if wanted.get(n) == one.address}
        free = [*(one for n, one in self._listeners.items() if n not in own), *self._opened]
        ports = {one.port for one in self._listeners.values()}
        for name, address in wanted.items():
            if name not in own:
                found = next((one for one in free if one.address == address), None)
                if found:
                    free.remove(found)
                own[name] = found or Listener(address, ours=ports)
        return own

    async def stop(self, names: Sequence[str]) -> None:
        """Stop sources and take them out; what they have in hand is answered, or left to come again."""
        async with anyio.create_task_group() as stopping:
            for name in names:
                stopping.start_soon(self.suppliers.pop(name).stop)

    async def end(self) -> None:
        """Stop them all; they end what they have in hand, and nobody else comes."""
        for one in self._listeners.values():
            one.close()
        self._listeners = {}
        await self.stop(list(self.suppliers))

    def _crew(self, name: str, source: Source, decoder: Decoder, listener: Listener | None) -> Crew:
        plugins = source.divided(source.workers), decoder
        hello = Hello(VERSION, name, 0, (), drop_ins(plugins), pickle.dumps(plugins))
        return Crew(hello, Wire(decoder, name), source.workers, self._front, listener)


def _address(source: Source) -> str:
    """Return where a source listens that takes sockets; empty for others."""
    return str(getattr(source, "listen", "")) if source.parallel else ""

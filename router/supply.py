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
from router.listeners import Listener, Listeners, addresses, single_family
from router.plugin import Decoder, Source
from router.running import Supplier


class Supply:
    """Starts and stops sources; `front` is the command of a front process."""

    def __init__(self, intake: Intake, tasks: TaskGroup, front: Command = FRONT) -> None:
        self.suppliers: dict[str, Supplier] = {}
        self._intake = intake
        self._tasks = tasks
        self._front = front
        self._listeners: dict[str, Sequence[Listener]] = {}
        self._opened: Sequence[Listener] = ()
        """What was opened for a config that is to come."""

    async def open(self, config: Config) -> None:
        """Listen wherever the config's sources do; raises `RouterError` if that cannot be, and opens nothing.

        What listens already goes on, until `start`.
        """
        listeners = self._assigned(config.sources)
        self._opened = sorted(_all(listeners) - _all(self._listeners), key=lambda one: one.address)
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
        for one in (_all(self._listeners) | {*self._opened}) - _all(listeners):
            one.close()  # where no source listens any more
        self._listeners, self._opened = listeners, []
        for name, source in config.sources.items():
            if name not in self.suppliers:
                listener = Listeners(listeners[name]) if listeners.get(name) else None
                crew = self._crew(name, source, config.decoder, listener) if source.workers else None
                supplier = self.suppliers[name] = Supplier(name, source, crew, listener)
                self._tasks.start_soon(partial(supplier.run, self._intake, must_start=must_start), name=name)

    def _assigned(self, sources: Mapping[str, Source]) -> dict[str, Sequence[Listener]]:
        """Say from where each source accepts that takes sockets: where any listens at its address, from that one."""
        wanted = {name: found for name, source in sources.items() if (found := _addresses(source))}
        every = [address for several in wanted.values() for address in several]
        kept = {(name, one.address, one.alone): one for name, several in self._listeners.items() for one in several}
        own = {(name, a): kept.get((name, a, single_family(a, every))) for name in wanted for a in wanted[name]}
        free = [*_all(self._listeners) - {*own.values()}, *self._opened]
        ports = {one.port for one in _all(self._listeners)}
        for name, address in [key for key, one in own.items() if one is None]:
            alone = single_family(address, every)
            there = next((one for one in free if (one.address, one.alone) == (address, alone)), None)
            if there:
                free.remove(there)
            own[name, address] = there or Listener(address, ours=ports, alone=alone)
        return {name: [one for a in several if (one := own[name, a])] for name, several in wanted.items()}

    async def stop(self, names: Sequence[str]) -> None:
        """Stop sources and take them out; what they have in hand is answered, or left to come again."""
        async with anyio.create_task_group() as stopping:
            for name in names:
                stopping.start_soon(self.suppliers.pop(name).stop)

    async def end(self) -> None:
        """Stop them all; they end what they have in hand, and nobody else comes."""
        for one in _all(self._listeners):
            one.close()
        self._listeners = {}
        await self.stop(list(self.suppliers))

    def _crew(self, name: str, source: Source, decoder: Decoder, listener: Listeners | None) -> Crew:
        plugins = source.divided(source.workers), decoder
        hello = Hello(VERSION, name, 0, (), drop_ins(plugins), pickle.dumps(plugins))
        return Crew(hello, Wire(decoder, name), source.workers, self._front, listener)


def _all(listeners: Mapping[str, Sequence[Listener]]) -> set[Listener]:
    return {one for several in listeners.values() for one in several}


def _addresses(source: Source) -> Sequence[str]:
    """Return where a source listens that takes sockets; none for others."""
    return tuple(dict.fromkeys(addresses(getattr(source, "listen", "")))) if source.parallel else ()

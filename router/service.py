"""The daemon: opens everything in the order in which it must not close.

The journal opens first and closes last, then the sinks, then the admin API, then the sources: so sources stop
first, what is in flight is delivered and committed within the grace, and the journal is flushed at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import structlog
from anyio import from_thread, to_thread
from anyio.abc import ObjectReceiveStream, TaskGroup
from msgspec.structs import asdict, astuple, replace

from router.admin.explanation import Explanation
from router.admin.note import noted
from router.admin.server import admin
from router.admin.status import OrphanStatus, SourceStatus, Status
from router.beginning import beginnings
from router.config.model import Config
from router.config.plan import Plan, plan, subscriptions
from router.delivery import Delivery
from router.ending import Ending
from router.errors import Retry, RouterError
from router.explain import explain
from router.figures import Figures
from router.fronts.crew import FRONT, Command
from router.hint import nearest_subscription, unknown_subscription
from router.intake import Intake, event_of
from router.journal import Partition, State
from router.letters import LetterDesk
from router.recount import recount
from router.reload import Reload
from router.replays import ReplayDesk
from router.roster import Roster, moves
from router.running import Subscriber
from router.supply import Supply
from router.verify import Balance

Again: TypeAlias = Callable[[], Config]
"""Loads the config anew; raises `RouterError` with all its mistakes."""

IDLE = 1.0
"""Seconds between two notes of how far the subscriptions are that want nothing."""
AGAIN = 1.0
"""Seconds until another try, where the journal cannot be written."""
ORPHANED = "give it a place in the config, or `rename:` it, or `router forget-subscription`"

log = structlog.get_logger("service")


class Engine:
    """Everything between the sources and the sinks, wired from a config over an open journal."""

    def __init__(
        self,
        config: Config,
        partition: Partition,
        tasks: TaskGroup,
        again: Again | None = None,
        front: Command = FRONT,
        starts: Mapping[str, int] | None = None,
    ) -> None:
        self.config = config
        self._again = again
        self.partition = partition
        self.intake = Intake(config.decoder, partition.append)
        self._supply = Supply(self.intake, tasks, front)
        self.roster = Roster(partition, config.decoder, tasks)
        self._reload = Reload(partition, self.roster, self._supply, tasks)
        self._searches = anyio.CapacityLimiter(1)
        self._figures = Figures(partition, self.intake)
        self.letters = LetterDesk(partition, config.decoder, self._delivery, self.kept)
        self.replays = ReplayDesk(partition, config.decoder, self._delivery, lambda: self.roster.running)
        for old, new in moves(config.rename, partition).items():
            partition.rename(old, new)
            log.info("renamed", subscription=old, to=new)
        self.roster.run(subscriptions(config), starts)
        self.roster.note_orphans()
        for name, left in self.roster.orphans.items():
            log.warning("not in the config, but in the state", subscription=name, **asdict(left), hint=ORPHANED)

    def supply(self, *, must_start: bool) -> None:
        """Run the sources of the config that do not run yet."""
        self._supply.start(self.config, must_start=must_start)

    async def begin(self) -> None:
        """Run the sources as soon as it is on disk where the subscriptions begin, which is tried until it is."""
        while not self._reload.stopping:
            try:
                await self.partition.flush()
            except Retry as error:
                log.error("no source is started: the journal cannot be written", error=str(error))  # noqa: TRY400
                await anyio.sleep(AGAIN)
            else:
                self.supply(must_start=True)
                return

    async def reload(self, config: Config, *, drop: bool = False, drain: float = 0.0) -> Plan:
        """Run by another config from now on; returns what changed, when it is on disk.

        Listeners and subscriptions that stay as they are do not notice. Raises `RouterError`, and changes nothing, as
        `Reload.go` says.
        """
        async with self._reload.one:
            change = await self._reload.go(self.config, config, drop=drop, drain=drain)
            self.config = config
        said = {word: names for word, names in asdict(change).items() if names and word != "unchanged"}
        log.info("reloaded", **said)
        await self.kept("the new config is in force")
        return change

    async def forget(self, name: str) -> str:
        """Drop all that is kept of a subscription that is not in the config; returns what that was, in a line."""
        async with self._reload.one:
            if name in self.roster.running and name not in self.roster.leaving:
                raise RouterError(f"{name} is in the config: take it out and reload, then it can be forgotten")
            left = self.roster.left(name)
            if name in self.roster.leaving:
                left = await self._reload.leave(name, 0.0)
            elif name not in self.partition.names:
                known = [*self.roster.orphans, *self.roster.running]
                raise RouterError(f"nothing is kept of `{name}` ({nearest_subscription(name, known)})")
            self.partition.forget(name)
        said = f"{name} is forgotten, with {left} that were not delivered" if left else f"{name} is forgotten"
        log.warning("forgotten, as was asked for", subscription=name, **asdict(left))
        await self.kept(said)
        return said

    async def reload_file(self, *, drop: bool, drain: float, only_plan: bool) -> str:
        """Read the config again and run by it, or only say what that would change."""
        if self._again is None:
            raise RouterError("this daemon does not know where its config came from")
        config = self._again()
        return str(plan(self.config, config) if only_plan else await self.reload(config, drop=drop, drain=drain))

    async def kept(self, what: str) -> None:
        """Wait until what was done is on disk: nobody is told before, and if it cannot be, `RouterError` says so."""
        try:
            await self.partition.flush()
        except Retry as error:
            raise RouterError(f"{what}, but that is not on disk yet: {error.reason} (it is tried again)") from error

    def turn(self, name: str, state: State) -> str:
        """Pause a subscription, or let it deliver again; returns what waits all the same. `kept` waits for the disk."""
        delivery = self._named(name).delivery
        delivery.turn(state)
        return delivery.waits

    async def explain(self, key: str, limit: int) -> Explanation:
        """Say what became of the newest events that a key names; one search at a time, in a thread."""
        self.note_idle()
        now = {name: one.live for name, one in self.roster.running.items()}
        with suppress(Retry):  # a journal that cannot write now is still worth reading
            await self.partition.flush()
        search = partial(explain, self.config, key, limit=limit, live=now, pulse=from_thread.check_cancelled)
        return await to_thread.run_sync(search, limiter=self._searches)

    async def verify(self) -> Sequence[Balance]:
        """Recompute the balance of every subscription; one search at a time, in a thread that lets others run."""
        self.note_idle()
        with suppress(Retry):
            await self.partition.flush()
        return await to_thread.run_sync(partial(recount, self.config, _pause), limiter=self._searches)

    def _delivery(self, name: str) -> Delivery:
        return self._named(name).delivery

    def _named(self, name: str) -> Subscriber:
        running = self.roster.running
        if name not in running:
            if name in self.partition.names:
                raise RouterError(f"{name} does not run: {ORPHANED}")
            raise RouterError(unknown_subscription(name, running))
        return running[name]

    def note_idle(self) -> None:
        """Move on those subscriptions that want nothing of what came in."""
        self.roster.note_idle()

    async def note_oldest(self) -> None:
        """Look up when the oldest pending event of each subscription was stored."""
        await self._figures.note_oldest(self.roster.running)
        self._figures.sound_alarms(self.roster.running)

    async def stop(self) -> None:
        """Stop the sources, and let every subscription settle what is in flight, within the grace."""
        self._reload.stopping = True
        async with self._reload.one:
            await self._supply.end()
            self.note_idle()
            await self.roster.stop(list(self.roster.running), self.config.grace)

    def status(self) -> Status:
        """Return a snapshot."""
        self.note_idle()
        status = self._figures.status(self._supply.suppliers, self.roster.running)
        waiting = {name: SourceStatus(ready=False, received=0, counts={}) for name in self.config.sources}
        sources = waiting | status.sources  # those that are not started yet are there, too
        orphans = {name: OrphanStatus(*astuple(left)) for name, left in self.roster.orphans.items()}
        stopping = self._reload.stopping
        ready = status.ready and not stopping
        return replace(status, sources=sources, ready=ready, stopping=stopping, orphans=orphans)


async def serve(
    config: Config,
    stop: anyio.Event,
    again: Again,
    hangups: ObjectReceiveStream[None],
    front: Command = FRONT,
    ending: Ending | None = None,
) -> None:
    """Run until `stop`; raises `RouterError` for what cannot be started.

    `again` loads the config anew; it is called for each item of `hangups`, and when the admin API asks for it. A
    config that is bad changes nothing. `front` is the command of a front process.
    """
    ending = ending or Ending()
    async with (
        config.journal.open(Path(config.state), partial(event_of, config.decoder)) as partition,
        anyio.create_task_group() as tasks,
    ):
        engine = Engine(config, partition, tasks, again, front, await beginnings(config, partition))
        ending.flush, ending.grace = partition.flush, lambda: engine.config.grace
        tasks.start_soon(_note_idle, engine)
        tasks.start_soon(_follow_hangups, engine, hangups)
        async with admin(config.admin.listen, config.admin.token, engine) as listening:
            with noted(Path(config.state), listening, config.admin.token):
                tasks.start_soon(engine.begin)
                await stop.wait()
                log.info("stopping")
                await engine.stop()
        await ending.settle()
        tasks.cancel_scope.cancel()


def _pause(worked: float) -> None:
    """Let others run for as long as a long piece of work took; raises if nobody waits for it any more."""
    from_thread.check_cancelled()
    time.sleep(worked)


async def _note_idle(engine: Engine) -> None:
    while True:
        await anyio.sleep(IDLE)
        engine.note_idle()
        try:
            await engine.note_oldest()
        except RouterError as error:
            log.warning("what waits longest is not known", error=str(error))


async def _follow_hangups(engine: Engine, hangups: ObjectReceiveStream[None]) -> None:
    async for _ in hangups:
        again = True
        while again:
            try:
                await engine.reload_file(drop=False, drain=0.0, only_plan=False)
            except RouterError as error:
                for line in str(error).splitlines():
                    log.error("the config was not reloaded", error=line)  # noqa: TRY400 - a user's mistake
                if again := isinstance(error, Retry):  # nobody asks again: it is done as soon as that can be kept
                    await anyio.sleep(AGAIN)
            else:
                again = False

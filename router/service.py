"""The daemon: opens everything in the order in which it must not close.

The journal opens first and closes last, then the sinks, then the admin API, then the sources: so sources stop
first, what is in flight is delivered and committed within the grace, and the journal is flushed at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import structlog
from anyio import from_thread, to_thread
from anyio.abc import ObjectReceiveStream, TaskGroup
from msgspec.structs import asdict, replace

from router.admin.explanation import Explanation
from router.admin.server import admin
from router.admin.status import Status
from router.beginning import beginnings
from router.breaker import BreakerPolicy
from router.config.model import Config
from router.config.plan import Plan, Planned, plan, subscriptions
from router.delivery import Delivery
from router.dispatch import Dispatch, Feed
from router.ending import Ending
from router.errors import Retry, RouterError
from router.explain import explain
from router.figures import Figures
from router.fronts.crew import FRONT, Command
from router.hint import nearest
from router.intake import Intake, event_of
from router.journal import Partition, Progress, State
from router.letters import LetterDesk
from router.match import Routes
from router.replays import ReplayDesk
from router.running import Books, Subscriber, policy_of
from router.supply import Supply

Again: TypeAlias = Callable[[], Config]
"""Loads the config anew; raises `RouterError` with all its mistakes."""

IDLE = 1.0
"""Seconds between two notes of how far the subscriptions are that want nothing."""

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
        self._starts = starts or {}
        self._again = again
        self.partition = partition
        self.intake = Intake(config.decoder, partition.append)
        self._tasks = tasks
        self._supply = Supply(self.intake, tasks, front)
        self._subscribers: dict[str, Subscriber] = {}
        self.dispatch = Dispatch(lambda _: (), (), partition.head, partition.read)
        self._reloading = anyio.Lock()
        self._leaving: dict[str, Planned] = {}
        self._searches = anyio.CapacityLimiter(1)
        self._figures = Figures(partition, self.intake)
        self.letters = LetterDesk(partition, config.decoder, self._delivery)
        self.replays = ReplayDesk(partition, config.decoder, self._delivery, lambda: self._subscribers)
        partition.follow(self.dispatch)
        self._subscribe(subscriptions(config))

    def _subscribe(self, wanted: Sequence[Planned]) -> None:
        """Deliver to exactly these subscriptions: those that run as they are go on, the others are started."""
        before = self._subscribers
        wanted = [*wanted, *self._leaving.values()]
        self._subscribers = {p.name: before.get(p.name) or self._subscriber(p) for p in wanted}
        routes = Routes([planned.route for planned in wanted], self.config.decoder)
        self.dispatch.replace(routes.wanted, [subscriber.feed for subscriber in self._subscribers.values()])
        self.partition.activate(self._subscribers)
        for name, subscriber in self._subscribers.items():
            if name not in before:
                self._tasks.start_soon(subscriber.run, name=name)

    def _subscriber(self, planned: Planned) -> Subscriber:
        progress = self._start(planned)
        sink, wish = planned.subscription.to, planned.subscription.delivery
        feed = Feed(progress.position, sink.pace)
        policy = policy_of(planned.subscription)
        breaker = BreakerPolicy(**asdict(wish.breaker))
        books = Books(planned, feed, self.dispatch, self.partition, self.config.decoder)
        delivery = Delivery(planned.name, sink, planned.subscription.steps, policy, breaker, progress, books)
        return Subscriber(planned, feed, delivery)

    def _start(self, planned: Planned) -> Progress:
        """Return where a subscription goes on: where it was, or from now on if it is new and wishes nothing else."""
        old = self.partition.progress(planned.name)
        if old is None:
            first = max(self._starts.get(planned.name, self.partition.head), self.partition.tail)
            progress = Progress(position=first, since=first, pattern=planned.pattern)
        elif old.pattern != planned.pattern:
            dead = self.partition.statistics().dead.get(planned.name, 0)
            progress = old.recount(planned.pattern, dead)
        else:
            return old
        self.partition.commit(planned.name, progress)
        return progress

    def supply(self, *, must_start: bool) -> None:
        """Run the sources of the config that do not run yet."""
        self._supply.start(self.config, must_start=must_start)

    async def reload(self, config: Config, *, drop: bool = False, drain: float = 0.0) -> Plan:
        """Run by another config from now on; returns what changed.

        Listeners and subscriptions that stay as they are do not notice. Raises `RouterError`, and changes nothing,
        if it needs a restart, or if a subscription would go with events that it has not delivered, unless it has so
        many seconds to `drain`, or they may be dropped.
        """
        async with self._reloading:
            change = plan(self.config, config)
            if change.restart:
                raise RouterError(f"only a restart can change: {', '.join(change.restart)}")
            self.note_idle()
            orphans = {n: left for n in change.removed if n in self._subscribers and (left := self._left(n))}
            if orphans and not drop and not drain:
                said = ", ".join(f"{name} ({left} events)" for name, left in orphans.items())
                raise RouterError(f"these have not delivered everything: {said} (wait, or use --drain or --drop)")
            draining = [] if drop else list(orphans)
            back = [name for name in change.added if self._leaving.pop(name, None)]
            await self._stop([*(n for n in change.removed if n not in draining), *change.changed, *back])
            for name in {*change.removed} - {*draining}:
                self.partition.forget(name)
            for name in draining:
                self._leaving[name] = self._subscribers[name].planned
                self._subscribers[name].drain(self.partition.head)
                self._tasks.start_soon(self._drain, self._subscribers[name], drain)
            self._starts = await beginnings(config, self.partition)
            self.config = config
            self._subscribe(subscriptions(config))
            self.supply(must_start=False)
        change = replace(change, draining=tuple(draining))
        log.info("reloaded", **{word: names for word, names in asdict(change).items() if word != "unchanged"})
        return change

    async def _drain(self, subscriber: Subscriber, seconds: float) -> None:
        """Wait until a removed subscription has delivered what it had, but not longer, and let it go."""
        name = subscriber.planned.name
        with anyio.move_on_after(seconds):
            while self._subscribers.get(name) is subscriber and self._left(name):
                await anyio.sleep(IDLE)
                self.note_idle()
        async with self._reloading:
            if self._subscribers.get(name) is not subscriber or not subscriber.draining:
                return  # the config has it again
            left = self._left(name)
            del self._leaving[name]
            await self._stop([name])
            self.partition.forget(name)
            self._subscribe(subscriptions(self.config))
        if left:
            log.error("drained for too long, the rest is dropped", subscription=name, events=left)
        else:
            log.info("drained", subscription=name)

    def _left(self, name: str) -> int:
        return self._subscribers[name].left(self.partition.head)

    async def reload_file(self, *, drop: bool, drain: float, only_plan: bool) -> str:
        """Read the config again and run by it, or only say what that would change."""
        if self._again is None:
            raise RouterError("this daemon does not know where its config came from")
        config = self._again()
        return str(plan(self.config, config) if only_plan else await self.reload(config, drop=drop, drain=drain))

    def turn(self, name: str, state: State) -> str:
        """Pause a subscription, or let it deliver again; returns what waits all the same."""
        delivery = self._named(name).delivery
        delivery.turn(state)
        return delivery.waits

    async def explain(self, key: str, limit: int) -> Explanation:
        """Say what became of the newest events that a key names; one search at a time, in a thread."""
        self.note_idle()
        now = {name: one.live for name, one in self._subscribers.items()}
        with suppress(Retry):  # a journal that cannot write now is still worth reading
            await self.partition.flush()
        search = partial(explain, self.config, key, limit=limit, live=now, pulse=from_thread.check_cancelled)
        return await to_thread.run_sync(search, limiter=self._searches)

    def _delivery(self, name: str) -> Delivery:
        return self._named(name).delivery

    def _named(self, name: str) -> Subscriber:
        if name not in self._subscribers:
            raise RouterError(f"no subscription `{name}` ({nearest(name, self._subscribers)})")
        return self._subscribers[name]

    async def _stop(self, names: Sequence[str]) -> None:
        """Stop sources (`sources.name`) and subscriptions, and take them out."""
        sources = [name.removeprefix("sources.") for name in names if name.startswith("sources.")]
        async with anyio.create_task_group() as stopping:
            stopping.start_soon(self._supply.stop, sources)
            for name in names:
                if name in self._subscribers:
                    stopping.start_soon(self._subscribers.pop(name).stop, self.config.grace)

    def note_idle(self) -> None:
        """Move on those subscriptions that want nothing of what came in."""
        for subscriber in self._subscribers.values():
            subscriber.note_idle(self.dispatch.head)

    async def note_oldest(self) -> None:
        """Look up when the oldest pending event of each subscription was stored."""
        await self._figures.note_oldest(self._subscribers)
        self._figures.sound_alarms(self._subscribers)

    async def stop(self) -> None:
        """Stop the sources, and let every subscription settle what is in flight, within the grace."""
        await self._supply.end()
        self.note_idle()
        await self._stop(list(self._subscribers))

    def status(self) -> Status:
        """Return a snapshot."""
        self.note_idle()
        return self._figures.status(self._supply.suppliers, self._subscribers)


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
        async with admin(config.admin.listen, config.admin.token, engine):
            engine.supply(must_start=True)
            await stop.wait()
            log.info("stopping")
            await engine.stop()
        await ending.settle()
        tasks.cancel_scope.cancel()


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
        try:
            await engine.reload_file(drop=False, drain=0.0, only_plan=False)
        except RouterError as error:
            for line in str(error).splitlines():
                log.error("the config was not reloaded", error=line)  # noqa: TRY400 - a user's mistake

"""The roster: the subscriptions that run, each from its place in the journal, and what is kept of others.

Where a new one begins decides what the journal keeps. So it is on disk before the subscription runs, and before anybody
is told of it. Nothing is destroyed that has not been delivered, unless somebody says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from msgspec.structs import asdict, replace

from router.breaker import BreakerPolicy
from router.config.plan import Planned
from router.delivery import Delivery
from router.dispatch import Dispatch, Feed
from router.errors import ConfigError, Retry
from router.journal import Partition, Progress
from router.match import Routes
from router.plugin import Decoder
from router.running import Books, Subscriber, policy_of

log = structlog.get_logger("service")


class Left(msgspec.Struct, frozen=True):
    """What a subscription has not delivered; `dead` are the dead letters that are kept."""

    pending: int
    parked: int
    dead: int

    def __bool__(self) -> bool:
        return bool(self.pending or self.parked or self.dead)

    def __str__(self) -> str:
        parts = ((self.pending + self.parked, "events"), (self.dead, "dead letters"))
        return ", ".join(f"{count} {what}" for count, what in parts if count) or "nothing"


class Roster:
    """The subscriptions that run; `leaving` are those of them that go when they have delivered what they had."""

    def __init__(self, partition: Partition, decoder: Decoder, tasks: TaskGroup) -> None:
        self.running: dict[str, Subscriber] = {}
        self.leaving: dict[str, Planned] = {}
        self.wanted: Sequence[Planned] = ()
        self.dispatch = Dispatch(lambda _: (), (), partition.head, partition.read)
        self._partition = partition
        self._decoder = decoder
        self._tasks = tasks
        partition.follow(self.dispatch)

    async def note(self, wanted: Sequence[Planned], starts: Mapping[str, int]) -> None:
        """Have on disk where those begin that are new; raises `Retry` when that cannot be, and then nothing is noted.

        `starts` are the positions of those that do not begin from now on.
        """
        new = [planned for planned in wanted if self._partition.progress(planned.name) is None]
        if not new:
            return
        for planned in new:
            self._start(planned, starts)
        try:
            await self._partition.flush()
        except BaseException as error:
            for planned in new:
                self._partition.forget(planned.name)
            if isinstance(error, Retry):
                names = ", ".join(planned.name for planned in new)
                raise Retry(f"where {names} is to begin cannot be kept: {error.reason}", error.after) from error
            raise
        for planned in new:  # what was being deleted when it was noted is gone
            progress = self._partition.progress(planned.name)
            if progress and progress.position < (tail := self._partition.tail):
                self._partition.commit(planned.name, replace(progress, position=tail, since=tail))

    def run(self, wanted: Sequence[Planned], starts: Mapping[str, int] | None = None) -> None:
        """Deliver to exactly these, and those that leave: who runs already goes on, the others are started."""
        before = self.running
        self.wanted = wanted
        all_ = [*wanted, *self.leaving.values()]
        self.running = {p.name: before.get(p.name) or self._subscriber(p, starts or {}) for p in all_}
        routes = Routes([planned.route for planned in all_], self._decoder)
        self.dispatch.replace(routes.wanted, [subscriber.feed for subscriber in self.running.values()])
        self._partition.activate(self.running)
        for name, subscriber in self.running.items():
            if name not in before:
                self._tasks.start_soon(subscriber.run, name=name)

    def _subscriber(self, planned: Planned, starts: Mapping[str, int]) -> Subscriber:
        progress = self._start(planned, starts)
        sink, wish = planned.subscription.to, planned.subscription.delivery
        feed = Feed(progress.position, sink.pace)
        policy = policy_of(planned.subscription)
        breaker = BreakerPolicy(**asdict(wish.breaker))
        books = Books(planned, feed, self.dispatch, self._partition, self._decoder)
        delivery = Delivery(planned.name, sink, planned.subscription.steps, policy, breaker, progress, books)
        return Subscriber(planned, feed, delivery)

    def _start(self, planned: Planned, starts: Mapping[str, int]) -> Progress:
        """Return where a subscription goes on: where it was, or from now on if it is new and wishes nothing else."""
        old = self._partition.progress(planned.name)
        if old is None:
            first = max(starts.get(planned.name, self._partition.head), self._partition.tail)
            progress = Progress(position=first, since=first, pattern=planned.pattern)
        elif old.pattern != planned.pattern:
            dead = self._partition.statistics().dead.get(planned.name, 0)
            progress = old.recount(planned.pattern, dead)
        elif old.until:
            progress = replace(old, until=0)
        else:
            return old
        self._partition.commit(planned.name, progress)
        return progress

    async def stop(self, names: Iterable[str], grace: float) -> None:
        """Stop those of them that run, and take them out; what is in flight has the grace to be settled."""
        async with anyio.create_task_group() as stopping:
            for name in names:
                if name in self.running:
                    stopping.start_soon(self.running.pop(name).stop, grace)

    def note_idle(self) -> None:
        """Move on those that want nothing of what came in."""
        for subscriber in self.running.values():
            subscriber.note_idle(self.dispatch.head)

    def left(self, name: str, head: int | None = None) -> Left:
        """Return what a subscription, running or not, has not delivered of what lies below the head."""
        running = self.running.get(name)
        progress = running.delivery.progress if running else self._partition.progress(name)
        if progress is None:
            return Left(0, 0, 0)
        dead = self._partition.statistics().dead.get(name, 0)
        return Left(progress.pending(self._partition.head if head is None else head), progress.parked, dead)

    def end(self, name: str, head: int) -> Left:
        """Let go of one that was stopped: if it has delivered what was there at `head`, nothing is kept of it.

        Otherwise all is. Returns what is left.
        """
        left = self.left(name, head)
        if left:
            self._leave(name, head)
        else:
            self._partition.forget(name)
        return left

    @property
    def orphans(self) -> dict[str, Left]:
        """What is left of those that the journal knows and that do not run."""
        known = {*self.running, *(planned.name for planned in self.wanted)}
        return {name: self.left(name) for name in self._partition.names if name not in known}

    def note_orphans(self) -> None:
        """Note of those that are no longer in the config that they have nothing to do with what comes from now on."""
        for name in self.orphans:
            self._leave(name, self._partition.head)

    def _leave(self, name: str, head: int) -> None:
        progress = self._partition.progress(name)
        if progress and not progress.until:
            self._partition.commit(name, replace(progress, until=max(head, progress.furthest)))


def moves(rename: Mapping[str, str], partition: Partition) -> dict[str, str]:
    """Return which subscriptions have to be renamed: those that the journal still knows by their old names.

    Raises `ConfigError` where it knows the new name, too.
    """
    wanted = {old: new for old, new in rename.items() if partition.progress(old) is not None}
    for old, new in wanted.items():
        if partition.progress(new) is not None:
            raise ConfigError(
                f"rename.{old}",
                f"both {old} and {new} are known to the journal, and two cannot become one",
                f"take {new} out of the config and `router forget-subscription` it, or give {old} a place of its own",
            )
    return wanted

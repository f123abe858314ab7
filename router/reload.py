"""A reload: from one config to another while the daemon runs.

All that can fail comes first: sockets are bound, what is to go is waited for, and where new subscriptions begin is on
disk. Until then nothing is changed, and the old config goes on. From then on nobody can break it off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import anyio
import structlog
from anyio.abc import TaskGroup
from msgspec.structs import asdict, replace

from router.beginning import beginnings
from router.config.model import Config
from router.config.plan import Plan, plan, subscriptions
from router.errors import RouterError
from router.journal import Partition
from router.roster import Left, Roster, moves
from router.supply import Supply

LOOK = 0.05
"""Seconds between two looks at whether a subscription that is to go has settled what it had."""
PATIENCE = 1.0
"""Seconds between two such looks at one that drains."""

log = structlog.get_logger("service")


class Reload:
    """Takes roster and supply to another config; one at a time, which `one` holds."""

    def __init__(self, partition: Partition, roster: Roster, supply: Supply, tasks: TaskGroup) -> None:
        self.one = anyio.Lock()
        self.stopping = False
        """Whether the daemon stops, so that nobody waits for anything."""
        self._partition = partition
        self._roster = roster
        self._supply = supply
        self._tasks = tasks

    async def go(self, old: Config, new: Config, *, drop: bool, drain: float) -> Plan:
        """Run by the new config from now on; returns what changed. The caller holds `one`.

        Raises `RouterError`, and changes nothing, if it needs a restart, if an address cannot be had, or if a
        subscription would go with what it has not delivered: unless it has so many seconds to `drain`, or that may be
        dropped. One that keeps up has the grace.
        """
        change = plan(old, new)
        if change.restart:
            raise RouterError(f"only a restart can change: {', '.join(change.restart)}")
        renamed = moves(new.rename, self._partition)
        going = [name for name in change.removed if name in self._roster.running and name not in renamed]
        head = self._partition.head
        self._roster.note_idle()
        if not drop and not drain:
            await self._wait_settled(going, head, old.grace)
        with anyio.CancelScope(shield=True):
            starts = await beginnings(new, self._partition)
            await self._supply.open(new)
            try:
                fresh = [one for one in subscriptions(new) if one.name not in renamed.values()]
                await self._roster.note(fresh, starts)
            except BaseException:
                self._supply.close_opened()
                raise
            draining = [name for name in going if drain and self._roster.left(name)]
            await self._stop([*self._ending(change, renamed, draining)], old.grace)
            said = [self._let_go(name, head, drop=drop) for name in going if name not in draining]
            said += [self._drain(name, drain, old.grace) for name in draining]
            said += [self._rename(name, other) for name, other in renamed.items()]
            self._roster.run(subscriptions(new), starts)
            self._supply.start(new, must_start=False)
            change = replace(change, draining=tuple(draining), said=tuple(filter(None, said)))
        return change  # noqa: RET504 - not in the block: types allow a scope to swallow errors

    def _ending(self, change: Plan, renamed: Collection[str], draining: Collection[str]) -> Iterator[str]:
        """Yield what is stopped, some of it to be started anew; of those that drain, what is in the config again."""
        yield from (name for name in change.removed if name not in draining)
        yield from change.changed
        yield from (name for name in (*change.added, *renamed) if self._roster.leaving.pop(name, None))

    def _rename(self, old: str, new: str) -> str:
        self._partition.rename(old, new)
        return f"renamed: {old} is {new}"

    async def _wait_settled(self, names: Sequence[str], head: int, grace: float) -> None:
        """Wait until these have settled what was there; raises `RouterError` if one does not within the grace."""
        left = {name: self._roster.left(name, head) for name in names}
        with anyio.move_on_after(grace):
            while any(left.values()) and all(self._keeps_up(n, one) for n, one in left.items()) and not self.stopping:
                await anyio.sleep(LOOK)
                self._roster.note_idle()
                left = {name: self._roster.left(name, head) for name in names}
        if any(left.values()):
            said = ", ".join(f"{name} ({one})" for name, one in left.items() if one)
            advice = "wait, or use --drain or --drop; `rename:` takes all to another name"
            raise RouterError(f"these have not delivered everything: {said} ({advice})")

    def _keeps_up(self, name: str, left: Left) -> bool:
        """Whether it can be waited for: what is parked or dead takes longer, and so does who is not delivering."""
        delivery = self._roster.running[name].delivery
        delivers = delivery.state == "active" and delivery.valve.breaker.state == "closed"
        return delivers and not (left.parked or left.dead)

    def _let_go(self, name: str, head: int, *, drop: bool) -> str:
        """Let go of one that was stopped; returns what is to be said about it."""
        if drop:
            left = self._roster.left(name)
            self._partition.forget(name)
            if left:
                log.warning("dropped, as was asked for", subscription=name, **asdict(left))
            return f"dropped: {name}: {left}" if left else ""
        left = self._roster.end(name, head)
        return _stays(name, left) if left else ""

    def _drain(self, name: str, seconds: float, grace: float) -> str:
        """Let one deliver what it has, for so long."""
        subscriber = self._roster.running[name]
        left = self._roster.left(name)
        self._roster.leaving[name] = subscriber.planned
        subscriber.drain(self._partition.head)
        self._tasks.start_soon(self._drained, name, seconds, grace)
        return f"{name} has {seconds:g} s for {left}; what is left then stays until `router forget-subscription`"

    async def _drained(self, name: str, seconds: float, grace: float) -> None:
        """Wait until one has delivered what it had, but not longer, and let go of it."""
        subscriber = self._roster.running[name]
        with anyio.move_on_after(seconds):
            while self._roster.running.get(name) is subscriber and _deliverable(self._roster.left(name)):
                await anyio.sleep(PATIENCE)
                self._roster.note_idle()
        async with self.one:
            if self._roster.running.get(name) is not subscriber or not subscriber.draining or self.stopping:
                return  # the config has it again, or it was forgotten
            with anyio.CancelScope(shield=True):
                if left := await self.leave(name, grace):
                    log.error("drained for too long, the rest stays", subscription=name, hint=_stays(name, left))
                else:
                    log.info("drained", subscription=name)

    async def leave(self, name: str, grace: float) -> Left:
        """Stop one that drains, wherever it is, and let go of it; returns what is left. The caller holds `one`."""
        del self._roster.leaving[name]
        await self._roster.stop([name], grace)
        left = self._roster.end(name, self._partition.head)
        self._roster.run(self._roster.wanted)
        return left

    async def _stop(self, names: Sequence[str], grace: float) -> None:
        """Stop sources (`sources.name`) and subscriptions, and take them out."""
        sources = [name.removeprefix("sources.") for name in names if name.startswith("sources.")]
        async with anyio.create_task_group() as stopping:
            stopping.start_soon(self._supply.stop, sources)
            stopping.start_soon(self._roster.stop, names, grace)


def _deliverable(left: Left) -> bool:
    return bool(left.pending or left.parked)


def _stays(name: str, left: Left) -> str:
    return f"{name} is kept with {left} until `router forget-subscription`, or a place in the config"

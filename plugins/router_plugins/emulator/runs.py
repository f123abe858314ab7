"""Campaigns under way: results published at a rate, some of them twice, with books kept of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random
from time import monotonic
from typing import Annotated

import anyio
import msgspec
from anyio.abc import TaskGroup

from router_plugins.emulator.bus import EventBus
from router_plugins.emulator.campaign import Plan, Result, campaign
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.event_rules import EventRules
from router_plugins.emulator.forms import render
from router_plugins.emulator.ledger import CampaignLedger, Origin
from router_plugins.emulator.topic import Push

_SLICE = 50
"""Results published before others get a turn."""

_LONGEST_ECHO = 300
"""A duplicate follows its first copy within so many results."""


class CampaignOrder(Plan, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan, how fast it is carried out, and how often the service stutters.

    `rate`: results a second, 0 for as fast as it goes. `duplicates`: share of the results published twice.
    """

    rate: Annotated[float, msgspec.Meta(ge=0)] = 0
    duplicates: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0


class Campaigns:
    """The campaigns of one emulator, in the order of their start; `owner` is the cloud account's number."""

    def __init__(
        self, rules: EventRules, bus: EventBus, owner: str, push: Callable[[Sequence[Push]], None], tasks: TaskGroup
    ) -> None:
        self._rules = rules
        self._bus = bus
        self._owner = owner
        self._push = push
        self._tasks = tasks
        self._ledgers: dict[str, CampaignLedger] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}

    def start(self, order: CampaignOrder) -> CampaignLedger:
        """Begin a campaign and return its books."""
        ledger = CampaignLedger(f"c{len(self._ledgers) + 1}", order)
        self._ledgers[ledger.name] = ledger
        scope = self._scopes[ledger.name] = anyio.CancelScope()
        self._tasks.start_soon(self._run, ledger, order, scope)
        return ledger

    def stop(self, name: str) -> None:
        """Publish no more of a campaign; raises `CampaignNotExist`."""
        self.get(name)
        self._scopes[name].cancel()

    def get(self, name: str) -> CampaignLedger:
        """Return the books of a campaign, or raise `CampaignNotExist`."""
        if name not in self._ledgers:
            raise ServiceError("CampaignNotExist")
        return self._ledgers[name]

    def all(self) -> Sequence[CampaignLedger]:
        """Return all books."""
        return list(self._ledgers.values())

    async def _run(self, ledger: CampaignLedger, order: CampaignOrder, scope: anyio.CancelScope) -> None:
        started = monotonic()
        with scope:
            for number, result in enumerate(_with_echoes(order)):
                self._publish(ledger, result)
                ahead = (number + 1) / order.rate - (monotonic() - started) if order.rate else 0.0
                if ahead > 0 or number % _SLICE == 0:
                    await anyio.sleep(max(0.0, ahead))
        ledger.finished = True

    def _publish(self, ledger: CampaignLedger, result: Result) -> None:
        rules = self._rules.wanting(result.type, result.region)
        targets = self._bus.wanting(result.type, result.region)
        ledger.sent(result.index, (*(rule.name for rule in rules), *(rule.name for rule in targets)))
        origin = Origin(ledger, result.index)
        pushes = self._rules.publish(render(result, self._owner), rules, origin)
        self._push([*pushes, *self._bus.publish(result, targets, origin)])


def _with_echoes(order: CampaignOrder) -> Iterator[Result]:
    """Yield the results, those that are published twice once more at some distance."""
    random = Random(order.seed + 1)  # noqa: S311 - repeatable on purpose
    waiting: deque[tuple[int, Result]] = deque()
    for result in campaign(order):
        yield result
        if random.random() < order.duplicates:
            waiting.append((result.index + random.randrange(1, _LONGEST_ECHO), result))
        while waiting and waiting[0][0] <= result.index:
            yield waiting.popleft()[1]
    for _, result in waiting:
        yield result

"""Pushes: topic messages delivered to HTTP endpoints, signed, and made again until they are answered (PROTOCOL 2).

Each subscription has a lane of its own, so that a slow endpoint holds up nobody else's pushes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from time import monotonic
from typing import TypeAlias

import anyio
import msgspec
from anyio.abc import TaskGroup

from router_plugins.emulator.account import Account
from router_plugins.emulator.backoff import overtaken
from router_plugins.emulator.faults import Faults, happens
from router_plugins.emulator.lane import Lane, Try, Turn
from router_plugins.emulator.push_connection import PushConnection
from router_plugins.emulator.push_request import PushRequest, is_loopback
from router_plugins.emulator.queued import Clock
from router_plugins.emulator.topic import Push, Subscription, redelivery_wait

REPLY_TIMEOUT = 5.0
"""Seconds in which an endpoint must answer (PROTOCOL 2.6)."""

KEPT_ANSWERS = 10_000


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one push was answered.

    `time` in Unix seconds, `seconds` until the answer. `status` is None where there was none, and `error` says
    why. `attempt` counts from 1, and more than the pushes made
    when backoff held it up; `next_try` is in how many seconds, None when there is no further one.
    """

    time: float
    topic: str
    subscription: str
    endpoint: str
    message_id: str
    attempt: int
    status: int | None
    error: str
    seconds: float
    next_try: float | None


Reply: TypeAlias = tuple[int | None, str]
"""The status, or None and why there was none."""


class Pushes:
    """All lanes: waits are divided by `fast`, and each lane has `in_flight` requests under way at most.

    `request_of` makes the request of a push at a time (Unix seconds); `current` finds a subscription by its topic and
    name, None when it is gone.
    """

    def __init__(
        self,
        account: Account,
        request_of: Callable[[Push, Subscription, float], PushRequest],
        current: Callable[[str, str], Subscription | None],
        tasks: TaskGroup,
        *,
        clock: Clock,
        faults: Callable[[], Faults],
        fast: float = 1,
        in_flight: int = 64,
    ) -> None:
        self.answers: deque[Answer] = deque(maxlen=KEPT_ANSWERS)
        self._account = account
        self._request_of = request_of
        self._current = current
        self._tasks = tasks
        self._clock = clock
        self._faults = faults
        self._fast = fast
        self._in_flight = in_flight
        self._random = Random()  # noqa: S311 - spreads redeliveries
        self._lanes: dict[tuple[str, str], Lane] = {}

    def start(self, pushes: Iterable[Push]) -> None:
        """Begin to make these pushes."""
        reordering = self._faults().reordering
        for push in pushes:
            self._add(Try(push, 1), self._random.random() if happens(reordering, self._random) else 0.0)

    def pending(self) -> int:
        """Return how many pushes wait or are under way."""
        return sum(lane.pending for lane in self._lanes.values())

    def backoff_of(self, topic: str, subscription: str) -> int:
        """Return the level of a subscription's backoff, 0 for none."""
        lane = self._lanes.get((topic, subscription))
        return 0 if lane is None else lane.backoff.level

    def _add(self, one: Try, wait: float) -> None:
        key = (one.push.subscription.topic, one.push.subscription.name)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self._in_flight, self._fast)
            self._tasks.start_soon(self._run, key, lane)
        lane.add(one, wait)

    async def _run(self, key: tuple[str, str], lane: Lane) -> None:
        """Make a lane's pushes when they are due, until its subscription is gone."""
        try:
            async with anyio.create_task_group() as tasks:
                while lane.pending or self._current(*key) is not None:
                    turn = await lane.next_due()
                    if turn is not None:
                        await lane.slots.acquire()
                        tasks.start_soon(self._work, lane, turn)
                del self._lanes[key]  # before anything else can run: a push that comes now gets a new lane
        finally:
            lane.close()

    async def _work(self, lane: Lane, turn: Turn | None) -> None:
        """Make one push after the other over one connection, while there are some that are due."""
        connection: PushConnection | None = None
        try:
            while turn is not None:
                push = turn.one.push
                current = self._current(push.subscription.topic, push.subscription.name)
                if current is None:
                    self._give_up(push)
                else:
                    started = monotonic()
                    reply, connection = await self._request(push, current, connection or lane.kept())
                    lane.settle(turn, answered=_is_answer(reply))
                    self._settle(self._counted(turn, current), current, reply, monotonic() - started)
                lane.pending -= 1
                turn = lane.due_now()
        finally:
            lane.keep(connection)
            lane.slots.release()

    def _counted(self, turn: Turn, current: Subscription) -> Try:
        """Return the attempt with its number, which is higher when backoff held it up."""
        strategy = current.attributes.notify_strategy
        number = overtaken(strategy, turn.one.attempt, turn.late * self._fast, self._random)
        return turn.one if number == turn.one.attempt else msgspec.structs.replace(turn.one, attempt=number)

    def _settle(self, one: Try, current: Subscription, reply: Reply, seconds: float) -> None:
        """Book a reply and decide what follows."""
        status, error = reply
        wait = None if one.surplus else self._after(one, current, answered=_is_answer(reply))
        answer = Answer(
            time=self._clock(), topic=current.topic, subscription=current.name, endpoint=current.attributes.endpoint,
            message_id=one.push.message.message_id, attempt=one.attempt, status=status, error=error,
            seconds=round(seconds, 4), next_try=wait,
        )  # fmt: skip
        self.answers.append(answer)

    def _after(self, one: Try, current: Subscription, *, answered: bool) -> float | None:
        """Return in how many seconds the push is made again, None when that was it."""
        origin = one.push.message.origin
        if origin is not None:
            origin.ledger.attempted(again=one.attempt > 1)
        if answered:
            if origin is not None:
                origin.ledger.answered(origin.index)
            if happens(self._faults().duplicates, self._random):
                self._add(Try(one.push, one.attempt + 1, surplus=True), 0.0)
            return None
        wait = redelivery_wait(current.attributes.notify_strategy, one.attempt, self._random)
        if wait is None:
            self._give_up(one.push)
            self._account.bury(one.push, current)
            return None
        self._add(Try(one.push, one.attempt + 1), wait / self._fast)
        return wait / self._fast

    def _give_up(self, push: Push) -> None:
        origin = push.message.origin
        if origin is not None:
            origin.ledger.gave_up(origin.index)

    async def _request(
        self, push: Push, subscription: Subscription, connection: PushConnection | None
    ) -> tuple[Reply, PushConnection | None]:
        """Make one request; return its reply, and the connection if it can be used again."""
        request = self._request_of(push, subscription, self._clock())
        if not is_loopback(request.url):
            return (None, "not pushed: the emulator pushes to loopback addresses only"), connection
        deadline = asyncio.get_running_loop().time() + REPLY_TIMEOUT
        octets = request.octets()
        try:
            fresh = connection is None
            connection = connection or await PushConnection.open(request.url, deadline)
            try:
                status = await connection.post(octets, deadline)
            except ConnectionError:  # the endpoint may have closed an idle connection: no answer to this push
                if fresh:
                    raise
                connection = await PushConnection.open(request.url, deadline)
                status = await connection.post(octets, deadline)
        except TimeoutError:
            return (None, f"no answer within {REPLY_TIMEOUT:g} s"), None
        except (OSError, ValueError) as error:
            return (None, str(error) or type(error).__name__), None
        return (status, ""), connection if connection.usable else None


def _is_answer(reply: Reply) -> bool:
    """Say whether a reply counts as success: a status from 200 to 399 (PROTOCOL 2.6)."""
    status, _ = reply
    return status is not None and 200 <= status < 400  # noqa: PLR2004 - so documented

"""The MNS API as HTTP routes: each request checked, carried out, answered or refused, with the faults to order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import TypeAlias

import anyio
from aiohttp import web

from router_plugins.emulator import wire
from router_plugins.emulator.credentials import AccessKey
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.faults import Faults, happens
from router_plugins.emulator.queue_api import QueueApi
from router_plugins.emulator.queued import Clock
from router_plugins.emulator.topic_api import TopicApi

Operation: TypeAlias = Callable[[wire.Call], Awaitable[web.Response]]
Answering: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MnsApi:
    """The routes of `/queues`, `/topics` and the account."""

    def __init__(
        self,
        queues: QueueApi,
        topics: TopicApi,
        keys: Mapping[str, AccessKey],
        clock: Clock,
        faults: Callable[[], Faults],
    ) -> None:
        self._queues = queues
        self._topics = topics
        self._keys = keys
        self._clock = clock
        self._faults = faults
        self._random = Random()  # noqa: S311 - which requests fail when they are told to

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; what they do not know is answered `InvalidRequestURL`."""
        queues, topics = self._queues, self._topics
        queue, topic = "/queues/{queue}", "/topics/{topic}"
        subscription = topic + "/subscriptions/{subscription}"
        table: list[tuple[str, str, Operation]] = [
            ("GET", "/", topics.account),
            ("PUT", "/", topics.account),
            ("POST", "/", topics.account),
            ("POST", "/commonbuy/openservice", topics.open_service),
            ("GET", "/queues", queues.list),
            ("PUT", queue, queues.put),
            ("GET", queue, queues.attributes),
            ("DELETE", queue, queues.remove),
            ("GET", queue + "/messages", queues.receive),
            ("POST", queue + "/messages", queues.send),
            ("DELETE", queue + "/messages", queues.delete),
            ("PUT", queue + "/messages", queues.change_visibility),
            ("GET", "/topics", topics.list),
            ("PUT", topic, topics.put),
            ("GET", topic, topics.attributes),
            ("DELETE", topic, topics.remove),
            ("POST", topic + "/messages", topics.publish),
            ("GET", topic + "/subscriptions", topics.list_subscriptions),
            ("PUT", subscription, topics.subscribe),
            ("GET", subscription, topics.subscription),
            ("DELETE", subscription, topics.unsubscribe),
            ("*", "/{rest:.*}", _unknown),
        ]
        return [web.route(method, path, self._answering(operation)) for method, path, operation in table]

    def _answering(self, operation: Operation) -> Answering:
        async def answer(request: web.Request) -> web.StreamResponse:
            request_id, faults = wire.new_request_id(), self._faults()
            if faults.slow:
                await anyio.sleep(faults.slow)
            try:
                chosen = _failing if happens(faults.errors, self._random) else operation
                response = await chosen(await wire.checked(request, self._keys, self._clock))
            except ServiceError as error:
                response = wire.refusal(error, request_id, f"http://{request.host}")
            if happens(faults.lost_answers, self._random) and request.transport is not None:
                request.transport.abort()
            wire.dress(response, request_id, faults.clock_skew, self._clock())
            return response

        return answer


async def _failing(_call: wire.Call) -> web.Response:
    raise ServiceError("InternalError")


async def _unknown(_call: wire.Call) -> web.Response:
    raise ServiceError("InvalidRequestURL")

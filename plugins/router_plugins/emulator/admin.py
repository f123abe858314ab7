"""The emulator's own JSON API under `/emulator/`: what the console does by hand, campaigns, and the books."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import msgspec
from aiohttp import web

from router_plugins.emulator.bus import BUS, BusOrder
from router_plugins.emulator.faults import Faults
from router_plugins.emulator.json_calls import Answering, guarded, json_reply, limit_of, order_of
from router_plugins.emulator.orders import MessageOrder, QueueOrder, ReceiveOrder, SubscriptionOrder, TopicOrder
from router_plugins.emulator.queued import DlqPolicy, Lease
from router_plugins.emulator.rules import RuleOrder
from router_plugins.emulator.runs import CampaignOrder
from router_plugins.emulator.topic import SubscriptionAttributes

if TYPE_CHECKING:
    from router_plugins.emulator.service import Service

_encode = msgspec.json.Encoder().encode

_LINES_AT_ONCE = 500


class Admin:
    """The operations under `/emulator`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._account = service.account

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        root = "/emulator"
        table: list[tuple[str, str, Answering]] = [
            ("GET", "", self._page),
            ("GET", "/status", self._status),
            ("GET", "/rules", self._rules),
            ("POST", "/rules", self._create_rule),
            ("DELETE", "/rules/{name}", self._delete_rule),
            ("GET", "/bus", self._bus_rules),
            ("POST", "/bus", self._create_bus_rule),
            ("DELETE", "/bus/{name}", self._delete_bus_rule),
            ("GET", "/queues", self._queues),
            ("POST", "/queues", self._create_queue),
            ("DELETE", "/queues/{name}", self._delete_queue),
            ("GET", "/queues/{name}/messages", self._peek),
            ("POST", "/queues/{name}/messages", self._send),
            ("POST", "/queues/{name}/receive", self._receive),
            ("POST", "/queues/{name}/expire", self._expire),
            ("GET", "/topics", self._topics),
            ("POST", "/topics", self._create_topic),
            ("DELETE", "/topics/{name}", self._delete_topic),
            ("POST", "/topics/{name}/messages", self._publish),
            ("GET", "/subscriptions", self._subscriptions),
            ("POST", "/subscriptions", self._subscribe),
            ("DELETE", "/subscriptions/{topic}/{name}", self._unsubscribe),
            ("GET", "/pushes", self._pushes),
            ("GET", "/campaigns", self._campaigns),
            ("POST", "/campaigns", self._start),
            ("GET", "/campaigns/{name}", self._progress),
            ("DELETE", "/campaigns/{name}", self._stop),
            ("GET", "/ledger", self._ledger),
            ("GET", "/faults", self._faults),
            ("PUT", "/faults", self._set_faults),
        ]
        return [web.route(method, root + path, guarded(answer)) for method, path, answer in table]

    async def _page(self, _request: web.Request) -> web.Response:
        text = (files("router_plugins.emulator") / "page.html").read_text(encoding="utf-8")
        return web.Response(text=text, content_type="text/html")

    async def _status(self, _request: web.Request) -> web.Response:
        account, service = self._account, self._service
        return json_reply(
            {
                "url": service.url,
                "region": account.region,
                "account": account.number,
                "certificate": service.certificate_url,
                "queues": len(account.queues),
                "topics": len(account.topics),
                "rules": len(service.rules.by_name),
                "pushes_pending": service.pushes.pending(),
                "undeliverable": account.undeliverable,
            }
        )

    async def _rules(self, _request: web.Request) -> web.Response:
        now = self._service.clock()
        rules = self._service.rules.by_name.values()
        return json_reply([{**msgspec.to_builtins(rule), "active": now >= rule.active_from} for rule in rules])

    async def _create_rule(self, request: web.Request) -> web.Response:
        return json_reply(self._service.rules.create(await order_of(request, RuleOrder)), 201)

    async def _delete_rule(self, request: web.Request) -> web.Response:
        self._service.rules.delete(request.match_info["name"])
        return web.Response(status=204)

    async def _bus_rules(self, _request: web.Request) -> web.Response:
        backoff_of = self._service.pushes.backoff_of
        rules = self._service.bus.by_name.values()
        return json_reply([{**msgspec.to_builtins(rule), "backoff": backoff_of(BUS, rule.name)} for rule in rules])

    async def _create_bus_rule(self, request: web.Request) -> web.Response:
        return json_reply(self._service.bus.create(await order_of(request, BusOrder)), 201)

    async def _delete_bus_rule(self, request: web.Request) -> web.Response:
        self._service.bus.delete(request.match_info["name"])
        return web.Response(status=204)

    async def _queues(self, _request: web.Request) -> web.Response:
        queues = self._account.queues.values()
        return json_reply([{"name": q.name, "attributes": q.attributes, "counts": q.counts()} for q in queues])

    async def _create_queue(self, request: web.Request) -> web.Response:
        order = await order_of(request, QueueOrder)
        new = self._account.create_queue(order.name, order.attributes)
        return json_reply(
            {"name": order.name, "endpoint": self._service.queue_endpoint(order.name)}, 201 if new else 200
        )

    async def _delete_queue(self, request: web.Request) -> web.Response:
        self._account.delete_queue(request.match_info["name"])
        return web.Response(status=204)

    async def _peek(self, request: web.Request) -> web.Response:
        leases = self._account.queue(request.match_info["name"]).peek(limit_of(request))
        return json_reply([_shown(lease) for lease in leases])

    async def _send(self, request: web.Request) -> web.Response:
        queue = self._account.queue(request.match_info["name"])
        return json_reply(self._account.send(queue, (await order_of(request, MessageOrder)).body), 201)

    async def _receive(self, request: web.Request) -> web.Response:
        queue = self._account.queue(request.match_info["name"])
        order = await order_of(request, ReceiveOrder)
        leases = queue.receive(order.count)
        for lease in leases if order.delete else ():
            queue.delete(lease.handle)
        return json_reply([_shown(lease) for lease in leases])

    async def _expire(self, request: web.Request) -> web.Response:
        ended = self._account.queue(request.match_info["name"]).expire()
        self._service.polls.arrived(request.match_info["name"])
        return json_reply({"expired": ended})

    async def _topics(self, _request: web.Request) -> web.Response:
        topics = self._account.topics.values()
        return json_reply(
            [{"name": t.name, "published": t.published, "subscriptions": list(t.subscriptions)} for t in topics]
        )

    async def _create_topic(self, request: web.Request) -> web.Response:
        order = await order_of(request, TopicOrder)
        new = self._account.create_topic(order.name, order.attributes)
        return json_reply({"name": order.name}, 201 if new else 200)

    async def _delete_topic(self, request: web.Request) -> web.Response:
        self._account.delete_topic(request.match_info["name"])
        return web.Response(status=204)

    async def _publish(self, request: web.Request) -> web.Response:
        order = await order_of(request, MessageOrder)
        return json_reply({"message_id": self._service.publish(request.match_info["name"], order.body, order.tag)}, 201)

    async def _subscriptions(self, _request: web.Request) -> web.Response:
        backoff_of = self._service.pushes.backoff_of
        return json_reply(
            [
                {**msgspec.to_builtins(s), "backoff": backoff_of(s.topic, s.name)}
                for topic in self._account.topics.values()
                for s in topic.subscriptions.values()
            ]
        )

    async def _subscribe(self, request: web.Request) -> web.Response:
        order = await order_of(request, SubscriptionOrder)
        endpoint = order.endpoint or (self._service.queue_endpoint(order.queue) if order.queue else "")
        attributes = SubscriptionAttributes(
            endpoint=endpoint,
            filter_tag=order.filter_tag,
            notify_strategy=order.strategy,
            notify_content_format=order.content_format,
            dlq_policy=DlqPolicy(
                enabled=bool(order.dead_letter_queue), dead_letter_target_queue=order.dead_letter_queue
            ),
        )
        new = self._account.subscribe(order.topic, order.name, attributes, request.host)
        return json_reply(self._account.subscription(order.topic, order.name), 201 if new else 200)

    async def _unsubscribe(self, request: web.Request) -> web.Response:
        self._account.unsubscribe(request.match_info["topic"], request.match_info["name"])
        return web.Response(status=204)

    async def _pushes(self, request: web.Request) -> web.Response:
        answers = list(self._service.pushes.answers)[-limit_of(request, 100) :]
        return json_reply(answers)

    async def _campaigns(self, _request: web.Request) -> web.Response:
        return json_reply([ledger.progress() for ledger in self._service.campaigns.all()])

    async def _start(self, request: web.Request) -> web.Response:
        return json_reply(self._service.campaigns.start(await order_of(request, CampaignOrder)).progress(), 201)

    async def _progress(self, request: web.Request) -> web.Response:
        return json_reply(self._service.campaigns.get(request.match_info["name"]).progress())

    async def _stop(self, request: web.Request) -> web.Response:
        self._service.campaigns.stop(request.match_info["name"])
        return web.Response(status=204)

    async def _ledger(self, request: web.Request) -> web.StreamResponse:
        """Stream one JSON line for each result sent, of one campaign with `?campaign=`, else of all."""
        name = request.query.get("campaign")
        ledgers = self._service.campaigns.all() if name is None else [self._service.campaigns.get(name)]
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for ledger in ledgers:
            waiting = bytearray()
            for number, line in enumerate(ledger.lines()):
                waiting += _encode(line) + b"\n"
                if number % _LINES_AT_ONCE == 0:
                    await response.write(bytes(waiting))
                    waiting.clear()
                    await anyio.lowlevel.checkpoint()
            await response.write(bytes(waiting))
        await response.write_eof()
        return response

    async def _faults(self, _request: web.Request) -> web.Response:
        return json_reply(self._service.faults)

    async def _set_faults(self, request: web.Request) -> web.Response:
        self._service.faults = await order_of(request, Faults)
        return json_reply(self._service.faults)


def _shown(lease: Lease) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(lease.message),
        "handle": lease.handle,
        "next_visible": lease.next_visible,
        "dequeues": lease.dequeues,
    }

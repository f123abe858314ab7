"""The emulator as a running service: its settings, its lifetimes, and the HTTP server around them."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from random import Random
from time import time

import anyio
import msgspec
from aiohttp import web
from anyio.abc import TaskGroup

from router import RouterError
from router_plugins.emulator import snapshot
from router_plugins.emulator.account import Account
from router_plugins.emulator.admin import Admin
from router_plugins.emulator.bus import BUS, EventBus
from router_plugins.emulator.bus_request import BusSigner
from router_plugins.emulator.certificate import CERTIFICATE_FILE, Identity, kept_identity, make_identity
from router_plugins.emulator.credentials import AccessKey
from router_plugins.emulator.event_rules import EventRules
from router_plugins.emulator.faults import Faults, happens
from router_plugins.emulator.ledger import CampaignLedger
from router_plugins.emulator.mns_api import MnsApi
from router_plugins.emulator.polls import LongPolls
from router_plugins.emulator.push import Pushes
from router_plugins.emulator.push_request import PushRequest, Signer
from router_plugins.emulator.queue_api import QueueApi
from router_plugins.emulator.queued import LostLease, QueueAttributes
from router_plugins.emulator.rules import ACTIVATION, Rule, RuleOrder
from router_plugins.emulator.runs import CampaignOrder, Campaigns
from router_plugins.emulator.topic import (
    ContentFormat,
    Push,
    Strategy,
    Subscription,
    SubscriptionAttributes,
    TopicAttributes,
)
from router_plugins.emulator.topic_api import TopicApi

_LARGEST_BODY = 1_048_576
_SAVE_EVERY = 5.0


class Emulator(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an emulator; `serve` runs it.

    `access_keys`: who may call the MNS API. `fast`: the service's own waits (rules' activation, redelivery,
    visibility timeouts, delays) are divided by it. `rule_delay`: seconds until a rule takes effect. `state`: a
    folder that keeps the signing key, and what was created, over a restart. `in_flight`: pushes at once for each
    subscription. `long_polls`: receivers that may wait at each queue. `lost_lease`: the error for an expired handle.
    """

    access_keys: tuple[AccessKey, ...] = (AccessKey("testAccessKeyId", "testAccessKeySecret"),)
    account: str = "1234567890123456"
    region: str = "cn-hangzhou"
    fast: float = 1.0
    rule_delay: float = ACTIVATION
    state: Path | None = None
    in_flight: int = 64
    long_polls: int = 1000
    lost_lease: LostLease = "MessageNotExist"

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[Service]:
        """Serve until the block ends; port 0 takes a free one.

        Raises `RouterError` for a host that is no loopback address, for a port in use, and for a damaged state.
        """
        listener = _listener(host, port)
        url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        try:
            identity = make_identity() if self.state is None else kept_identity(self.state)
            async with anyio.create_task_group() as tasks:
                service = Service(self, url, identity, tasks)
                async with _serving(listener, service.routes()), service.kept():
                    yield service
                tasks.cancel_scope.cancel()
        finally:
            listener.close()


class Service:
    """A running emulator.

    `url`: where it listens. `faults` may be replaced at any time. `certificate_pem` is what pushes can be
    checked against; `certificate_url` is where it is served, as every push says.
    """

    def __init__(self, settings: Emulator, url: str, identity: Identity, tasks: TaskGroup) -> None:
        self.url = url
        self.certificate_pem = identity.certificate
        self.certificate_url = f"{url}/{CERTIFICATE_FILE}"
        self.faults = Faults()
        self.polls = LongPolls(settings.long_polls, self.clock)
        self.account = Account(
            settings.account,
            settings.region,
            self.clock,
            fast=settings.fast,
            lost=settings.lost_lease,
            arrived=self.polls.arrived,
            faults=lambda: self.faults,
        )
        self.rules = EventRules(self.account, self.clock, delay=settings.rule_delay, fast=settings.fast)
        self.bus = EventBus(self.account, self.clock)
        certificate = b64encode(self.certificate_url.encode()).decode()
        self._signer = Signer(settings.account, identity.key, certificate)
        self._bus_signer = BusSigner(identity.key, self.certificate_url)
        self.pushes = Pushes(
            self.account,
            self._request_of,
            self._current,
            tasks,
            clock=self.clock,
            faults=lambda: self.faults,
            fast=settings.fast,
            in_flight=settings.in_flight,
        )
        self.campaigns = Campaigns(self.rules, self.bus, settings.account, self.pushes.start, tasks)
        self._settings = settings
        self._random = Random()  # noqa: S311 - which leases end when they are told to

    def clock(self) -> float:
        """Return the service's time in Unix seconds, ahead of this machine's by the skew that was ordered."""
        return time() + self.faults.clock_skew

    def queue_endpoint(self, queue: str) -> str:
        """Return what a subscription or a rule names a queue of this account by."""
        return f"acs:mns:{self.account.region}:{self.account.number}:queues/{queue}"

    def create_queue(self, name: str, attributes: QueueAttributes | None = None) -> str:
        """Create a queue; return its endpoint."""
        self.account.create_queue(name, attributes or QueueAttributes())
        return self.queue_endpoint(name)

    def create_topic(self, name: str) -> None:
        """Create a topic."""
        self.account.create_topic(name, TopicAttributes())

    def subscribe(
        self,
        topic: str,
        name: str,
        endpoint: str,
        *,
        content_format: ContentFormat = "SIMPLIFIED",
        strategy: Strategy = "BACKOFF_RETRY",
        filter_tag: str = "",
    ) -> None:
        """Subscribe a URL or a queue's endpoint to a topic."""
        attributes = SubscriptionAttributes(
            endpoint=endpoint, filter_tag=filter_tag, notify_strategy=strategy, notify_content_format=content_format
        )
        self.account.subscribe(topic, name, attributes)

    def create_rule(self, order: RuleOrder) -> Rule:
        """Create an event rule."""
        return self.rules.create(order)

    def publish(self, topic: str, body: str, tag: str = "") -> str:
        """Publish a message to a topic; return its id."""
        message, pushes = self.account.publish(topic, body, tag)
        self.pushes.start(pushes)
        return message.message_id

    def start_campaign(self, order: CampaignOrder) -> CampaignLedger:
        """Begin a campaign; return its books."""
        return self.campaigns.start(order)

    def routes(self) -> Sequence[web.RouteDef]:
        """Return all that the HTTP server serves."""
        api = MnsApi(
            QueueApi(self.account, self.polls, self._lease_ends),
            TopicApi(self.account, self.pushes.start),
            {key.id: key for key in self._settings.access_keys},
            self.clock,
            lambda: self.faults,
        )
        certificate = web.get(f"/{CERTIFICATE_FILE}", self._certificate)
        return [certificate, *Admin(self).routes(), *api.routes()]

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Keep the account in the state folder, if there is one: read it, save it now and then, and at the end."""
        folder = self._settings.state
        if folder is None:
            yield
            return
        snapshot.load(folder, self.account, self.rules, self.bus)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._save_now_and_then, folder)
            yield
            tasks.cancel_scope.cancel()
        snapshot.save(folder, snapshot.taken(self.account, self.rules, self.bus))

    async def _save_now_and_then(self, folder: Path) -> None:
        saved = b""
        while True:
            await anyio.sleep(_SAVE_EVERY)
            content = snapshot.taken(self.account, self.rules, self.bus)
            if content != saved:
                await anyio.to_thread.run_sync(snapshot.save, folder, content)
                saved = content

    def _request_of(self, push: Push, subscription: Subscription, now: float) -> PushRequest:
        """Make the request of a push, signed as MNS does or as EventBridge does."""
        if subscription.topic == BUS:
            return self._bus_signer.request(push, self.bus.by_name[subscription.name], now)
        return self._signer.request(push, subscription, now)

    def _current(self, topic: str, name: str) -> Subscription | None:
        """Return the subscription as it is now, None when it is gone."""
        if topic == BUS:
            return self.bus.target(name)
        there = self.account.topics.get(topic)
        return None if there is None else there.subscriptions.get(name)

    def _lease_ends(self) -> bool:
        return happens(self.faults.expired_handles, self._random)

    async def _certificate(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.certificate_pem, content_type="application/x-pem-file")


@asynccontextmanager
async def _serving(listener: socket.socket, routes: Sequence[web.RouteDef]) -> AsyncGenerator[None]:
    """Serve the routes on the socket; requests under way at the end have a second."""
    application = web.Application(client_max_size=_LARGEST_BODY)
    application.add_routes(routes)
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def _listener(host: str, port: int) -> socket.socket:
    """Return a listening socket, on a loopback address only: the emulator's keys are known to everybody."""
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise RouterError(f"{host} is no IP address") from error
    if not address.is_loopback:
        raise RouterError(f"the emulator listens on loopback addresses only (127.0.0.1 or ::1), not on {host}")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - of IP
    try:
        return socket.create_server((str(address), port), family=family, backlog=1024)
    except OSError as error:
        raise RouterError(f"cannot listen on {host}:{port}: {error.strerror}") from error

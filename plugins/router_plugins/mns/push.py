"""The source `mns_push`: results that an MNS topic, or EventBridge, pushes over HTTP."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from math import ceil
from socket import socket
from time import time
from typing import Annotated, ClassVar, Self
from urllib.parse import unquote_to_bytes

import aiohttp
import anyio
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec.structs import replace

from router import ConfigError, Count, Emit, PemFile, Secret, Source
from router.units import Duration, Size
from router_plugins.mns.callers import Callers
from router_plugins.mns.captured import captured as read_captured
from router_plugins.mns.certificate import DOCUMENTED_URLS, Certificates, TrustedUrls, pinned_key
from router_plugins.mns.eventbridge_target import ByPath, EventBridge
from router_plugins.mns.examination import Examination
from router_plugins.mns.health import Health
from router_plugins.mns.http import Front, Limits
from router_plugins.mns.http.sockets import addresses_of, open_sockets
from router_plugins.mns.reception import Reception
from router_plugins.mns.refusals import Refusals
from router_plugins.mns.routes import holds_secret, is_path, path_of, posts_to
from router_plugins.mns.topics import WantedTopics
from router_plugins.mns.verification import Judge, Judging, KeySource
from router_plugins.resolver import Connector
from router_plugins.tls import server_context, warn_of_expiry

GRACE = 3.0
"""Seconds that pushes which are here already have to become safe and be answered, once the source is stopped."""

_DAY = 24 * 3600.0

_POSITIVE = ("max_body", "header_timeout", "body_timeout", "idle_timeout", "max_unanswered")

_log = structlog.get_logger(__name__)


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener's own certificate (with its chain) and key: paths of PEM files."""

    certificate: PemFile
    key: PemFile


class MnsPush(Source, frozen=True, kw_only=True):
    """Listen for the pushes of MNS topics and of EventBridge; answer exactly 204 once a result is safe.

    A push is taken if its signature, its Date, its body's MD5 and its topic are right; else it gets 403. Counts:
    `bad_signature`, `body_mismatch`, `stale`, `wrong_certificate_url`, `no_certificate`, `wrong_topic`,
    `wrong_address`, `wrong_token`, `unavailable`, and of the HTTP layer `bad_request`, `unknown_path`, `too_large`,
    `slow_sender`, `overloaded`, `too_many_connections`, `too_many_of_address`, `bad_handshake`,
    `bad_proxy_header`.
    """

    parallel: ClassVar[bool] = True

    listen: str | tuple[str, ...]
    """`HOST:PORT`, or a list of several; `[::1]:8080` for IPv6, `[::]:8080` for both, port 0 for any free one."""
    path: Secret = Secret("/notifications")
    """The path of the endpoint that the topic pushes to. A secret in it keeps strangers out."""
    health: str = ""
    """A path that answers GET and HEAD with 200, for the checks of a balancer, and with 503 for some seconds after a
    push could not be stored. It is neither counted nor logged; default: none."""
    topics: tuple[str, ...] = ()
    """Globs over `acs:mns:{region}:{owner}:topics/{name}`; empty: all.

    A push does not say its region, so that part is not compared.
    """
    signed_path: str = ""
    """The path that the service pushes to, where a proxy on the way changes it: signatures cover that one."""
    allow: tuple[str, ...] = ()
    """Networks that pushes are taken from (`47.90.0.0/16`); empty: all. Whoever else connects is cut off, unless it is
    a trusted proxy: then each request is judged."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of the proxies whose `X-Forwarded-For` is believed; of all others it is ignored."""
    proxy_protocol: bool = False
    """Whether connections begin with a PROXY header, version 1 or 2, that says whose they are: all of them, and from
    `trusted_proxies` only. Then what is said of addresses here concerns those in the headers."""
    verify: bool = True
    """Whether signatures are checked. Turn it off only in a network where nobody else can reach the listener."""
    certificate: PemFile | None = None
    """A PEM file: only this certificate's key is accepted, and none is fetched."""
    certificate_urls: tuple[str, ...] = DOCUMENTED_URLS
    """Prefixes of the URLs that certificates are fetched from; `{region}` stands for one name like `hangzhou`."""
    max_age: Duration = 900.0
    """Seconds that a push's Date may differ from the clock here; 0 accepts any."""
    max_body: Size = 256 * 1024
    """Bytes of a body, also once it is unpacked: MNS's limit of 64 KiB for a message, and what an envelope adds."""
    header_timeout: Duration = 10.0
    """Seconds that a request's headers may take to arrive, and before them a PROXY header and a TLS handshake, each."""
    body_timeout: Duration = 10.0
    """Seconds that a request's body may take to arrive."""
    idle_timeout: Duration = 75.0
    """Seconds that a connection may rest between requests."""
    max_connections: Annotated[int, msgspec.Meta(gt=0)] = 1024
    """Connections at once, with those in a TLS handshake; more are told 503 and closed. All listeners of a process have
    half of its descriptors at most."""
    max_per_address: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Connections of one address at once, which trusted proxies may exceed; more are closed. 0: no limit."""
    max_unanswered: Size = 32 * 1024 * 1024
    """Bytes that may wait to become safe; from half of it on clients are slowed down, beyond they get 503."""
    tls: Tls | None = None
    """Listen with HTTPS."""
    eventbridge: EventBridge | None = None
    """Take what EventBridge pushes as well, at a path of its own; `topics` and `signed_path` do not concern it.

    There, and without `verify`, `ce-` headers say what the body is the data of (CloudEvents in binary mode)."""

    def check(self) -> None:
        """Refuse what cannot work: an address, a path, globs, prefixes, files that are none."""
        _checked("listen", "like 0.0.0.0:8080, each once", self._addresses)
        _checked("topics", "like acs:mns:cn-hangzhou:*:topics/dm-*", lambda: WantedTopics(self.topics))
        _checked("allow", "like 47.90.0.0/16", lambda: Callers(self.allow, ()))
        _checked("trusted_proxies", "like 10.0.0.0/8", lambda: Callers((), self.trusted_proxies))
        _checked("certificate_urls", "like https://host/", lambda: TrustedUrls(self.certificate_urls))
        _checked("certificate", "a PEM file with an RSA certificate", self._pinned)
        _check_tls(self._ssl)
        if not is_path(self.path):
            raise ConfigError("path", "is not a path", "like /notifications/SECRET: ASCII, without a query")
        if self.signed_path and (not self.signed_path.startswith("/") or set("?# ") & set(self.signed_path)):
            raise ConfigError("signed_path", "is not a path", "like /notifications, without a query")
        if self.eventbridge is not None:
            _check_eventbridge(self.eventbridge, self.path)
        self._check_health()
        if self.proxy_protocol and not self.trusted_proxies:
            raise ConfigError("proxy_protocol", "nobody may connect", "name the proxy's networks in `trusted_proxies`")
        for field in _POSITIVE:
            if getattr(self, field) <= 0:
                raise ConfigError(field, "must be more than 0")

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        """Take pushes until cancelled."""
        await self.run_on((), emit, ready, count)

    async def run_on(self, sockets: Sequence[socket], emit: Emit, ready: Callable[[], None], count: Count) -> None:
        """Take pushes from these sockets, or from one of its own, until cancelled."""
        async with self.serving(emit, count, sockets) as (host, port):
            _log.info("listening for pushes", at=self.listen, host=host, port=port, tls=self.tls is not None)
            self._warn()
            ready()
            while True:
                if self.tls is not None:
                    warn_of_expiry(self.tls.certificate, "the push listener's")
                await anyio.sleep(_DAY)

    @asynccontextmanager
    async def serving(
        self, emit: Emit, count: Count, sockets: Sequence[socket] = ()
    ) -> AsyncGenerator[tuple[str, int]]:
        """Take pushes until the block ends; yield the address, with the real port."""
        paths = self._paths()
        complain, health = Refusals(count, paths), Health(self.health)
        callers = Callers(self.allow, self.trusted_proxies)
        front = Front(
            self._limits(), posts_to(*paths, other=health.answer), count, callers, complain, proxied=self.proxy_protocol
        )
        health.closing = front.is_closing
        async with aiohttp.ClientSession(connector=Connector(), cookie_jar=aiohttp.DummyCookieJar()) as session:
            certificates = Certificates(session)
            checked = callers if self.allow else None
            judge, store = self._judge(certificates), health.watched(emit)
            reception = Reception(front, judge, certificates, store, complain, checked, self._announces)
            front.check = reception.admit
            scope = anyio.CancelScope(shield=True)
            async with (
                front.serve(*self._addresses()[0], self._ssl(), sockets or self._opened()) as address,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(reception.work, scope)
                try:
                    yield address
                finally:
                    scope.deadline = anyio.current_time() + GRACE
                    front.stop()

    def examine(self, captured: bytes) -> tuple[bool, Sequence[str]]:
        """Say how a captured push would be judged, and what a proxy changed; the certificate is the pinned one, if any.

        Raises ValueError for what is no request.
        """
        topics = WantedTopics(self.topics) if self.topics else None
        path, signed_path, trusted = unquote_to_bytes(self.path), self.signed_path.encode(), self.certificate_urls
        judge = Examination(path, signed_path, self._pinned(), TrustedUrls(trusted), topics, self.max_age)
        found = list(judge.findings(read_captured(captured), time()))
        return not any(each.bad for each in found), [each.text for each in found]

    def divided(self, processes: int) -> Self:
        """Let each process have its part of the connections, and of what may wait."""
        connections, waiting = ceil(self.max_connections / processes), ceil(self.max_unanswered / processes)
        each = ceil(self.max_per_address / processes)
        return replace(self, max_connections=connections, max_unanswered=waiting, max_per_address=each)

    def _paths(self) -> list[str]:
        return [self.path] if self.eventbridge is None else [self.path, self.eventbridge.here]

    def _check_health(self) -> None:
        if self.health and not is_path(self.health):
            raise ConfigError("health", "is not a path", "like /health: ASCII, without a query")
        if self.health and unquote_to_bytes(self.health) in {unquote_to_bytes(path) for path in self._paths()}:
            raise ConfigError("health", "is also a path of pushes", "give it a path of its own")

    def _warn(self) -> None:
        if not self.verify:
            _log.warning("signatures of pushes are not checked: whoever reaches the listener can make results up")
        elif not self.topics and not holds_secret(self.path):
            _log.warning("pushes of all topics of all accounts are taken: set `topics`, or put a secret into `path`")
        if self.eventbridge is not None and self.eventbridge.token is None:
            _log.warning("pushes of everybody's EventBridge are taken: set `eventbridge.token` here and there")

    def _judge(self, certificates: Certificates) -> Judging:
        keys = KeySource(self._pinned(), TrustedUrls(self.certificate_urls), certificates) if self.verify else None
        topics = WantedTopics(self.topics) if self.topics else None
        mns = Judge(keys, topics, self.max_age, self.signed_path.encode(), self.max_body)
        if self.eventbridge is None:
            return mns
        path = unquote_to_bytes(self.eventbridge.here)
        return ByPath(mns, path, self.eventbridge.judge(certificates, verify=self.verify))

    def _announces(self, target: bytes) -> bool:
        """Say whether `ce-` headers are believed: MNS signs none, so on its path whoever sees a push could add them.

        EventBridge signs none either; but at its path nothing but CloudEvents is pushed, and the token, which is in
        each request, is known to those only who could sign what they like, or who sit inside the TLS.
        """
        return not self.verify or (
            self.eventbridge is not None and path_of(target) == unquote_to_bytes(self.eventbridge.here)
        )

    def _limits(self) -> Limits:
        return Limits(
            max_body=self.max_body,
            header_timeout=self.header_timeout,
            body_timeout=self.body_timeout,
            idle_timeout=self.idle_timeout,
            max_connections=self.max_connections,
            max_per_address=self.max_per_address,
            max_unanswered=self.max_unanswered,
        )

    def _addresses(self) -> Sequence[tuple[str, int]]:
        return addresses_of((self.listen,) if isinstance(self.listen, str) else self.listen)

    def _opened(self) -> Sequence[socket]:
        """Listen at several addresses, or at all of IPv6 and IPv4, which the front does not by itself."""
        addresses = self._addresses()
        if len(addresses) == 1 and addresses[0][0] != "::":
            return ()
        return open_sockets(addresses)

    def _pinned(self) -> RSAPublicKey | None:
        return pinned_key(self.certificate)

    def _ssl(self) -> ssl.SSLContext | None:
        if self.tls is None:
            return None
        return server_context(self.tls.certificate, self.tls.key)


def _check_eventbridge(eventbridge: EventBridge, path: str) -> None:
    try:
        eventbridge.check()
    except ConfigError as error:
        raise ConfigError(f"eventbridge.{error.place}", error.problem, error.hint) from error
    if unquote_to_bytes(eventbridge.here) == unquote_to_bytes(path):
        raise ConfigError("eventbridge.path", "is also the path of MNS's pushes", "give each a path of its own")


def _check_tls(build: Callable[[], object]) -> None:
    try:
        build()
    except ConfigError as error:
        raise ConfigError(f"tls.{error.place}", error.problem, error.hint) from error


def _checked(field: str, hint: str, build: Callable[[], object]) -> None:
    """Build a thing from the config only to see that it can be built."""
    try:
        build()
    except (ValueError, OSError) as error:
        raise ConfigError(field, str(error), hint) from error

"""The source `mns_push`: results that an MNS topic, or EventBridge, pushes over HTTP."""

from __future__ import annotations

import hmac
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from math import ceil
from pathlib import Path
from socket import socket
from typing import Annotated, ClassVar, NamedTuple, Self
from urllib.parse import unquote_to_bytes

import aiohttp
import anyio
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec.structs import replace

from router import ConfigError, Count, Emit, Secret, Source
from router.units import Duration, Size
from router_plugins.mns.callers import Callers
from router_plugins.mns.certificate import DOCUMENTED_URLS, Certificates, TrustedUrls, pinned_key
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.eventbridge_target import EventBridge, EventBridgeJudge
from router_plugins.mns.http import Answer, Front, Limits, Route, refusal
from router_plugins.mns.reception import Reception
from router_plugins.mns.topics import WantedTopics
from router_plugins.mns.verification import Judge, Judging, KeySource, Verdict
from router_plugins.resolver import Connector

GRACE = 3.0
"""Seconds that pushes which are here already have to become safe and be answered, once the source is stopped."""

_POSITIVE = ("max_body", "header_timeout", "body_timeout", "idle_timeout", "max_unanswered")

_log = structlog.get_logger(__name__)


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener's own certificate (with its chain) and key: paths of PEM files."""

    certificate: Path
    key: Path


class MnsPush(Source, frozen=True, kw_only=True):
    """Listen for the pushes of MNS topics and of EventBridge; answer exactly 204 once a result is safe.

    A push is taken if its signature, its Date, its body's MD5 and its topic are right; else it gets 403. Counts:
    `bad_signature`, `body_mismatch`, `stale`, `wrong_certificate_url`, `no_certificate`, `wrong_topic`,
    `wrong_address`, `wrong_token`, `unavailable`, and of the HTTP layer `bad_request`, `unknown_path`, `too_large`,
    `slow_sender`, `overloaded`, `too_many_connections`, `too_many_of_address`, `bad_handshake`.
    """

    parallel: ClassVar[bool] = True

    listen: str
    """`HOST:PORT`; `[::1]:8080` for IPv6, port 0 for any free one."""
    path: Secret = Secret("/notifications")
    """The path of the endpoint that the topic pushes to. A secret in it keeps strangers out."""
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
    verify: bool = True
    """Whether signatures are checked. Turn it off only in a network where nobody else can reach the listener."""
    certificate: Path | None = None
    """A PEM file: only this certificate's key is accepted, and none is fetched."""
    certificate_urls: tuple[str, ...] = DOCUMENTED_URLS
    """Prefixes of the URLs that certificates are fetched from; `{region}` stands for one name like `hangzhou`."""
    max_age: Duration = 900.0
    """Seconds that a push's Date may differ from the clock here; 0 accepts any."""
    max_body: Size = 256 * 1024
    """Bytes of a body: MNS's limit of 64 KiB for a message, and what an envelope adds."""
    header_timeout: Duration = 10.0
    """Seconds that a request's headers may take to arrive, and before them a TLS handshake."""
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
    """Take what EventBridge pushes as well, at a path of its own; `topics` and `signed_path` do not concern it."""

    def check(self) -> None:
        """Refuse what cannot work: an address, a path, globs, prefixes, files that are none."""
        _checked("listen", "like 0.0.0.0:8080", self._address)
        _checked("topics", "like acs:mns:cn-hangzhou:*:topics/dm-*", lambda: WantedTopics(self.topics))
        _checked("allow", "like 47.90.0.0/16", lambda: Callers(self.allow, ()))
        _checked("trusted_proxies", "like 10.0.0.0/8", lambda: Callers((), self.trusted_proxies))
        _checked("certificate_urls", "like https://host/", lambda: TrustedUrls(self.certificate_urls))
        _checked("certificate", "a PEM file with an RSA certificate", self._pinned)
        _checked("tls", "two PEM files: certificate and key", self._ssl)
        if not self.path.startswith("/") or not self.path.isascii() or set("?# ") & set(self.path):
            raise ConfigError("path", "is not a path", "like /notifications/SECRET: ASCII, without a query")
        if self.signed_path and (not self.signed_path.startswith("/") or set("?# ") & set(self.signed_path)):
            raise ConfigError("signed_path", "is not a path", "like /notifications, without a query")
        if self.eventbridge is not None:
            _check_eventbridge(self.eventbridge, self.path)
        for field in _POSITIVE:
            if getattr(self, field) <= 0:
                raise ConfigError(field, "must be more than 0")

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        """Take pushes until cancelled."""
        await self.run_on((), emit, ready, count)

    async def run_on(self, sockets: Sequence[socket], emit: Emit, ready: Callable[[], None], count: Count) -> None:
        """Take pushes from these sockets, or from one of its own, until cancelled."""
        async with self.serving(emit, count, sockets) as (host, port):
            _log.info("listening for pushes", host=host, port=port, tls=self.tls is not None)
            self._warn()
            ready()
            await anyio.sleep_forever()

    @asynccontextmanager
    async def serving(
        self, emit: Emit, count: Count, sockets: Sequence[socket] = ()
    ) -> AsyncGenerator[tuple[str, int]]:
        """Take pushes until the block ends; yield the address, with the real port."""
        complain = Complaints(count, "push refused")
        paths = [self.path] if self.eventbridge is None else [self.path, self.eventbridge.here]
        callers = Callers(self.allow, self.trusted_proxies)
        front = Front(self._limits(), posts_to(*paths), complain, callers)
        async with aiohttp.ClientSession(connector=Connector(), cookie_jar=aiohttp.DummyCookieJar()) as session:
            certificates = Certificates(session)
            checked = callers if self.allow else None
            reception = Reception(front, self._judge(certificates), certificates, emit, complain, checked)
            front.check = reception.admit
            scope = anyio.CancelScope(shield=True)
            async with (
                front.serve(*self._address(), self._ssl(), sockets) as address,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(reception.work, scope)
                try:
                    yield address
                finally:
                    scope.deadline = anyio.current_time() + GRACE
                    front.stop()

    def divided(self, processes: int) -> Self:
        """Let each process have its part of the connections, and of what may wait."""
        connections, waiting = ceil(self.max_connections / processes), ceil(self.max_unanswered / processes)
        each = ceil(self.max_per_address / processes)
        return replace(self, max_connections=connections, max_unanswered=waiting, max_per_address=each)

    def _warn(self) -> None:
        if not self.verify:
            _log.warning("signatures of pushes are not checked: whoever reaches the listener can make results up")
        elif not self.topics:
            _log.warning("pushes of all topics of all accounts are taken: set `topics`, or put a secret into `path`")
        if self.eventbridge is not None and self.eventbridge.token is None:
            _log.warning("pushes of everybody's EventBridge are taken: set `eventbridge.token` here and there")

    def _judge(self, certificates: Certificates) -> Judging:
        keys = KeySource(self._pinned(), TrustedUrls(self.certificate_urls), certificates) if self.verify else None
        topics = WantedTopics(self.topics) if self.topics else None
        mns = Judge(keys, topics, self.max_age, self.signed_path.encode())
        if self.eventbridge is None:
            return mns
        path = unquote_to_bytes(self.eventbridge.here)
        return _ByPath(mns, path, self.eventbridge.judge(certificates, verify=self.verify))

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

    def _address(self) -> tuple[str, int]:
        host, colon, port = self.listen.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 0xFFFF:  # noqa: PLR2004 - the last port
            raise ValueError(f"{self.listen!r} is not HOST:PORT")
        return host.removeprefix("[").removesuffix("]"), int(port)

    def _pinned(self) -> RSAPublicKey | None:
        return pinned_key(self.certificate)

    def _ssl(self) -> ssl.SSLContext | None:
        if self.tls is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.tls.certificate, self.tls.key)
        return context


class _ByPath(NamedTuple):
    """Two judges: one for a path, and one for all else."""

    usual: Judge
    path: bytes
    other: EventBridgeJudge

    def verdict(self, target: bytes, headers: Mapping[bytes, bytes], body: bytes, now: float) -> Verdict:
        """Let the one judge that the path belongs to."""
        judge = self.other if _path_of(target) == self.path else self.usual
        return judge.verdict(target, headers, body, now)


def posts_to(*paths: str) -> Route:
    """Return the route that wants POST to one of the paths, however escaped, with any query; in constant time."""
    wanted = [unquote_to_bytes(path) for path in paths]
    usual = {path.encode() for path in paths}

    def route(method: bytes, target: bytes) -> Answer | None:
        if target not in usual:  # a hash, which says nothing of a path that is only like one of them
            asked = _path_of(target)
            if not any(hmac.compare_digest(asked, path) for path in wanted):
                return refusal(HTTPStatus.NOT_FOUND, "nothing is here")
        if method != b"POST":
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "pushes are POST", allow="POST")
        return None

    return route


def _path_of(target: bytes) -> bytes:
    path = target.partition(b"?")[0]
    return unquote_to_bytes(path) if b"%" in path else path


def _check_eventbridge(eventbridge: EventBridge, path: str) -> None:
    try:
        eventbridge.check()
    except ConfigError as error:
        raise ConfigError(f"eventbridge.{error.place}", error.problem, error.hint) from error
    if unquote_to_bytes(eventbridge.here) == unquote_to_bytes(path):
        raise ConfigError("eventbridge.path", "is also the path of MNS's pushes", "give each a path of its own")


def _checked(field: str, hint: str, build: Callable[[], object]) -> None:
    """Build a thing from the config only to see that it can be built."""
    try:
        build()
    except (ValueError, OSError) as error:
        raise ConfigError(field, str(error), hint) from error

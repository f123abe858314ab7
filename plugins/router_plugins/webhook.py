"""Events to an HTTP endpoint, one a request, with the headers and signature of Standard Webhooks.

The body is the event's flat JSON (`type` and `time` are among its fields; the specification recommends a shape but
demands none), or with `form: raw` the bytes as they came. The event's id is the `webhook-id`: the same at each try.

| answer | outcome |
|---|---|
| 2xx | delivered |
| 408, 425, 429, 5xx, no answer in time, no connection | `Retry`, after Retry-After where it is given |
| 413 with Retry-After | the same |
| 3xx | `Retry`: redirects are not followed, and a wrong `url` must not turn the events into dead letters |
| 401, 403, 404, 405, 407 | `Reject` that holds the subscription: about the endpoint, unless it takes other events |
| 410 | `Reject` as `gone` |
| other 4xx | `Reject` with the first bytes of the answer |

The option `statuses` gives others a meaning.

Source: standardwebhooks.com, specification 1.0.0. Its Python package cannot sign bytes that are no text, so the one
line of signing is here, and the package judges it in the tests.
"""

from __future__ import annotations

import base64
import hmac
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import ClassVar, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from yarl import URL

from router import Batch, ConfigError, Deliver, Event, PemFile, Reject, Retry, Secret, Sink, Threads
from router.units import Duration
from router_plugins.failures import raise_for
from router_plugins.http_client import NoAnswerError, Post, Requests, posting
from router_plugins.http_client.denial import METADATA, Network, networks
from router_plugins.tls import check_pair, check_system, client_context, warn_of_expiry
from router_plugins.webhook_answers import Statuses, excerpt, outcome
from router_plugins.webhook_headers import check_headers
from router_plugins.webhook_keys import keys

_WANTED = frozenset({b"retry-after"})
_ROW = 20
"""Events of a batch that are refused in a row until the rest is not tried."""


class Webhook(Sink, frozen=True, kw_only=True):
    """Post every event to a URL."""

    batch: ClassVar[int] = 1
    in_flight: ClassVar[int] = 32
    reads_only: ClassVar[bool] = True

    url: Secret
    """http or https. A secret, since many services put their token into the path; errors show scheme and host."""
    secret: Secret | None = None
    """Signs the requests: base64, with `whsec_` in front or not, as receivers' libraries read it."""
    previous_secrets: list[Secret] = msgspec.field(default_factory=list[Secret])
    """Sign too, so that the receiver can change over to `secret` in its own time."""
    headers: dict[str, Secret] = msgspec.field(default_factory=dict[str, Secret])
    """Sent along, such as Authorization."""
    timeout: Duration = 30.0
    """Seconds for one request, from connecting to the end of the answer's head."""
    max_age: Duration = 60.0
    """Seconds after which a connection is not used for another request: so a name that leads elsewhere by then is
    followed, also while there is always something to send."""
    form: Literal["json", "raw"] = "json"
    statuses: Statuses = Statuses()
    """What answers mean, where that is not as usual: `{delivered: [409], retry: [], reject: [404], hold: [4xx]}`."""
    proxy: Secret | None = None
    """An http proxy that all requests go through, with its user and password: http://me:${PROXY_PASSWORD}@proxy:3128.
    Those that the environment names are not used. The proxy resolves the name in `url` and decides where that leads."""

    ca: PemFile | None = msgspec.field(default_factory=PemFile.system)
    """File with the certificates that are trusted, instead of the system's; also of X.509 version 1."""
    certificate: PemFile | None = None
    """The certificate that this side shows, with its chain."""
    private_key: PemFile | None = None
    """Its key, where that is not in the same file."""
    private_key_password: Secret | None = None
    """What the key is encrypted with."""

    deny: tuple[str, ...] = METADATA
    """Networks that are not connected to, whatever the name in `url` resolves to; by default those where clouds give a
    machine its credentials. An address of IPv4 is meant in all of its forms in IPv6, too. Through a `proxy` it is the
    proxy that has to see to that."""

    def check(self) -> None:
        """Refuse what is no URL of a web server or a proxy, networks that are none, and what cannot be sent."""
        credentials = _split(self.url).username is not None
        if self.proxy is not None:
            _check_proxy(self.proxy)
        list(keys(self.secret, self.previous_secrets))
        self.statuses.check()
        _networks(self.deny)
        _check_tls(self)
        for field in ("timeout", "max_age"):
            if getattr(self, field) <= 0:
                raise ConfigError(field, "must be more than 0")
        check_headers(self.headers, credentials=credentials, proxied=self.proxy is not None)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Deliver]:
        """Keep connections open between requests."""
        requests = _Requests(self)
        tls = await Threads().run(partial(_tls, self)) if requests.url.scheme == "https" else None
        if self.certificate is not None:
            warn_of_expiry(self.certificate, f"shown to {requests.origin}")
        proxy = None if self.proxy is None else URL(str(self.proxy))
        denied = _networks(self.deny)
        async with posting(
            requests.requests,
            self.timeout,
            tls=tls,
            proxy=proxy,
            wanted=_WANTED,
            denied=denied,
            max_age=self.max_age,
        ) as post:

            async def deliver(batch: Batch) -> None:
                if len(batch) == 1:
                    await _post(post, requests, batch[0])
                else:
                    await _deliver_in_turn(post, requests, batch)

            yield deliver


class _Requests:
    """What one sink's requests are made of; nothing of it changes."""

    def __init__(self, sink: Webhook) -> None:
        parts = _split(sink.url)
        self.url = URL(str(sink.url))
        self.origin = _origin(parts)
        self.timeout = sink.timeout
        self.meanings = sink.statuses.meanings()
        self._raw = sink.form == "raw"
        self._signers = [hmac.new(key, digestmod="sha256") for key in keys(sink.secret, sink.previous_secrets)]
        headers = {
            "User-Agent": "directmail-router",
            "Content-Type": "application/octet-stream" if self._raw else "application/json",
            "Accept-Encoding": "identity",
        }
        self.requests = Requests(self.url, headers | {name.title(): str(value) for name, value in sink.headers.items()})
        proxy = "" if sink.proxy is None else urlsplit(sink.proxy).password or ""
        secrets = [sink.secret or "", *sink.previous_secrets, *sink.headers.values(), proxy, unquote(proxy)]
        self.confidential = [*secrets, parts.query, parts.path, unquote(parts.path), parts.password or ""]

    def render(self, event: Event, now: int) -> tuple[bytes, bytes]:
        """Return header lines and body; `now` is in Unix seconds, new at each try as the specification says."""
        body = bytes(event.raw) if self._raw else event.json()
        name = event.id.encode()
        lines = b"Webhook-Id: %b\r\nWebhook-Timestamp: %d\r\n" % (name, now)
        if self._signers:
            signed = b"%b.%d.%b" % (name, now, body)
            signatures = b" ".join([_signature(signer, signed) for signer in self._signers])
            lines += b"Webhook-Signature: %b\r\n" % signatures
        return lines, body


def _signature(signer: hmac.HMAC, signed: bytes) -> bytes:
    """Sign with a signer that has its key already, which is faster than `hmac.digest`."""
    mine = signer.copy()
    mine.update(signed)
    return b"v1," + base64.b64encode(mine.digest())


async def _deliver_in_turn(post: Post, requests: _Requests, batch: Batch) -> None:
    """Post one event after the other; what follows one to try again is not tried: that keeps the order.

    Nor is it when the endpoint is gone, or seems to refuse everything.
    """
    errors: dict[int, Retry | Reject] = {}
    row = 0
    for index, event in enumerate(batch):
        try:
            await _post(post, requests, event)
        except (Retry, Reject) as error:
            errors[index] = error
            row += isinstance(error, Retry) or not error.sure
            rest = range(index + 1, len(batch))
            if isinstance(error, Retry) or error.status == HTTPStatus.GONE:
                errors.update(dict.fromkeys(rest, error))
                break
            if error.hold or row == _ROW:
                errors.update(
                    dict.fromkeys(rest, Retry(f"not tried, as one before it failed: {error}", None, error.status))
                )
                break
        else:
            row = 0
    raise_for(errors, len(batch))


async def _post(post: Post, requests: _Requests, event: Event) -> None:
    try:
        answer = await post(*requests.render(event, int(time.time())))
    except TimeoutError as error:
        raise Retry(f"{requests.origin} did not answer within {requests.timeout:g} s") from error
    except NoAnswerError as error:
        raise Retry(f"{requests.origin}: {error}") from error
    meaning = requests.meanings.get(answer.status, "retry")
    if meaning != "delivered":
        text = excerpt(answer.body, requests.confidential)
        said = f"{requests.origin} answered {answer.status}" + (f": {text}" if text else "")
        after = answer.headers.get(b"retry-after", b"").decode("latin-1")
        raise outcome(answer.status, meaning, after, said, time.time())


def _tls(sink: Webhook) -> ssl.SSLContext:
    """Return TLS settings; it reads the system's authorities."""
    context = client_context(sink.ca, sink.certificate, sink.private_key, sink.private_key_password)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _check_tls(sink: Webhook) -> None:
    """Raise `ConfigError` for certificates that cannot be used."""
    check_pair(sink.certificate, sink.private_key, sink.private_key_password)
    own = sink.ca is not None and not sink.ca.is_system
    for field, named in (("ca", own), ("certificate", sink.certificate is not None)):
        if named and not sink.url.startswith("https:"):
            raise ConfigError(field, "has no meaning without TLS", "an https URL")
    if own or sink.certificate:
        _tls(sink)
    if sink.url.startswith("https:"):
        check_system(sink.ca)


def _check_proxy(proxy: str) -> None:
    """Raise `ConfigError` for what is no URL of an http proxy."""
    sample = "such as http://proxy.example.com:3128"
    if not proxy:
        raise ConfigError("proxy", "is empty", "leave it out to use none")
    parts = _split(proxy, "proxy", sample)
    if parts.scheme != "http":
        raise ConfigError("proxy", "is no http URL: the proxy itself is spoken to without TLS", sample)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ConfigError("proxy", "has more in it than user, password, host and port", sample)


def _networks(texts: Sequence[str]) -> Sequence[Network]:
    """Read networks; raise `ConfigError` for what is none."""
    try:
        return networks(texts)
    except ValueError as error:
        raise ConfigError("deny", str(error), "such as 10.0.0.0/8 or fd00::/8") from error


def _split(url: str, place: str = "url", sample: str = "such as https://crm.example.com/mail-failed") -> SplitResult:
    """Take a URL apart; raise `ConfigError` for one that no request can go to."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and URL(url).raw_host
    except ValueError:  # its text may show a part of the URL
        raise ConfigError(place, "is no URL: its host or port cannot be read") from None
    if not valid:
        raise ConfigError(place, "is no http or https URL with a host", sample)
    if "{" in url or "}" in url:
        raise ConfigError(
            place, "takes no fields in braces", "a subscription for each URL; %7B and %7D are braces as such"
        )
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ConfigError(place, "has a space or a control character in it")
    return parts


def _origin(parts: SplitResult) -> str:
    """Return what of a URL may be shown: scheme, host and port."""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}"

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
import binascii
import hmac
import re
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import ClassVar, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from yarl import URL

from router import Batch, ConfigError, Deliver, Event, Reject, Retry, Secret, Sink, Threads
from router.units import Duration
from router_plugins.failures import raise_for
from router_plugins.http_client import NoAnswerError, Post, Requests, posting, trusted
from router_plugins.http_client.denial import METADATA, Network, networks
from router_plugins.webhook_answers import Statuses, excerpt, outcome

_BASE64_PREFIX = "whsec_"
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_WANTED = frozenset({b"retry-after"})
_ROW = 20
"""Events of a batch that are refused in a row until the rest is not tried."""
_OURS = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-length", "transfer-encoding", "connection")


class Webhook(Sink, frozen=True, kw_only=True):
    """Post every event to a URL."""

    batch: ClassVar[int] = 1
    in_flight: ClassVar[int] = 32
    reads_only: ClassVar[bool] = True

    url: Secret
    """http or https. A secret, since many services put their token into the path; errors show scheme and host."""
    secret: Secret | None = None
    """Signs the requests: `whsec_` and base64, or any other text, of which the UTF-8 bytes are the key."""
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

    deny: tuple[str, ...] = METADATA
    """Networks that are not connected to, whatever the name in `url` resolves to; by default those where clouds give a
    machine its credentials. An address of IPv4 is meant in all of its forms in IPv6, too. Through a `proxy` it is the
    proxy that has to see to that."""

    def check(self) -> None:
        """Refuse what is no URL of a web server or a proxy, networks that are none, and what cannot be sent."""
        credentials = _split(self.url).username is not None
        if self.proxy is not None:
            _check_proxy(self.proxy)
        list(_keys(self))
        self.statuses.check()
        _networks(self.deny)
        for field in ("timeout", "max_age"):
            if getattr(self, field) <= 0:
                raise ConfigError(field, "must be more than 0")
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name):
                raise ConfigError("headers", f"{name!r} is no name of a header")
            if name.lower() in _OURS:
                raise ConfigError(f"headers.{name}", "is set by the router itself")
            if name.lower() == "authorization" and credentials:
                raise ConfigError(f"headers.{name}", "is set by the user and password in url", "leave one of them out")
            if name.lower().startswith("proxy-") and self.proxy is not None:
                raise ConfigError(f"headers.{name}", "is for the proxy", "put user and password into the URL at proxy")
            if any(ord(char) < ord(" ") or char == "\x7f" for char in value):
                raise ConfigError(f"headers.{name}", "has a control character in it")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Deliver]:
        """Keep connections open between requests."""
        requests = _Requests(self)
        tls = await Threads().run(trusted) if requests.url.scheme == "https" else None
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
        self._signers = [hmac.new(key, digestmod="sha256") for key in _keys(sink)]
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
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ConfigError(place, "has a space or a control character in it")
    return parts


def _origin(parts: SplitResult) -> str:
    """Return what of a URL may be shown: scheme, host and port."""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}"


def _keys(sink: Webhook) -> Iterator[bytes]:
    """Turn the secrets into keys, the first one first; raise `ConfigError` for one that gives none."""
    if sink.secret is not None:
        yield _key(sink.secret, "secret")
    for secret in sink.previous_secrets:
        yield _key(secret, "previous_secrets")


def _key(secret: str, place: str) -> bytes:
    key = secret.encode()
    if secret.startswith(_BASE64_PREFIX):
        encoded = secret.removeprefix(_BASE64_PREFIX).rstrip("=")
        try:
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(place, f"begins with {_BASE64_PREFIX} but is no base64 after it") from error
    if not key:
        raise ConfigError(place, "is empty", f"make one with: openssl rand -base64 32, with {_BASE64_PREFIX} in front")
    return key

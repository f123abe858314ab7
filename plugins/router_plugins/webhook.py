"""Events to an HTTP endpoint, one a request, with the headers and signature of Standard Webhooks.

The body is the event's flat JSON (`type` and `time` are among its fields; the specification recommends a shape but
demands none), or with `form: raw` the bytes as they came. The event's id is the `webhook-id`: the same at each try.

| answer | outcome |
|---|---|
| 2xx | delivered |
| 408, 425, 429, 5xx, no answer in time, no connection | `Retry`, after Retry-After where it is given |
| 3xx | `Retry`: redirects are not followed, and a wrong `url` must not turn the events into dead letters |
| 410 | `Reject` as `gone` |
| other 4xx | `Reject` with the first bytes of the answer |

Source: standardwebhooks.com, specification 1.0.0. Its Python package cannot sign bytes that are no text, so the one
line of signing is here, and the package judges it in the tests.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import ClassVar, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import aiohttp
import anyio
import msgspec

from router import Batch, ConfigError, Deliver, Event, Reject, Retry, Secret, Sink
from router.units import Duration
from router_plugins.failures import raise_for
from router_plugins.webhook_answers import cause, excerpt, is_success, outcome

ANSWER = 1024
"""Bytes of an answer that are read; what has more loses its connection."""
DRAIN = 1.0
"""Seconds that the body of an answer may take once its status is known."""
_BASE64_PREFIX = "whsec_"
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-length", "transfer-encoding", "connection")


class Webhook(Sink, frozen=True, kw_only=True):
    """Post every event to a URL."""

    batch: ClassVar[int] = 1
    in_flight: ClassVar[int] = 32

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
    form: Literal["json", "raw"] = "json"

    def check(self) -> None:
        """Refuse what is no URL of a web server, and headers and secrets that cannot be sent."""
        credentials = _split(self.url).username is not None
        list(_keys(self))
        if self.timeout <= 0:
            raise ConfigError("timeout", "must be more than 0")
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name):
                raise ConfigError("headers", f"{name!r} is no name of a header")
            if name.lower() in _OURS:
                raise ConfigError(f"headers.{name}", "is set by the router itself")
            if name.lower() == "authorization" and credentials:
                raise ConfigError(f"headers.{name}", "is set by the user and password in url", "leave one of them out")
            if any(ord(char) < ord(" ") or char == "\x7f" for char in value):
                raise ConfigError(f"headers.{name}", "has a control character in it")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Deliver]:
        """Keep connections open between requests."""
        requests = _Requests(self)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the engine bounds what is in flight
            timeout=aiohttp.ClientTimeout(total=self.timeout),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:

            async def deliver(batch: Batch) -> None:
                await _deliver_in_turn(session, requests, batch)

            yield deliver


class _Requests:
    """What one sink's requests are made of; nothing of it changes."""

    def __init__(self, sink: Webhook) -> None:
        parts = _split(sink.url)
        self.url = str(sink.url)
        self.origin = _origin(parts)
        self.timeout = sink.timeout
        self._raw = sink.form == "raw"
        self._keys = list(_keys(sink))
        self._headers = {
            "User-Agent": "directmail-router",
            "Content-Type": "application/octet-stream" if self._raw else "application/json",
            "Accept-Encoding": "identity",
        } | {name.title(): str(value) for name, value in sink.headers.items()}
        secrets = [sink.secret or "", *sink.previous_secrets, *sink.headers.values()]
        self.confidential = [*secrets, parts.query, parts.path, unquote(parts.path), parts.password or ""]

    def body(self, event: Event) -> bytes:
        return bytes(event.raw) if self._raw else event.json()

    def headers(self, event: Event, body: bytes, now: int) -> Mapping[str, str]:
        """Return all headers of the request; `now` is in Unix seconds, new at each try as the specification says."""
        headers = {**self._headers, "Webhook-Id": event.id, "Webhook-Timestamp": str(now)}
        if self._keys:
            signed = b"%b.%d.%b" % (event.id.encode(), now, body)
            digests = [base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in self._keys]
            headers["Webhook-Signature"] = " ".join([f"v1,{digest}" for digest in digests])
        return headers


async def _deliver_in_turn(session: aiohttp.ClientSession, requests: _Requests, batch: Batch) -> None:
    """Post one event after the other; what follows one to try again is not tried, which keeps the order."""
    errors: dict[int, Retry | Reject] = {}
    for index, event in enumerate(batch):
        try:
            await _post(session, requests, event)
        except Reject as error:
            errors[index] = error
        except Retry as error:
            errors.update(dict.fromkeys(range(index, len(batch)), error))
            break
    raise_for(errors, len(batch))


async def _post(session: aiohttp.ClientSession, requests: _Requests, event: Event) -> None:
    body = requests.body(event)
    now = time.time()
    headers = requests.headers(event, body, int(now))
    try:
        async with session.post(requests.url, data=body, headers=headers, allow_redirects=False) as response:
            answer = await _first_bytes(response)
    except TimeoutError as error:
        raise Retry(f"{requests.origin} did not answer within {requests.timeout:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Retry(f"{requests.origin}: {cause(error)}") from error
    if not is_success(response.status):
        text = excerpt(answer, requests.confidential)
        said = f"{requests.origin} answered {response.status}" + (f": {text}" if text else "")
        raise outcome(response.status, response.headers, said, time.time())


async def _first_bytes(response: aiohttp.ClientResponse) -> bytes:
    """Read the answer as far as it is wanted; its status stands, so a body that fails or hangs changes nothing."""
    answer = bytearray()
    with anyio.move_on_after(DRAIN), suppress(aiohttp.ClientError, OSError):
        while len(answer) < ANSWER and (chunk := await response.content.read(ANSWER - len(answer))):
            answer += chunk
    return bytes(answer)


def _split(url: str) -> SplitResult:
    """Take a URL apart; raise `ConfigError` for one that no request can go to."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # its text may show a part of the URL
        raise ConfigError("url", "is no URL: its host or port cannot be read") from None
    if not valid:
        raise ConfigError("url", "is no http or https URL with a host", "such as https://crm.example.com/mail-failed")
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ConfigError("url", "has a space or a control character in it")
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

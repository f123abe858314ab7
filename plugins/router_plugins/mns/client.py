"""A client of one MNS queue: signed requests, errors by their Code, and another try where that can help."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from router_plugins.mns import wire
from router_plugins.mns.credentials import Keys
from router_plugins.mns.errors import MnsAnswerError, MnsError, MnsUnreachableError, PartialFailureError, refusal_of
from router_plugins.mns.pace import Pace
from router_plugins.mns.signing import authorization_v4, content_md5, sign_v2, sign_v4
from router_plugins.mns.wire import Fault, MnsMessage
from router_plugins.resolver import Connector

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")

VERSION = "2015-06-06"
EMPTY = "MessageNotExist"
"""The Code of an empty queue; the same status, 404, also says that the queue does not exist (PROTOCOL 1.8)."""

LOST_LEASE = frozenset({"ReceiptHandleError", EMPTY})
"""Codes for a handle that is no longer valid: the message will come again, or is gone (PROTOCOL 1.6)."""

SLOW_DOWN = "QpsLimitExceeded"
EXPIRED = "TimeExpired"
"""The Code of a request whose Date is more than 15 minutes from the service's clock (PROTOCOL 1.2, 1.8)."""

_MARGIN = 10.0
_CONNECT = 10.0
_MAX_ANSWER = 8 * 1024 * 1024
_REDIRECTS = 300
_FAILED_SERVICE = 500


class Retries(msgspec.Struct, frozen=True):
    """How often a request is tried, and the bounds of the pauses between in seconds (PROTOCOL 1.8: 1 to 60)."""

    attempts: int = 4
    shortest: float = 1.0
    longest: float = 60.0

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after that many failures: exponential, with full jitter above the half."""
        most = min(self.longest, self.shortest * 2.0 ** min(failures - 1, 32))
        return random.uniform(most / 2, most)  # noqa: S311 - to spread the load


class QueueClient:
    """Works on one queue through one aiohttp session.

    All methods raise `MnsError`, `MnsUnreachableError` and `CredentialsError`.
    """

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: str, queue: str, keys: Keys, retries: Retries, region: str
    ) -> None:
        self._session = session
        self._endpoint = endpoint.rstrip("/")
        self._queue = f"/queues/{quote(queue, safe='')}"
        self._keys = keys
        self._retries = retries
        self._region = region
        self._pace = Pace()
        self._skew = 0.0

    async def receive(self, count: int, wait: int) -> list[MnsMessage]:
        """Return up to `count` (1..16) messages; none if none came in `wait` seconds (0..30), or before."""
        query = f"?numOfMessages={count}&waitseconds={wait}"
        try:
            answer = await self._request("GET", f"{self._queue}/messages{query}", wait=wait)
        except MnsError as error:
            if error.code == EMPTY:
                return []
            raise
        return _understood(answer, wire.messages_of)

    async def peek(self, count: int) -> list[MnsMessage]:
        """Return up to `count` (1..16) messages and leave them as they are: without handles (PROTOCOL 1.6)."""
        try:
            answer = await self._request("GET", f"{self._queue}/messages?peekonly=true&numOfMessages={count}")
        except MnsError as error:
            if error.code == EMPTY:
                return []
            raise
        return _understood(answer, wire.peeked_of)

    async def delete(self, handle: str) -> None:
        """Delete one message by the newest handle that it was received with."""
        await self._request("DELETE", f"{self._queue}/messages?ReceiptHandle={quote(handle, safe='')}")

    async def delete_batch(self, handles: Sequence[str]) -> list[Fault]:
        """Delete up to 16 messages; return what went wrong for some, each with its handle."""
        try:
            await self._request("DELETE", f"{self._queue}/messages", wire.receipt_handles(handles))
        except PartialFailureError as error:
            return wire.faults_of(error.root)
        return []

    async def change_visibility(self, handle: str, seconds: int) -> str:
        """Hide a message for `seconds` (1..43200) from now; return its new handle, for the old one is void."""
        query = f"?ReceiptHandle={quote(handle, safe='')}&VisibilityTimeout={seconds}"
        answer = await self._request("PUT", f"{self._queue}/messages{query}")
        return _understood(answer, lambda root: wire.texts_of(root)["ReceiptHandle"])

    async def send(self, body: str, *, delay: int | None = None, priority: int | None = None) -> str:
        """Send a message and return its id. `delay` is in seconds; an answer that got lost makes it come twice."""
        document = wire.message(body, delay=delay, priority=priority)
        answer = await self._request("POST", f"{self._queue}/messages", document)
        return _understood(answer, lambda root: wire.texts_of(root)["MessageId"])

    async def send_batch(
        self, bodies: Sequence[str], *, delay: int | None = None, priority: int | None = None
    ) -> list[str | Fault]:
        """Send up to 16 messages of 64 KiB together; return for each its id, or why it was refused."""
        document = wire.messages(bodies, delay=delay, priority=priority)
        try:
            outcome = _understood(await self._request("POST", f"{self._queue}/messages", document), wire.outcomes_of)
        except PartialFailureError as error:  # which status it has is not known (PROTOCOL 1.6)
            outcome = wire.outcomes_of(error.root)
        if len(outcome) != len(bodies):
            raise MnsAnswerError(f"{len(outcome)} outcomes for {len(bodies)} messages")
        return outcome

    async def attributes(self) -> dict[str, str]:
        """Return the queue's attributes by their names in the API (PROTOCOL 1.7)."""
        return _understood(await self._request("GET", self._queue), wire.texts_of)

    async def _request(self, method: str, target: str, body: bytes = b"", *, wait: float = 0) -> bytes:
        """Return the body of a 2xx answer, after as many tries as are worth it."""
        failures = 0
        while True:
            await self._pace.wait()
            try:
                answer = await self._try(method, target, body, wait)
            except (MnsError, MnsUnreachableError) as error:
                failures += 1
                code = error.code if isinstance(error, MnsError) else ""
                if code == SLOW_DOWN:
                    self._pace.slow_down()
                if failures >= self._retries.attempts or not (code == EXPIRED or _worth_another_try(error)):
                    raise
            else:
                self._pace.succeed()
                return answer
            await asyncio.sleep(0.0 if code == EXPIRED else self._retries.pause(failures))

    async def _try(self, method: str, target: str, body: bytes, wait: float) -> bytes:
        """Send the request once. The target goes out as it is signed; a read may take longer than the long poll."""
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT, sock_read=wait + _MARGIN)
        try:
            async with self._session.request(
                method,
                URL(self._endpoint + target, encoded=True),
                headers=self._signed_headers(method, target, body),
                data=body or None,
                timeout=timeout,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),  # one that is added later is not signed
            ) as response:
                answer = await _read_capped(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise MnsUnreachableError(f"{self._endpoint}: {error or type(error).__name__}") from error
        if response.ok and response.status < _REDIRECTS:
            return answer
        refusal = refusal_of(response.status, answer, response.headers.get("x-mns-request-id", ""))
        if refusal.code == EXPIRED:
            self._set_clock(response.headers.get("Date", ""))
        raise refusal

    def _set_clock(self, date: str) -> None:
        """Sign with the service's time from now on; a date that is none leaves the clock as it was."""
        with suppress(ValueError):
            self._skew = parsedate_to_datetime(date).timestamp() - time.time()

    def _signed_headers(self, method: str, target: str, body: bytes) -> Mapping[str, str]:
        credentials = self._keys.current()
        now = time.time() + self._skew
        headers = {"date": formatdate(now, usegmt=True), "x-mns-version": VERSION}
        if body:
            headers |= {"content-type": "text/xml;charset=UTF-8", "content-md5": content_md5(body)}
        if credentials.security_token is not None:
            headers["security-token"] = credentials.security_token
        if self._region:
            utc = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(int(now)))
            signature = sign_v4(credentials.access_key_secret, method, target, headers, region=self._region, utc=utc)
            claim = authorization_v4(credentials.access_key_id, signature, region=self._region, utc=utc)
            return headers | {"authorization": claim}
        signature = sign_v2(credentials.access_key_secret, method, target, headers)
        return headers | {"authorization": f"MNS {credentials.access_key_id}:{signature}"}


@asynccontextmanager
async def open_queue(
    endpoint: str, queue: str, keys: Keys, *, retries: Retries | None = None, region: str = ""
) -> AsyncGenerator[QueueClient]:
    """Yield a client whose connections are closed when the block ends.

    Where a `region` is given, requests are signed after version 4 for it, else after version 2 (PROTOCOL 1.3, 1.4).
    """
    connecting = Connector(limit=0)  # each poller keeps a connection busy for as long as it polls
    async with aiohttp.ClientSession(connector=connecting, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield QueueClient(session, endpoint, queue, keys, retries or Retries(), region)


def _worth_another_try(error: MnsError | MnsUnreachableError) -> bool:
    """Say whether the same request may work in a moment (PROTOCOL 1.8)."""
    if isinstance(error, MnsUnreachableError):
        return True
    return not isinstance(error, PartialFailureError) and (error.status >= _FAILED_SERVICE or error.code == SLOW_DOWN)


def _understood(answer: bytes, reader: Callable[[Element], T]) -> T:
    """Read a 2xx answer; one that cannot be read is as good as none."""
    try:
        return reader(wire.read(answer))
    except (ValueError, KeyError) as error:
        raise MnsAnswerError(f"the answer makes no sense: {error}") from error


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > _MAX_ANSWER:
            raise MnsUnreachableError(f"an answer of more than {_MAX_ANSWER} bytes")
    return bytes(answer)

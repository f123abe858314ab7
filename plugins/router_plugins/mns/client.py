"""A client of one MNS queue: signed requests, errors by their Code, and another try where that can help."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from router import RouterError, Secret
from router_plugins.mns import wire
from router_plugins.mns.signing import content_md5, sign_v2
from router_plugins.mns.wire import Fault, MnsMessage

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")

VERSION = "2015-06-06"
EMPTY = "MessageNotExist"
"""The Code of an empty queue; the same status, 404, also says that the queue does not exist (PROTOCOL 1.8)."""

LOST_LEASE = frozenset({"ReceiptHandleError", EMPTY})
"""Codes for a handle that is no longer valid: the message will come again, or is gone (PROTOCOL 1.6)."""

_MARGIN = 10.0
_CONNECT = 10.0
_MAX_ANSWER = 8 * 1024 * 1024
_REDIRECTS = 300
_FAILED_SERVICE = 500


class MnsError(RouterError):
    """The service refused: `status` is that of HTTP, `code` and `message` are the service's own words."""

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(f"{code or 'HTTP'} ({status}): {message} [request {request_id or 'unknown'}]")
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id


class MnsUnreachableError(RouterError):
    """The service could not be reached, or gave no answer that is one; the cause has the details."""


class _PartialFailureError(MnsError):
    """A batch worked but for some."""

    def __init__(self, status: int, faults: list[Fault], request_id: str) -> None:
        super().__init__(status, faults[0].code if faults else "", f"{len(faults)} of the batch failed", request_id)
        self.faults = faults


class Credentials(msgspec.Struct, frozen=True):
    """An access key; `security_token` belongs to temporary ones (STS)."""

    access_key_id: str
    access_key_secret: Secret
    security_token: Secret | None = None


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
    """Works on one queue through one aiohttp session. All methods raise `MnsError` and `MnsUnreachableError`."""

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: str, queue: str, credentials: Credentials, retries: Retries
    ) -> None:
        self._session = session
        self._endpoint = endpoint.rstrip("/")
        self._queue = f"/queues/{quote(queue, safe='')}"
        self._credentials = credentials
        self._retries = retries

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

    async def delete(self, handle: str) -> None:
        """Delete one message by the newest handle that it was received with."""
        await self._request("DELETE", f"{self._queue}/messages?ReceiptHandle={quote(handle, safe='')}")

    async def delete_batch(self, handles: Sequence[str]) -> list[Fault]:
        """Delete up to 16 messages; return what went wrong for some, each with its handle."""
        try:
            await self._request("DELETE", f"{self._queue}/messages", wire.receipt_handles(handles))
        except _PartialFailureError as error:
            return error.faults
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

    async def attributes(self) -> dict[str, str]:
        """Return the queue's attributes by their names in the API (PROTOCOL 1.7)."""
        return _understood(await self._request("GET", self._queue), wire.texts_of)

    async def _request(self, method: str, target: str, body: bytes = b"", *, wait: float = 0) -> bytes:
        """Return the body of a 2xx answer, after as many tries as are worth it."""
        failures = 0
        while True:
            try:
                return await self._try(method, target, body, wait)
            except (MnsError, MnsUnreachableError) as error:
                failures += 1
                if failures >= self._retries.attempts or not _worth_another_try(error):
                    raise
            await asyncio.sleep(self._retries.pause(failures))

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
            ) as response:
                answer = await _read_capped(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise MnsUnreachableError(f"{self._endpoint}: {error or type(error).__name__}") from error
        if response.ok and response.status < _REDIRECTS:
            return answer
        raise _refusal(response.status, answer, response.headers.get("x-mns-request-id", ""))

    def _signed_headers(self, method: str, target: str, body: bytes) -> Mapping[str, str]:
        credentials = self._credentials
        headers = {"date": formatdate(usegmt=True), "x-mns-version": VERSION}
        if body:
            headers |= {"content-type": "text/xml;charset=UTF-8", "content-md5": content_md5(body)}
        if credentials.security_token is not None:
            headers["security-token"] = credentials.security_token
        signature = sign_v2(credentials.access_key_secret, method, target, headers)
        return headers | {"authorization": f"MNS {credentials.access_key_id}:{signature}"}


@asynccontextmanager
async def open_queue(
    endpoint: str, queue: str, credentials: Credentials, *, retries: Retries | None = None
) -> AsyncGenerator[QueueClient]:
    """Yield a client whose connections are closed when the block ends."""
    connector = aiohttp.TCPConnector(limit=0)  # each poller keeps a connection busy for as long as it polls
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield QueueClient(session, endpoint, queue, credentials, retries or Retries())


def _worth_another_try(error: MnsError | MnsUnreachableError) -> bool:
    """Say whether the same request may work in a moment (PROTOCOL 1.8)."""
    return isinstance(error, MnsUnreachableError) or error.status >= _FAILED_SERVICE or error.code == "QpsLimitExceeded"


def _understood(answer: bytes, reader: Callable[[Element], T]) -> T:
    """Read a 2xx answer; one that cannot be read is as good as none."""
    try:
        return reader(wire.read(answer))
    except (ValueError, KeyError) as error:
        raise MnsUnreachableError(f"the answer makes no sense: {error}") from error


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > _MAX_ANSWER:
            raise MnsUnreachableError(f"an answer of more than {_MAX_ANSWER} bytes")
    return bytes(answer)


def _refusal(status: int, answer: bytes, request_id: str) -> MnsError:
    """Read the error out of an answer; a proxy's page is shown as far as it fits a line."""
    try:
        root = wire.read(answer)
    except ValueError:
        return MnsError(status, "", " ".join(answer[:200].decode("utf-8", "replace").split()), request_id)
    faults = wire.faults_of(root)
    if root.tag.endswith("Errors"):
        return _PartialFailureError(status, faults, request_id)
    fault = faults[0]
    return MnsError(status, fault.code, fault.message, fault.request_id or request_id)

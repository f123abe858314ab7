"""Temporary access keys from an HTTP address, renewed before they expire.

It is the form of Alibaba's SDKs (`ALIBABA_CLOUD_CREDENTIALS_URI`): a GET answers 200 and JSON with `Code` (`Success`),
`AccessKeyId`, `AccessKeySecret`, `SecurityToken` and `Expiration`. The metadata service of an ECS instance speaks it
too (`http://100.100.100.200/latest/meta-data/ram/security-credentials/ROLE`); in its hardened mode it first wants a
token of its own, which is asked for where the path is one of its. A renewal begins 15 minutes ahead, as in the SDKs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
import anyio
import structlog

from router import Secret
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.credentials import Credentials, CredentialsError, Document, document_of
from router_plugins.resolver import Connector

AHEAD = 900.0
"""Seconds before the expiration at which a key is renewed; half of its lifetime, where that is less."""

_METADATA = "/latest/meta-data/"
_TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
_TOKEN_LIFETIME = {"X-aliyun-ecs-metadata-token-ttl-seconds": "21600"}
_TOKEN_HEADER = "X-aliyun-ecs-metadata-token"  # noqa: S105 - the name of a header
_TIMEOUT = aiohttp.ClientTimeout(total=10.0, connect=5.0)
_MAX_SIZE = 64 * 1024
_RETRY_MIN = 1.0
_RETRY_MAX = 60.0
_SHORTEST = 1.0
"""Seconds between two renewals at least, however soon a key expires."""
_LOOK_EVERY = 60.0

_log = structlog.get_logger(__name__)


class CredentialsUri:
    """The newest key of an address; `keep_fresh` must run beside. `now` is in Unix seconds.

    While renewing fails, the last key stays in use until it expires.
    """

    def __init__(self, uri: Secret, *, now: Callable[[], float] = time.time) -> None:
        self._uri = uri
        self._now = now
        self._document: Document | None = None
        self._problem = "not asked yet"

    @property
    def origin(self) -> str:
        """What of the address may be shown."""
        parts = urlsplit(self._uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def current(self) -> Credentials:
        """Return the newest key; raises `CredentialsError` where there is none that is still good."""
        if self._document is None or self._left() <= 0:
            expired = "" if self._document is None else "the access key expired; "
            raise CredentialsError(f"{self.origin}: {expired}{self._problem}")
        return self._document.credentials()

    async def keep_fresh(self, complain: Complaints, fetched: Callable[[], None]) -> None:
        """Renew the key for ever; call `fetched` after the first try, whatever came of it."""
        failures = 0
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=Connector(), cookie_jar=jar, timeout=_TIMEOUT) as session:
            while True:
                try:
                    self._take(await self._fetch(session))
                    failures = 0
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                    failures += 1
                    self._problem = str(error) or type(error).__name__
                    complain("refresh_failed", origin=self.origin, error=self._problem, seconds_left=self._left())
                fetched()
                if failures:
                    await anyio.sleep(min(_RETRY_MAX, _RETRY_MIN * 2.0 ** min(failures - 1, 32)))
                else:
                    await self._wait_due()

    def _take(self, document: Document) -> None:
        if document.expiration is None or document.security_token is None:
            raise ValueError("the answer has no Expiration or no SecurityToken")
        if document.expiration.timestamp() <= self._now():
            raise ValueError(f"the key that it gives expired at {document.expiration.isoformat()}")
        self._document, self._problem = document, ""
        _log.info("access key renewed", origin=self.origin, expires=document.expiration.isoformat())

    def _left(self) -> float:
        """Return the seconds until the key expires."""
        expiration = None if self._document is None else self._document.expiration
        return 0.0 if expiration is None else round(expiration.timestamp() - self._now(), 1)

    async def _wait_due(self) -> None:
        """Wait until the key is to be renewed, also when the clock is set meanwhile."""
        left = self._left()
        due = self._now() + max(_SHORTEST, left - AHEAD, left / 2)
        while (wait := due - self._now()) > 0:  # noqa: ASYNC110 - no event says that a clock was set
            await anyio.sleep(min(wait, _LOOK_EVERY))

    async def _fetch(self, session: aiohttp.ClientSession) -> Document:
        headers: Mapping[str, str] = {}
        if urlsplit(self._uri).path.startswith(_METADATA):
            headers = await self._metadata_token(session)
        status, body = await _answer(session, "GET", self._uri, headers)
        if status != HTTPStatus.OK:
            raise ValueError(f"status {status}")
        return document_of(body)

    async def _metadata_token(self, session: aiohttp.ClientSession) -> Mapping[str, str]:
        """Return the header that the hardened mode wants; none where the service knows no such thing."""
        status, body = await _answer(session, "PUT", self.origin + _TOKEN_PATH, _TOKEN_LIFETIME)
        return {_TOKEN_HEADER: body.decode("ascii").strip()} if status == HTTPStatus.OK else {}


async def _answer(
    session: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    """Return the status and the body of an answer; raises ValueError when that is too long."""
    async with session.request(method, url, headers=headers, allow_redirects=False) as response:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _MAX_SIZE:
                raise ValueError(f"an answer of more than {_MAX_SIZE} bytes")
        return response.status, bytes(body)

"""The keys that pushes are signed with: which certificate URLs are trusted, fetched with limits, remembered.

The certificate in use was expired and had 512 bits in 2023, and still signed; so neither its dates nor its chain
are checked, and trust comes from HTTPS and the host alone (PROTOCOL 2.3). Both are worth a warning.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import Certificate, load_pem_x509_certificate

from router import PemFile

DOCUMENTED_URLS = ("https://mnstest.oss-cn-hangzhou.aliyuncs.com/", "https://mns-cert.oss-cn-{region}.aliyuncs.com/")
"""The prefixes that the service documents (PROTOCOL 2.3); `{region}` stands for one name."""

WEAK_BITS = 2048
_MAX_SIZE = 32 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=4.0)  # the service waits 5 s for its answer (PROTOCOL 2.6)
_MAX_KEYS = 64
_MAX_FAILURES = 256
_FAILURE_SECONDS = 10.0
_REFRESH_SECONDS = 24 * 3600.0
_DOUBTED_SECONDS = 60.0
_FETCHES = 4

_log = structlog.get_logger(__name__)


class TrustedUrls:
    """An allow-list of URL prefixes, each `https://host/...` (or `http://`, where somebody insists).

    Raises ValueError for a prefix that does not fix scheme and host.
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        self._pattern = re.compile("|".join(_prefix_pattern(prefix) for prefix in prefixes) or r"(?!)")

    def __contains__(self, url: str) -> bool:
        """Say whether the URL is one of a plain file under a trusted prefix."""
        return self._pattern.fullmatch(url) is not None


def _prefix_pattern(prefix: str) -> str:
    """Match the prefix and a plain path after it: no query, no escapes, no dot segments, so no other reading."""
    parts = urlsplit(prefix.replace("{region}", "region"))
    if "{" in parts.geturl() or "}" in parts.geturl():
        raise ValueError(f"{prefix!r} has braces for something else than {{region}}")
    if parts.scheme not in {"https", "http"} or not parts.hostname or not parts.path.startswith("/"):
        raise ValueError(f"{prefix!r} is no prefix like 'https://host/'")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{prefix!r} has more than scheme, host and path")
    fixed = re.escape(prefix).replace(re.escape("{region}"), "[a-z0-9]+(?:-[a-z0-9]+)*")
    return fixed + r"(?!(?:[^/]*/)*\.\.?(?:/|$))[A-Za-z0-9._/-]*"


def key_of(certificate: Certificate) -> RSAPublicKey:
    """Return the certificate's key; raises ValueError where that is not RSA."""
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise ValueError("the certificate's key is not RSA")  # noqa: TRY004 - a wrong file, not a wrong call
    return key


def pinned_key(file: PemFile | None) -> RSAPublicKey | None:
    """Return the key of the certificate in a PEM file, None without one; raises ValueError."""
    if file is None:
        return None
    try:
        return key_of(load_pem_x509_certificate(file.content))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def log_strength(certificate: Certificate, key: RSAPublicKey, origin: str) -> None:
    """Log which certificate is in use, with a warning of what is wrong with it and accepted all the same."""
    problems: list[str] = []
    if key.key_size < WEAK_BITS:
        problems.append("a key so short can be broken: put a secret into the path as well")
    if certificate.not_valid_after_utc < datetime.now(UTC):
        problems.append(f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    say = _log.warning if problems else _log.info
    say("certificate that signs pushes", origin=origin, bits=key.key_size, problems=problems)


class _Held(NamedTuple):
    """A key, with the monotonic times at which it was fetched and is to be fetched again."""

    key: RSAPublicKey
    fetched: float
    due: float


class Certificates:
    """Keys by the URL of their certificate: bounded, fetched again once a day, failures kept briefly.

    Failures have a place of their own, so that made-up URLs under a trusted prefix displace no good key; and a key
    that was good outlives a failure to fetch it again. `now` is a monotonic clock in seconds.
    """

    def __init__(self, session: aiohttp.ClientSession, *, now: Callable[[], float] = monotonic) -> None:
        self._session = session
        self._now = now
        self._keys: OrderedDict[str, _Held] = OrderedDict()
        self._failures: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._few = asyncio.Semaphore(_FETCHES)

    def known(self, url: str) -> RSAPublicKey | str | None:
        """Return the key, or why there was none a moment ago; None where the URL has to be fetched (again)."""
        now = self._now()
        held = self._keys.get(url)
        if held is not None:
            return held.key if now < held.due else None
        failed = self._failures.get(url)
        return failed[0] if failed is not None and now < failed[1] else None

    def may_have_changed(self, url: str) -> bool:
        """Say whether a key that does not fit a signature is old enough to be fetched again because of it."""
        held = self._keys.get(url)
        return held is not None and self._now() - held.fetched > _DOUBTED_SECONDS

    async def fetch(self, url: str) -> None:
        """Fetch the certificate, and remember its key or why there is none."""
        async with self._few:
            try:
                key = self._checked(url, await self._download(url))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self._remember_failure(url, str(error) or type(error).__name__)
                return
        now = self._now()
        self._failures.pop(url, None)
        self._keys[url] = _Held(key, now, now + _REFRESH_SECONDS)
        while len(self._keys) > _MAX_KEYS:
            self._keys.popitem(last=False)

    async def _download(self, url: str) -> bytes:
        """Return what is behind the URL; a redirect is an error, as it leads away from the allow-list."""
        async with self._session.get(url, allow_redirects=False, timeout=_TIMEOUT) as response:
            if response.status != 200:  # noqa: PLR2004 - the one success of a GET
                raise ValueError(f"status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(_MAX_SIZE):
                body += chunk
                if len(body) > _MAX_SIZE:
                    raise ValueError(f"more than {_MAX_SIZE} bytes")
            return bytes(body)

    def _checked(self, url: str, pem: bytes) -> RSAPublicKey:
        """Return the certificate's key; the first time, say how good it is."""
        certificate = load_pem_x509_certificate(pem)
        key = key_of(certificate)
        if url not in self._keys:
            log_strength(certificate, key, url)
        return key

    def _remember_failure(self, url: str, reason: str) -> None:
        _log.warning("push certificate not fetched", url=url, reason=reason)
        now = self._now()
        if url in self._keys:
            self._keys[url] = _Held(self._keys[url].key, now, now + _FAILURE_SECONDS)
            return
        self._failures[url] = (reason, now + _FAILURE_SECONDS)
        while len(self._failures) > _MAX_FAILURES:
            self._failures.popitem(last=False)

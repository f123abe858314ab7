"""Whether a push is what it says: where its certificate is, how old it is, its signature, its body, its topic."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from math import inf
from typing import NamedTuple, Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from router_plugins.mns.certificate import Certificates, TrustedUrls
from router_plugins.mns.diagnosis import date_problem, signature_problem
from router_plugins.mns.genuine import is_genuine
from router_plugins.mns.signing import body_matches
from router_plugins.mns.topics import WantedTopics, topic_of

_TRY_AGAIN = 10.0


class Refused(NamedTuple):
    """Why a push is not taken: what it counts as, the answer's status, and a line for people."""

    kind: str
    reason: str
    status: HTTPStatus = HTTPStatus.FORBIDDEN
    retry_after: float | None = None


class Awaited(NamedTuple):
    """The certificate that has to be fetched before a push can be judged."""

    url: str


Verdict: TypeAlias = Refused | Awaited | None
"""None for a push that is taken."""


class KeySource(NamedTuple):
    """Where keys come from: one pinned key for all pushes, or the certificate that a push names."""

    pinned: RSAPublicKey | None
    trusted: TrustedUrls
    certificates: Certificates

    def key_for(self, url: str | None, header: str) -> RSAPublicKey | Refused | Awaited:
        """Return the key that a push must be signed with, which names `url` in the `header`; or why there is none."""
        if self.pinned is not None:
            return self.pinned
        if url is None or url not in self.trusted:
            problem = "missing, or no URL in base64" if url is None else "not one of `certificate_urls`"
            return Refused("wrong_certificate_url", f"{header} is {problem}")
        known = self.certificates.known(url)
        if isinstance(known, str):
            reason = "the certificate cannot be fetched now"
            return Refused("no_certificate", reason, HTTPStatus.SERVICE_UNAVAILABLE, _TRY_AGAIN)
        return Awaited(url) if known is None else known

    def doubt(self, url: str | None) -> Awaited | None:
        """Ask for the certificate of a push that seems forged once more, in case it was replaced in its place."""
        if self.pinned is not None or url is None or not self.certificates.may_have_changed(url):
            return None
        return Awaited(url)


class Judging(Protocol):
    """What decides whether a push is taken."""

    def verdict(self, target: bytes, headers: Mapping[bytes, bytes], body: bytes, now: float) -> Verdict:
        """Judge one push; `headers` have lower-cased names, `now` is in Unix seconds."""
        ...


class Judge(NamedTuple):
    """What is asked of a push: `keys` and `topics` are None where anything will do; `max_age` is in seconds.

    `signed_path`: the path that was signed, where a proxy on the way changed it; empty where none did. `max_content`:
    bytes that a body may have without its content coding.
    """

    keys: KeySource | None
    topics: WantedTopics | None
    max_age: float
    signed_path: bytes = b""
    max_content: int = 256 * 1024

    def verdict(self, target: bytes, headers: Mapping[bytes, bytes], body: bytes, now: float) -> Verdict:
        """Judge one push; `headers` have lower-cased names, `now` is in Unix seconds."""
        if self.keys is not None:
            verdict = self._signature_verdict(self.keys, target, headers, body, now)
            if verdict is not None:
                return verdict
        if self.topics is not None and topic_of(headers, body, self.max_content) not in self.topics:
            return Refused("wrong_topic", "this topic is not wanted here")
        return None

    def _signature_verdict(
        self, keys: KeySource, target: bytes, headers: Mapping[bytes, bytes], body: bytes, now: float
    ) -> Verdict:
        """Check what needs no key, then the signature, then the body."""
        if self.max_age and not abs(now - _signed_at(headers)) <= self.max_age:
            return Refused("stale", date_problem(headers, now, self.max_age))
        url = None if keys.pinned is not None else certificate_url(headers.get(b"x-mns-signing-cert-url", b""))
        key = keys.key_for(url, "x-mns-signing-cert-url")
        if isinstance(key, (Refused, Awaited)):
            return key
        if self.signed_path:
            target = b"".join((self.signed_path, *target.partition(b"?")[1:]))
        if not is_genuine(key, target, headers):
            return keys.doubt(url) or Refused("bad_signature", signature_problem(key, target, headers))
        claim = headers.get(b"content-md5", b"").decode("latin-1")
        if not body_matches(claim, body):
            problem = "not that of the body, which was changed on the way" if claim else "missing"
            return keys.doubt(url) or Refused("body_mismatch", f"Content-md5 is {problem}")
        return None


@lru_cache(maxsize=64)  # a certificate signs for years; decoding alone, for what is trusted is not the same everywhere
def certificate_url(header: bytes) -> str | None:
    """Return the URL in `x-mns-signing-cert-url`, which is in base64 (PROTOCOL 2.1); None where there is none."""
    try:
        return binascii.a2b_base64(header, strict_mode=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None


def _signed_at(headers: Mapping[bytes, bytes]) -> float:
    """Return the Unix seconds of the date that is signed (PROTOCOL 1.2); infinity where there is none."""
    return _unix_seconds(headers.get(b"x-mns-date") or headers.get(b"date", b""))


@lru_cache(maxsize=256)  # the pushes of one second have the same Date, and parsing it costs as much as all the rest
def _unix_seconds(date: bytes) -> float:
    try:
        return parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return inf

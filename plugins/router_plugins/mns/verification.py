"""Whether a push is what it says: where its certificate is, how old it is, its signature, its body, its topic."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from math import inf
from typing import NamedTuple, Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from router_plugins.mns.certificate import Certificates, TrustedUrls
from router_plugins.mns.signing import body_matches, push_is_genuine, signed_date
from router_plugins.mns.topics import WantedTopics, topic_of

_TRY_AGAIN = 10.0
_COVERED = frozenset({b"content-md5", b"content-type", b"date", b"authorization"})


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
            return Refused("wrong_certificate_url", f"{header} is missing or not one of the allowed")
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

    `signed_path`: the path that was signed, where a proxy on the way changed it; empty where none did.
    """

    keys: KeySource | None
    topics: WantedTopics | None
    max_age: float
    signed_path: bytes = b""

    def verdict(self, target: bytes, headers: Mapping[bytes, bytes], body: bytes, now: float) -> Verdict:
        """Judge one push; `headers` have lower-cased names, `now` is in Unix seconds."""
        if self.keys is None and self.topics is None:
            return None
        covered = covered_headers(headers)
        if self.keys is not None:
            stale = refusal_of_date(covered, now, self.max_age)
            if stale is not None:
                return stale
            url = certificate_url(covered)
            key = self.keys.key_for(url, "x-mns-signing-cert-url")
            if not isinstance(key, RSAPublicKey):
                return key
            if self.signed_path:
                target = b"".join((self.signed_path, *target.partition(b"?")[1:]))
            forged = refusal_of_signature(key, target, covered, body)
            if forged is not None:
                return self.keys.doubt(url) or forged
        if self.topics is not None and topic_of(covered, body) not in self.topics:
            return Refused("wrong_topic", "this topic is not wanted here")
        return None


def covered_headers(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the headers that a signature covers, as `signing` wants them, and `authorization`."""
    names = [name for name in headers if name.startswith(b"x-mns-") or name in _COVERED]
    # Decoded all at once, as no value has a line break in it: one by one they cost three times as much.
    texts = b"\n".join([headers[name] for name in names]).decode("utf-8", "surrogateescape").split("\n")
    return dict(zip(b"\n".join(names).decode("ascii").split("\n"), texts, strict=True))


def certificate_url(headers: Mapping[str, str]) -> str | None:
    """Return the URL in `x-mns-signing-cert-url`, which is in base64 (PROTOCOL 2.1); None where there is none."""
    try:
        return b64decode(headers["x-mns-signing-cert-url"], validate=True).decode("ascii")
    except (KeyError, binascii.Error, ValueError):
        return None


def refusal_of_date(headers: Mapping[str, str], now: float, max_age: float) -> Refused | None:
    """Refuse a push that was signed more than `max_age` seconds before or after `now` (Unix seconds); 0 allows all."""
    if max_age and not abs(now - _unix_seconds(signed_date(headers))) <= max_age:
        return Refused("stale", f"Date is missing or more than {max_age:.0f} s from the clock here")
    return None


def refusal_of_signature(key: RSAPublicKey, target: bytes, headers: Mapping[str, str], body: bytes) -> Refused | None:
    """Refuse a push that the key did not sign, or whose body is not the one that was signed for (PROTOCOL 2.2)."""
    if not push_is_genuine(key, "POST", target.decode("utf-8", "surrogateescape"), headers):
        return Refused("bad_signature", "the signature is missing or wrong")
    if not body_matches(headers.get("content-md5", ""), body):
        return Refused("body_mismatch", "Content-md5 is missing or not that of the body")
    return None


@lru_cache(maxsize=256)  # the pushes of one second have the same Date, and parsing it costs as much as all the rest
def _unix_seconds(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return inf

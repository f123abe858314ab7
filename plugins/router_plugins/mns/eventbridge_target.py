"""EventBridge's HTTP target on the push listener: its settings, and whether a request is what it says."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from router import ConfigError, PemFile, Secret
from router.units import Duration
from router_plugins.mns import eventbridge
from router_plugins.mns.certificate import Certificates, TrustedUrls, pinned_key
from router_plugins.mns.eventbridge import DOCUMENTED_URLS, SIGNATURE, TIMESTAMP, TOKEN, SignatureVersion
from router_plugins.mns.routes import path_of
from router_plugins.mns.verification import Judge, KeySource, Refused, Verdict

_PREFIX = b"x-eventbridge-"
_MILLISECONDS = re.compile(r"[0-9]{1,15}")


class EventBridge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP target of an EventBridge rule, which pushes CloudEvents to this listener."""

    url: Secret
    """The URL of the target, exactly as it stands in EventBridge: signatures cover it."""
    path: Secret = Secret("")
    """The path here, where a proxy on the way changes it; default: that of `url`."""
    token: Secret | None = None
    """The token that the target has in EventBridge. Without it, anybody's EventBridge may push here."""
    signatures: Annotated[tuple[SignatureVersion, ...], msgspec.Meta(min_length=1)] = ("v2",)
    """Versions that are taken. Whoever was ever pushed to can forge v1 but for the token, so it needs one."""
    certificate: PemFile | None = None
    """A PEM file: only this certificate's key is accepted, and none is fetched."""
    certificate_urls: tuple[str, ...] = DOCUMENTED_URLS
    """Prefixes of the URLs that certificates are fetched from: those of the regions that have DirectMail."""
    max_age: Duration = 60.0
    """Seconds that a push's timestamp may differ from the clock here; 0 accepts any."""

    @property
    def here(self) -> str:
        """The path on this listener."""
        return self.path or urlsplit(self.url).path or "/"

    def check(self) -> None:
        """Refuse what cannot work; raise `ConfigError` with the field's name as the place."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "#" in self.url or not self.url.isprintable():
            raise ConfigError("url", "is no URL of an HTTP target", "as it stands in EventBridge: https://host/path")
        if not self.here.startswith("/") or not self.here.isascii() or set("?# ") & set(self.here):
            raise ConfigError("path", "is not a path", "like /events/SECRET: ASCII, without a query")
        if self.token is not None and not (self.token and self.token.isascii() and self.token.isprintable()):
            raise ConfigError("token", "cannot stand in a header")
        if "v1" in self.signatures and self.token is None:
            raise ConfigError("signatures", "v1 can be forged by all who know no token", "set `token`, or take v2 only")
        try:
            TrustedUrls(self.certificate_urls)
        except ValueError as error:
            raise ConfigError("certificate_urls", str(error), "like https://host/") from error
        try:
            pinned_key(self.certificate)
        except (ValueError, OSError) as error:
            raise ConfigError("certificate", str(error), "a PEM file with an RSA certificate") from error

    def judge(self, certificates: Certificates, *, verify: bool) -> EventBridgeJudge:
        """Return what judges this target's requests."""
        keys = KeySource(pinned_key(self.certificate), TrustedUrls(self.certificate_urls), certificates)
        return EventBridgeJudge(self, keys if verify else None)


class EventBridgeJudge(NamedTuple):
    """What is asked of a push; `keys` is None where signatures are not checked."""

    target: EventBridge
    keys: KeySource | None

    def verdict(self, _target: bytes, headers: Mapping[bytes, bytes], body: bytes, now: float) -> Verdict:
        """Judge one push; `headers` have lower-cased names, `now` is in Unix seconds."""
        covered = {
            name.decode("ascii"): value.decode("utf-8", "surrogateescape")
            for name, value in headers.items()
            if name.startswith(_PREFIX)
        }
        refusal = self._refusal(covered, now)
        if refusal is not None or self.keys is None:
            return refusal
        url = covered.get(eventbridge.URL)
        key = self.keys.key_for(url, eventbridge.URL)
        if not isinstance(key, RSAPublicKey):
            return key
        version = self._version(covered)
        if version is None or not eventbridge.is_genuine(version, key, self.target.url, covered, body):
            return self.keys.doubt(url) or Refused("bad_signature", "the signature is wrong, or of another URL")
        return None

    def _refusal(self, covered: Mapping[str, str], now: float) -> Refused | None:
        """Find what is wrong before any key is needed."""
        token = self.target.token
        if token is not None and not _equal(token, covered.get(TOKEN, "")):
            return Refused("wrong_token", f"{TOKEN} is missing or wrong")
        if self.keys is None:
            return None
        if self._version(covered) is None:
            there = ", ".join(v for v, name in SIGNATURE.items() if name in covered) or "no signature"
            return Refused("bad_signature", f"there is {there}, and taken are {', '.join(self.target.signatures)}")
        stamp = covered.get(TIMESTAMP, "")
        age = abs(now - int(stamp) / 1000) if _MILLISECONDS.fullmatch(stamp) else None
        if self.target.max_age and (age is None or age > self.target.max_age):
            return Refused("stale", f"{TIMESTAMP} is missing or more than {self.target.max_age:.0f} s off")
        return None

    def _version(self, covered: Mapping[str, str]) -> SignatureVersion | None:
        """Return the first version that is taken and there: a wrong one is not made up for by another."""
        return next((version for version in self.target.signatures if SIGNATURE[version] in covered), None)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "surrogateescape"))


class ByPath(NamedTuple):
    """Two judges: one for a path, and one for all else."""

    usual: Judge
    path: bytes
    other: EventBridgeJudge

    def verdict(self, target: bytes, headers: Mapping[bytes, bytes], body: bytes, now: float) -> Verdict:
        """Let the one judge that the path belongs to."""
        judge = self.other if path_of(target) == self.path else self.usual
        return judge.verdict(target, headers, body, now)

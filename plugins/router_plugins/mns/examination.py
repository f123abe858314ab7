"""What is right and wrong with a captured push, for `router doctor`: each thing that is checked, what was changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from router import harmless
from router_plugins.mns.captured import Captured
from router_plugins.mns.certificate import TrustedUrls
from router_plugins.mns.diagnosis import Variant, date_problem, signature_problem, signed_digest, variants
from router_plugins.mns.genuine import is_genuine, signed_text
from router_plugins.mns.http.request_line import origin_form
from router_plugins.mns.routes import path_of
from router_plugins.mns.signing import body_matches
from router_plugins.mns.topics import WantedTopics, topic_of
from router_plugins.mns.verification import certificate_url

_NEEDED = ("Authorization", "Content-md5", "Content-Type", "Date", "x-mns-version", "x-mns-signing-cert-url")
_MOST = 3
"""Explanations that are shown at most."""


class Finding(NamedTuple):
    """One line, and whether it keeps the push from being taken."""

    text: str
    bad: bool = False


class Examination(NamedTuple):
    """How a listener would judge: `key` is None where none is at hand."""

    path: bytes
    signed_path: bytes
    key: RSAPublicKey | None
    trusted: TrustedUrls
    topics: WantedTopics | None
    max_age: float

    def findings(self, push: Captured, now: float) -> Iterator[Finding]:
        """Yield what is found, in the order in which a listener looks; `now` is in Unix seconds."""
        headers = push.joined()
        push = push._replace(target=origin_form(push.target) or push.target)
        yield from (Finding(f"file            {_shown(note.encode())}") for note in push.notes)
        if any(name.startswith(b"x-eventbridge-") for name in headers):
            yield Finding("a push of EventBridge, which signs in another way: it is not examined here", bad=True)
            return
        target = self._target(push.target)
        yield from self._place(push, target)
        yield from _headers(push, headers)
        yield from self._date(headers, now)
        yield from self._certificate(headers)
        yield Finding("string to sign, as it is computed here:")
        yield from (Finding(f"    {line}") for line in _shown(signed_text(target, headers)).split("\n"))
        yield from self._signature(push, target, headers)
        claim = headers.get(b"content-md5", b"").decode("latin-1")
        fits = body_matches(claim, push.body)
        digest = hashlib.md5(push.body, usedforsecurity=False).hexdigest()
        about = "is that of the body" if fits else f"is not that of the body ({len(push.body)} bytes, {digest.upper()})"
        yield Finding(f"body            Content-md5 {about}", bad=not fits)
        if self.topics is not None:
            topic = topic_of(headers, push.body)
            wanted = topic in self.topics
            named = f"{topic.owner}:topics/{topic.name}" if topic.name else "(not named)"
            shown = _shown(named.encode("utf-8", "surrogateescape")).replace("\n", " ")
            yield Finding(f"topic           {shown} is {'wanted' if wanted else 'not one of `topics`'}", bad=not wanted)

    def _target(self, target: bytes) -> bytes:
        return b"".join((self.signed_path, *target.partition(b"?")[1:])) if self.signed_path else target

    def _place(self, push: Captured, target: bytes) -> Iterator[Finding]:
        yield Finding(f"target          {_shown(push.method)} {_shown(push.target)}", bad=push.method != b"POST")
        if push.method != b"POST":
            yield Finding("                pushes are POST: a redirect on the way makes a GET of one")
        if path_of(push.target) != self.path:
            yield Finding("                the listener's `path` is another one (see --path): 404", bad=True)
        by = "`signed_path` and the query seen" if self.signed_path else "as seen: no `signed_path` is set"
        yield Finding(f"signed target   {_shown(target)} ({by})")

    def _date(self, headers: Mapping[bytes, bytes], now: float) -> Iterator[Finding]:
        problem = date_problem(headers, now, 0)
        if problem.startswith("Date is more than"):
            yield Finding(
                f"date            can be read; at the time of the push it must be within {self.max_age:.0f} s"
            )
        else:
            yield Finding(f"date            {problem}", bad=True)

    def _certificate(self, headers: Mapping[bytes, bytes]) -> Iterator[Finding]:
        url = certificate_url(headers.get(b"x-mns-signing-cert-url", b""))
        if url is None:
            yield Finding("certificate     x-mns-signing-cert-url is missing or no base64", bad=self.key is None)
            return
        trusted = url in self.trusted
        about = "trusted" if trusted else "not one of `certificate_urls`"
        yield Finding(f"certificate     {_shown(url.encode())}: {about}", bad=not trusted and self.key is None)
        if self.key is None and trusted:
            yield Finding(f"                nothing is fetched: curl -fo push.pem {url} && ... --certificate push.pem")

    def _signature(self, push: Captured, target: bytes, headers: Mapping[bytes, bytes]) -> Iterator[Finding]:
        if self.key is None:
            missing = not headers.get(b"authorization")
            why = "Authorization is missing" if missing else "not checked: no certificate is at hand"
            yield Finding(f"signature       {why}", bad=missing)
        elif is_genuine(self.key, target, headers):
            yield Finding("signature       right")
        else:
            yield Finding(f"signature       wrong: {signature_problem(self.key, target, headers)}", bad=True)
            found = list(dict.fromkeys(_explanations(self.key, push, target, headers)))
            yield from (Finding(f"                it would be right if: {text}") for text in found[:_MOST])


def _headers(push: Captured, headers: Mapping[bytes, bytes]) -> Iterator[Finding]:
    for name in _NEEDED:
        values = [value for other, value in push.headers if other.lower() == name.lower().encode()]
        if name == "Date" and not values and headers.get(b"x-mns-date"):
            continue
        if not any(values):
            yield Finding(
                f"header          {name} is missing: a proxy dropped it, or this is no push", bad=name in _NEEDED[:4]
            )
        elif len(values) > 1:
            yield Finding(f"header          {name} stands {len(values)} times: a proxy added its own", bad=True)


def _explanations(key: RSAPublicKey, push: Captured, target: bytes, headers: Mapping[bytes, bytes]) -> Iterator[str]:
    """Yield the changes, one or else two at once, that make of what was signed what came."""
    signed = signed_digest(key, headers.get(b"authorization", b""))
    if signed is None:
        return
    ones = list(_all(push, target, headers))
    right = [one.change for one in ones if _is_of(one, signed)]
    yield from right
    if not right:
        for one in ones:
            for other in variants(one.target, one.headers, push.body):
                if one.change < other.change and _is_of(other, signed):
                    yield f"{one.change}, and {other.change}"


def _all(push: Captured, target: bytes, headers: Mapping[bytes, bytes]) -> Iterator[Variant]:
    if target != push.target:
        yield Variant("`signed_path` is taken out of the config: the target seen was signed", push.target, headers)
    yield from variants(target, headers, push.body)


def _is_of(variant: Variant, signed: bytes) -> bool:
    return hashlib.sha1(signed_text(variant.target, variant.headers)).digest() == signed  # noqa: S324 - as is signed


def _shown(raw: bytes) -> str:
    """Return text for a terminal: what cannot be seen is escaped, but for line feeds."""
    return "\n".join(harmless(line) for line in raw.decode("utf-8", "backslashreplace").split("\n"))

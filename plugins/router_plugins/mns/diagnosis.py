"""Why a push's signature or date is not right: what was changed on its way, found by trying what may have been signed.

`headers` have lower-cased names; one that stood twice has both values, with a comma between them. `target` is path and
query. Everything here is pure, and only asked when something is wrong; what is said holds nothing that is secret.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1

from router_plugins.mns.genuine import signed_text

_TYPES = (b"text/plain;charset=utf-8", b"text/xml;charset=utf-8", b"application/json;charset=utf-8", b"")
_MOST_PARTS = 8
"""Parts at the front of a path that a proxy may have put there."""

Headers = Mapping[bytes, bytes]


class Variant(NamedTuple):
    """Something that may have been signed; `change` says what would then have been done to it on the way."""

    change: str
    target: bytes
    headers: Headers


def signature_problem(key: RSAPublicKey, target: bytes, headers: Headers) -> str:
    """Say why a push is not signed as it came."""
    claim = headers.get(b"authorization", b"")
    if not claim:
        return "Authorization is missing: this is no push of MNS, or a proxy dropped it"
    if b"," in claim:
        return "there are two Authorization headers, or a proxy put its own there"
    signed = signed_digest(key, claim)
    if signed is None:
        return "Authorization is no signature by this key: a proxy put its own there, or it is another certificate's"
    found = next((one for one in variants(target, headers) if _digest(one) == signed), None)
    if found is not None:
        return f"the signature is right, but {found.change}"
    if two_dates(headers):
        return "there are two Dates"
    return "the signature is of something else: the path or a signed header was changed on the way"


def date_problem(headers: Headers, now: float, max_age: float) -> str:
    """Say why a push's date is not near enough to the clock here, in Unix seconds."""
    date = headers.get(b"x-mns-date") or headers.get(b"date", b"")
    if not date:
        more = "" if headers.get(b"authorization") else ", and Authorization, too: this is no push of MNS"
        return f"Date is missing{more}"
    if two_dates(headers):
        return "there are two Dates: a proxy added its own"
    try:
        age = now - parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return "Date is no date"
    late = "before" if age > 0 else "after"
    return f"Date is more than {max_age:.0f} s {late} the clock here"


def two_dates(headers: Headers) -> bool:
    """Say whether `Date` stood twice: each has one comma of its own."""
    return headers.get(b"date", b"").count(b",") > 1


def signed_digest(key: RSAPublicKey, claim: bytes) -> bytes | None:
    """Return the SHA-1 that `Authorization` signs; None where it signs none by this key."""
    try:
        return key.recover_data_from_signature(a2b_base64(claim, strict_mode=True), PKCS1v15(), SHA1())  # noqa: S303
    except (binascii.Error, InvalidSignature):
        return None


def _digest(variant: Variant) -> bytes:
    return hashlib.sha1(signed_text(variant.target, variant.headers)).digest()  # noqa: S324 - as the service signs


def variants(target: bytes, headers: Headers, body: bytes | None = None) -> Iterator[Variant]:
    """Yield what may have been signed in place of this, one change at a time; with the body, also its MD5."""
    for change, other in _targets(target):
        yield Variant(change, other, headers)
    for kind in _types(headers.get(b"content-type", b"")):
        was = f"`{_ascii(kind)}`" if kind else "not there"
        yield Variant(f"Content-Type was changed: signed was {was}", target, _with(headers, b"content-type", kind))
    for name in (b"date", b"content-md5", b"content-type"):
        yield from _doubled(name, target, headers)
    yield Variant("a proxy added x-mns-date", target, _with(headers, b"x-mns-date", b""))
    for name in [name for name in headers if name.startswith(b"x-mns-")]:
        yield Variant(f"{_ascii(name)} was added on the way", target, _with(headers, name, b""))
        yield from _doubled(name, target, headers)
    if body is not None:
        digest = hashlib.md5(body, usedforsecurity=False)
        text = digest.hexdigest()
        for claim in (text.upper(), text, b64encode(text.encode()).decode(), b64encode(digest.digest()).decode()):
            change = "Content-md5 was changed or dropped"
            yield Variant(change, target, _with(headers, b"content-md5", claim.encode()))


def _targets(target: bytes) -> Iterator[tuple[str, bytes]]:
    path, mark, query = target.partition(b"?")
    if mark:
        yield "a proxy added a query", path
    slashed = path.removesuffix(b"/") or b"/" if path.endswith(b"/") else path + b"/"
    yield "the slash at the end of the path was added or dropped", slashed + mark + query
    for other in (unquote_to_bytes(path), quote_from_bytes(unquote_to_bytes(path)).encode()):
        yield "escapes (%41) in the path were changed", other + mark + query
    parts = path.split(b"/")
    for count in range(2, min(len(parts), _MOST_PARTS)):
        shorter = b"/" + b"/".join(parts[count:])
        yield f"a proxy put {count - 1} part(s) in front of the path: set `signed_path`", shorter + mark + query
    for usual in (b"/notifications", b"/"):
        yield f"`{usual.decode()}` was signed: set `signed_path`", usual + mark + query
        yield f"`{usual.decode()}` was signed without a query: set `signed_path`", usual


def _types(here: bytes) -> Iterator[bytes]:
    yield from _TYPES
    yield here.lower()
    yield here.replace(b" ", b"")
    yield here.replace(b" ", b"").lower()
    yield here.partition(b";")[0].strip()
    yield from (here.partition(b";")[0].strip() + charset for charset in (b";charset=utf-8", b";charset=UTF-8"))


def _doubled(name: bytes, target: bytes, headers: Headers) -> Iterator[Variant]:
    """Yield the halves of a header that stood twice, if it may have."""
    value = headers.get(name, b"")
    parts = value.split(b", ")
    half = len(parts) // 2
    if half and len(parts) % 2 == 0 and (name != b"date" or len(parts) > 2):  # noqa: PLR2004 - a Date has one itself
        for part in (parts[:half], parts[half:]):
            shown = "there are two Dates" if name == b"date" else f"there are two {_ascii(name)}"
            yield Variant(f"{shown}: a proxy added its own", target, _with(headers, name, b", ".join(part)))


def _ascii(raw: bytes) -> str:
    return raw.decode("ascii", "backslashreplace")


def _with(headers: Headers, name: bytes, value: bytes) -> Headers:
    """Return the headers with another value for one; without it where that is empty."""
    rest = {other: there for other, there in headers.items() if other != name}
    return rest | {name: value} if value else rest

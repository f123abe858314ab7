"""Sign MNS requests and pushes: what is signed, and with which key (`genuine` has the check of a push).

Everything here is pure. `headers` map lower-cased names to values; other names than those that a signature
covers may be among them. `target` is the request target as it stands on the request line, path and query,
neither decoded nor normalised. Text that came from the wire is decoded with `surrogateescape`, so that bytes
which are no UTF-8 are signed as they came.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote, unquote

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1

SIGNED_PREFIX = "x-mns-"
"""Headers whose lower-cased names begin so are signed (PROTOCOL 1.3)."""

V4_ALGORITHM = "MNS4-HMAC-SHA256"

_PADDING = PKCS1v15()
_DIGEST = SHA1()  # noqa: S303 - the service signs pushes with SHA-1 (PROTOCOL 2.2)


def signed_date(headers: Mapping[str, str]) -> str:
    """Return the date that the signature covers: `x-mns-date` where there is one, else `date` (PROTOCOL 1.2)."""
    return headers.get("x-mns-date") or headers.get("date", "")


def string_to_sign(method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the text that version 2 of the signature covers, of requests and of pushes (PROTOCOL 1.3, 2.2)."""
    lines = [method, headers.get("content-md5", ""), headers.get("content-type", ""), signed_date(headers)]
    lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith(SIGNED_PREFIX)]
    lines.append(target)
    return "\n".join(lines)


def sign_v2(access_key_secret: str, method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the base64 HMAC-SHA1 of a request; `Authorization` is `MNS {access key id}:{it}` (PROTOCOL 1.3)."""
    text = string_to_sign(method, target, headers)
    return b64encode(hmac.digest(_octets(access_key_secret), _octets(text), "sha1")).decode()


def string_to_sign_v4(method: str, target: str, headers: Mapping[str, str], *, region: str, utc: str) -> str:
    """Return the text that version 4 of the signature covers (PROTOCOL 1.4). `utc` reads `20250603T105235Z`."""
    path, _, query = target.partition("?")
    covered = sorted(n for n in headers if n in {"content-md5", "content-type"} or n.startswith(SIGNED_PREFIX))
    canonical = [
        method,
        _percent(unquote(path, errors="surrogateescape"), keep="/"),
        _canonical_query(query),
        "".join(f"{name}:{headers[name].strip()}\n" for name in covered) + "\n",
    ]
    return "\n".join([V4_ALGORITHM, utc, _scope(region, utc), *canonical])


def sign_v4(
    access_key_secret: str, method: str, target: str, headers: Mapping[str, str], *, region: str, utc: str
) -> str:
    """Return the hex HMAC-SHA256 of a request, with the key derived for its day and region (PROTOCOL 1.4)."""
    key = _octets("aliyun_v4" + access_key_secret)
    for part in _scope(region, utc).split("/"):
        key = hmac.digest(key, _octets(part), "sha256")
    text = string_to_sign_v4(method, target, headers, region=region, utc=utc)
    return hmac.new(key, _octets(text), "sha256").hexdigest()


def authorization_v4(access_key_id: str, signature: str, *, region: str, utc: str) -> str:
    """Return the value of `Authorization` that carries a version 4 signature (PROTOCOL 1.4)."""
    return f"{V4_ALGORITHM} Credential={access_key_id}/{_scope(region, utc)},Signature={signature}"


def sign_push(private_key: RSAPrivateKey, method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the value of a push's `Authorization`: base64 RSA-SHA1, PKCS#1 v1.5 (PROTOCOL 2.2)."""
    text = string_to_sign(method, target, headers)
    return b64encode(private_key.sign(_octets(text), _PADDING, _DIGEST)).decode()


def content_md5(body: bytes) -> str:
    """Return `Content-MD5` as the SDKs send it: base64 of the lower-case hex digest (PROTOCOL 1.2)."""
    return b64encode(hashlib.md5(body, usedforsecurity=False).hexdigest().encode()).decode()


def body_matches(claim: str, body: bytes) -> bool:
    """Say whether a `Content-md5` is the body's, in any of the encodings in use (PROTOCOL 2.2).

    Those are the hex digest in any case, base64 of the lower-case hex digest, and base64 of the 16 raw bytes.
    """
    digest = hashlib.md5(body, usedforsecurity=False)
    text = digest.hexdigest()
    if claim.lower() == text:
        return True
    return claim in {b64encode(text.encode()).decode(), b64encode(digest.digest()).decode()}


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _percent(text: str, *, keep: str = "") -> str:
    return quote(text, safe=keep, errors="surrogateescape")


def _scope(region: str, utc: str) -> str:
    return f"{utc[:8]}/{region}/mns/aliyun_v4_request"


def _canonical_query(query: str) -> str:
    """Sort the pairs by their encoded, lower-cased keys; a key without a value stands alone."""
    pairs: list[tuple[str, str]] = []
    for pair in filter(None, query.split("&")):
        key, _, value = (unquote(part, errors="surrogateescape") for part in pair.partition("="))
        pairs.append((_percent(key.strip().lower()), _percent(value.strip())))
    return "&".join(f"{key}={value}" if value else key for key, value in sorted(pairs))

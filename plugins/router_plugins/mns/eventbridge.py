"""EventBridge's own signature, of the requests that its HTTP target makes (its page "signature algorithm").

Everything here is pure. What is signed, with a line feed between the parts, is the target's URL as it was given to
EventBridge, some headers as `name: value` in a fixed order (`-timestamp`, the method, `-version`, `-url`, and `-token`
if there is one; the names begin with `x-eventbridge-signature`), and the body.

* Version 2 (`-v2`) is RSA-SHA256, PKCS#1 v1.5; its method is `x-eventbridge-hash-method: SHA256`.
* Version 1 is HMAC-SHA1; its method is `-method: HMAC-SHA1`. Its key stands in `-secret`, encrypted with the private
  key: whoever has the certificate, which is everybody, can decrypt it. One request that was ever sent to anybody is
  enough to sign anything with it, and only the token then tells who sent it.

The page's formula ends with the body; the official Java SDK has a line feed after it. Which of the two is sent is not
verified, so both are taken: a signature can stand for a body with one line feed more or less at its end, which means
nothing in JSON. The timestamp is in Unix milliseconds.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from cryptography.hazmat.primitives.hashes import SHA256

SignatureVersion: TypeAlias = Literal["v2", "v1"]

DOCUMENTED_URLS = (
    "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/",
    "https://ap-southeast-1-eventbridge.oss-accelerate.aliyuncs.com/",
    "https://eu-central-1-eventbridge.oss-accelerate.aliyuncs.com/",
    "https://us-east-1-eventbridge.oss-accelerate.aliyuncs.com/",
)
"""Where certificates are, in the regions that have DirectMail. The page says `[RegionId]-eventbridge`, but that is the
name of a bucket, and anybody may make a bucket whose name ends so: hence each region by its name."""

SIGNATURE = {"v2": "x-eventbridge-signature-v2", "v1": "x-eventbridge-signature"}
METHOD = {
    "v2": ("x-eventbridge-hash-method", "SHA256"),
    "v1": ("x-eventbridge-signature-method", "HMAC-SHA1"),
}
TIMESTAMP = "x-eventbridge-signature-timestamp"
VERSION = "x-eventbridge-signature-version"
URL = "x-eventbridge-signature-url"
TOKEN = "x-eventbridge-signature-token"  # noqa: S105 - the name of a header
SECRET = "x-eventbridge-signature-secret"  # noqa: S105 - as above

_PADDING = PKCS1v15()
_DIGEST = SHA256()


def string_to_sign(version: SignatureVersion, url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return what a signature covers, without a line feed after the body; `headers` have lower-cased names."""
    names = [TIMESTAMP, METHOD[version][0], VERSION, URL, *([TOKEN] if TOKEN in headers else [])]
    lines = [url, *(f"{name}: {headers.get(name, '')}" for name in names), ""]
    return "\n".join(lines).encode("utf-8", "surrogateescape") + body


def is_genuine(version: SignatureVersion, key: RSAPublicKey, url: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Say whether the request's signature of this version is the key's."""
    name, value = METHOD[version]
    if headers.get(name) != value:
        return False
    text = string_to_sign(version, url, headers, body)
    check = _is_genuine_v2 if version == "v2" else _is_genuine_v1
    try:
        signature = a2b_base64(headers.get(SIGNATURE[version], ""), strict_mode=True)
        return check(key, signature, (text + b"\n", text), headers)
    except (binascii.Error, ValueError, InvalidSignature):
        return False


def _is_genuine_v2(key: RSAPublicKey, signature: bytes, texts: Sequence[bytes], _headers: Mapping[str, str]) -> bool:
    """Take the digest out of the signature once, whichever text it is of (`genuine` says why this is as good)."""
    signed = key.recover_data_from_signature(signature, _PADDING, _DIGEST)
    return any(hashlib.sha256(text).digest() == signed for text in texts)


def _is_genuine_v1(key: RSAPublicKey, signature: bytes, texts: Sequence[bytes], headers: Mapping[str, str]) -> bool:
    encrypted = a2b_base64(headers.get(SECRET, ""), strict_mode=True)
    secret = key.recover_data_from_signature(encrypted, _PADDING, NoDigestInfo())
    return any(hmac.compare_digest(hmac.digest(secret, text, "sha1"), signature) for text in texts)


def sign_v2(key: RSAPrivateKey, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the value of `x-eventbridge-signature-v2`."""
    text = string_to_sign("v2", url, headers, body) + b"\n"
    return b64encode(key.sign(text, _PADDING, _DIGEST)).decode()


def sign_v1(secret: bytes, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the value of `x-eventbridge-signature`."""
    text = string_to_sign("v1", url, headers, body) + b"\n"
    return b64encode(hmac.digest(secret, text, "sha1")).decode()


def encrypt_secret(key: RSAPrivateKey, secret: bytes) -> str:
    """Return the value of `x-eventbridge-signature-secret`, which everybody can read who has the certificate."""
    return b64encode(key.sign(secret, _PADDING, NoDigestInfo())).decode()

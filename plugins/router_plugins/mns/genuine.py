"""Whether a push's signature is its key's: the text that was signed, and the check (PROTOCOL 2.2).

Of all that is done for a result this costs most, so it works on the bytes as they came. `headers` have lower-cased
names; others than those that a signature covers may be among them.

* The digest is taken out of the signature and compared here, for half a microsecond less than `verify`, which also lets
  go of the interpreter: up to two, where another thread waits for it. OpenSSL checks padding and DigestInfo by the same
  code either way.
* What is signed depends on the names of the headers, which are the same in nearly all pushes, and on the values.
  What follows from the names is remembered.
"""

from __future__ import annotations

import binascii
import hashlib
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1

_PREFIX = b"x-mns-"
_OWN_DATE = b"x-mns-date"
_PADDING = PKCS1v15()
_DIGEST = SHA1()  # noqa: S303 - the service signs pushes with SHA-1 (PROTOCOL 2.2)


def is_genuine(key: RSAPublicKey, target: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Say whether the `Authorization` of a POST signs its headers; the body is covered by `Content-md5` only.

    `target` is what stood on the request line, path and query, neither decoded nor normalised.
    """
    try:
        signature = a2b_base64(headers.get(b"authorization", b""), strict_mode=True)
        signed = key.recover_data_from_signature(signature, _PADDING, _DIGEST)
    except (binascii.Error, InvalidSignature):
        return False
    return signed == hashlib.sha1(signed_text(target, headers)).digest()  # noqa: S324 - as above


def signed_text(target: bytes, headers: Mapping[bytes, bytes]) -> bytes:
    """Return what the signature of a push covers: `signing.string_to_sign` says the same of requests, in text."""
    form = _form(tuple(headers), bool(headers.get(_OWN_DATE)))
    return form.text % form.values(headers) + target


class _Form(NamedTuple):
    """What is signed but for the target, with `%b` in the place of values; and what takes these from the headers."""

    text: bytes
    values: Callable[[Mapping[bytes, bytes]], object]


@lru_cache(maxsize=64)  # pushes have a tag or none, and proxies add headers; names are bounded by `max_header_bytes`
def _form(names: tuple[bytes, ...], own_date: bool) -> _Form:  # noqa: FBT001 - a part of the key
    first = [b"content-md5", b"content-type", _OWN_DATE if own_date else b"date"]
    ours = sorted(name for name in names if name.startswith(_PREFIX))
    lines = [b"POST", *(b"%b" if name in names else b"" for name in first)]
    lines += [name.replace(b"%", b"%%") + b":%b" for name in ours]
    wanted = [name for name in (*first, *ours) if name in names]
    return _Form(b"\n".join([*lines, b""]), itemgetter(*wanted) if wanted else _nothing)


def _nothing(_headers: Mapping[bytes, bytes]) -> tuple[()]:
    return ()

"""Content codings of a push: gzip and deflate are taken off, within a limit, and nothing else is taken.

A coding belongs to the transfer, as chunks and TLS do: what is journalled is the content, so that forms, masks and
searches see what came, and no decoder has to know. Signatures and Content-MD5 are of the bytes as sent.
"""

from __future__ import annotations

import zlib

GZIP, DEFLATE = "gzip", "deflate"
OFFERED = f"{GZIP}, {DEFLATE}"
"""For the `Accept-Encoding` of a refusal."""
_NAMES = {b"gzip": GZIP, b"x-gzip": GZIP, b"deflate": DEFLATE}
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_MEMBERS = 64
"""More parts of one gzip body are no way to send a message."""


class TooLargeError(ValueError):
    """The content is over the limit."""


def coding_of(header: bytes) -> str:
    """Return the coding that `Content-Encoding` names, empty for none; raises ValueError for what is not taken."""
    names = [name for part in header.split(b",") if (name := part.strip().lower()) not in {b"", b"identity"}]
    if not names:
        return ""
    if len(names) > 1 or names[0] not in _NAMES:
        raise ValueError(f"Content-Encoding {header[:60].decode('latin-1')!r} is not taken, but {OFFERED}")
    return _NAMES[names[0]]


def content_of(header: bytes, body: bytes, limit: int) -> bytes:
    """Return the content of a body; raises ValueError for what is broken or ends early, or is over `limit` bytes."""
    coding = coding_of(header)
    if not coding:
        return body
    try:
        return _gunzipped(body, limit) if coding == GZIP else _inflated(body, limit)
    except zlib.error as error:
        raise ValueError(f"the body is no {coding}: {error}") from error


def _gunzipped(body: bytes, limit: int) -> bytes:
    """Take off gzip, whose members follow each other (RFC 1952, 2.2); zeros behind them are padding."""
    content, rest = b"", body
    for _ in range(_MEMBERS):
        part, rest = _part(rest, _GZIP, limit - len(content))
        content += part
        rest = rest.lstrip(b"\0")
        if not rest:
            return content
    raise ValueError(f"the body has more than {_MEMBERS} members of gzip")


def _inflated(body: bytes, limit: int) -> bytes:
    """Take off `deflate`: the zlib format by RFC 9110, 8.4.1.2, and bare for clients that took the name at its word."""
    try:
        content, rest = _part(body, _ZLIB, limit)
    except zlib.error:
        content, rest = _part(body, _RAW, limit)
    if rest:
        raise ValueError("something follows the deflated body")
    return content


def _part(data: bytes, form: int, limit: int) -> tuple[bytes, bytes]:
    """Decompress one stream to its end; return what it holds, and what follows it."""
    stream = zlib.decompressobj(form)
    content = stream.decompress(data, limit + 1)
    if len(content) > limit:
        raise TooLargeError(f"more than {limit} bytes of content")
    if not stream.eof:
        raise ValueError("the compressed body ends early")
    return content, stream.unused_data

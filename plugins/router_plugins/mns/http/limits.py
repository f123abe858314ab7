"""What a client may do, and what is wrong with the head of a request though it is well-formed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypeAlias

import msgspec

from router_plugins.mns.http.codings import coding_of

Problem: TypeAlias = tuple[HTTPStatus, str]

_ONCE = (b"host", b"expect", b"content-length", b"transfer-encoding")
_ODD = frozenset((b"expect", b"transfer-encoding", b"content-encoding"))
"""Headers that are looked at more closely where they stand."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may do: sizes in bytes, times in seconds."""

    max_body: int = 256 * 1024
    max_header_bytes: int = 16 * 1024
    max_headers: int = 100
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    idle_timeout: float = 75.0
    max_connections: int = 1024
    max_per_address: int = 0
    """Connections of one address at once; 0: no limit."""
    max_pipelined: int = 64
    max_unanswered: int = 32 * 1024 * 1024


def head_problem(
    version: str, target: bytes, headers: Mapping[bytes, bytes], repeated: Sequence[bytes], most: int, limits: Limits
) -> Problem | None:
    """Return the status and the reason to refuse a request with, if there is one.

    `headers` are by lower-cased name, `repeated` the names that stood again. `most` is an upper bound of the head's
    size in bytes, so that the size is only added up where it matters.
    """
    plain = version == "1.1" and not repeated and b"host" in headers and most <= limits.max_header_bytes
    if plain and len(headers) <= limits.max_headers and _ODD.isdisjoint(headers):
        return _length_problem(headers, limits)  # nearly all, at a third of the price
    return (
        _size_problem(target, headers, repeated, most, limits)
        or _form_problem(version, headers, repeated)
        or _coding_problem(headers)
    )


def _size_problem(
    target: bytes, headers: Mapping[bytes, bytes], repeated: Sequence[bytes], most: int, limits: Limits
) -> Problem | None:
    if len(headers) + len(repeated) > limits.max_headers:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {limits.max_headers} headers"
    if most > limits.max_header_bytes and _size(target, headers) > limits.max_header_bytes:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {limits.max_header_bytes} bytes of headers"
    return _length_problem(headers, limits)


def _length_problem(headers: Mapping[bytes, bytes], limits: Limits) -> Problem | None:
    if int(headers.get(b"content-length", b"0")) > limits.max_body:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {limits.max_body} bytes"
    return None


def _size(target: bytes, headers: Mapping[bytes, bytes]) -> int:
    return len(target) + sum(len(name) + len(value) for name, value in headers.items())


def _form_problem(version: str, headers: Mapping[bytes, bytes], repeated: Sequence[bytes]) -> Problem | None:
    """Find forms that another server on the way may read differently (RFC 9112, 3.2 and 6)."""
    if version not in {"1.1", "1.0"}:
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken here"
    if repeated and any(name in repeated for name in _ONCE):
        return HTTPStatus.BAD_REQUEST, "a header that must stand once stands twice"
    if version == "1.1" and b"host" not in headers:
        return HTTPStatus.BAD_REQUEST, "no Host header"
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (version == "1.0" or coding.strip().lower() != b"chunked"):
        return HTTPStatus.NOT_IMPLEMENTED, "the only transfer coding known here is chunked, in HTTP/1.1"
    if headers.get(b"expect", b"100-continue").strip().lower() != b"100-continue":
        return HTTPStatus.EXPECTATION_FAILED, "the only expectation known here is 100-continue"
    return None


def _coding_problem(headers: Mapping[bytes, bytes]) -> Problem | None:
    try:
        coding_of(headers.get(b"content-encoding", b""))
    except ValueError as error:
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error)
    return None

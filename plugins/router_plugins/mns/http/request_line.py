"""What llhttp does not look at in the head of a request: its protocol, a whole URL as its target, its Host.

llhttp also speaks RTSP and ICE, and does not say so; it calls a version that it does not know malformed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv6Address

from router_plugins.mns.http.limits import Problem

_SPOKEN = (b" HTTP/1.1\r", b" HTTP/1.0\r")
_WORDS = 3
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_HOST = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)\]|\[v[0-9A-Fa-f]+\.[^\[\]/?#@\s]+\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
"""RFC 3986, 3.2.2: what may stand in a `Host` and before the path of a URL here. It may be empty in a `Host`."""


def line_problem(line: bytes) -> Problem | None:
    """Say why this request line, without its LF, is of no request in HTTP/1.1 or HTTP/1.0.

    What has no three words is left to llhttp; so is what is not complete, as far as it is no known mistake.
    """
    if line.endswith(_SPOKEN):
        return None
    words = line.split()
    if len(words) < _WORDS:
        return None
    protocol = words[-1]
    if protocol in {b"HTTP/1.1", b"HTTP/1.0"}:
        return None  # if anything is wrong with it, llhttp knows
    if _VERSION.fullmatch(protocol):
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken here"
    return HTTPStatus.BAD_REQUEST, "malformed request: HTTP/1.1 is spoken here"


def asked(line: bytes) -> tuple[bytes, bytes]:
    """Return method and target of a request line that may be malformed; empty ones where it has none."""
    words = line.split()
    return (words[0], words[1]) if len(words) > 1 and words[0].isalpha() else (b"", b"")


def origin_form(target: bytes) -> bytes | None:
    """Return path and query of an absolute-form target (RFC 9112, 3.2.2), which is sent through proxies; else None.

    Whom it names does not matter, as with `Host`; that it names somebody in a form that all read alike does.
    """
    found = _ABSOLUTE.fullmatch(target)
    if found is None or found[1].startswith(b":") or not found[1] or not is_host(found[1]):
        return None
    rest = found[2]
    return rest if rest.startswith(b"/") else b"/" + rest


@lru_cache(maxsize=256)  # the same few for ever; a stranger's many displace them, and cost no more than no cache
def is_host(value: bytes) -> bool:
    """Say whether this may be a `Host` (RFC 9110, 7.2)."""
    found = _HOST.fullmatch(value)
    if found is None:
        return False
    if found[1] is not None:
        try:
            IPv6Address(found[1].decode("ascii"))
        except ValueError:
            return False
    return True

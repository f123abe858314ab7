"""Headers that a webhook may send along: those that do not say how the request itself is written, or who signed it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from router import ConfigError, Secret

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PLACE = re.compile(r"\{[A-Za-z_][A-Za-z0-9_.-]*(?::[^{}]*)?\}")
_SIGNED = frozenset({"webhook-id", "webhook-timestamp", "webhook-signature"})
_FRAMING = frozenset({
    "connection", "content-encoding", "content-length", "content-md5", "content-range", "expect", "http2-settings",
    "keep-alive", "proxy-connection", "range", "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
"""Those of the connection and of the body as it is sent (RFC 9110, 7.6.1 and 8; RFC 9112): one that says other than
what is done makes a request that is refused, or never answered."""
_FIXED = {
    "host": "it is the host of `url`",
    "accept-encoding": "answers are read as they are",
}


def check_headers(headers: Mapping[str, Secret], *, credentials: bool, proxied: bool) -> None:
    """Raise `ConfigError` for a header that cannot be sent, or that the router sends itself."""
    seen: dict[str, str] = {}
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ConfigError("headers", f"{name!r} is no name of a header", "letters, digits and `-`")
        place, folded = f"headers.{name}", name.lower()
        if folded in seen:
            raise ConfigError(place, f"is `{seen[folded]}` once more: the case makes no difference", "keep one of them")
        seen[folded] = name
        if folded in _SIGNED:
            raise ConfigError(place, "is set by the router itself", "`secret` is what it signs with")
        if folded in _FRAMING or folded in _FIXED:
            raise ConfigError(place, "is set by the router itself", _FIXED.get(folded, "leave it out"))
        if folded == "authorization" and credentials:
            raise ConfigError(place, "is set by the user and password in url", "leave one of them out")
        if folded.startswith("proxy-") and proxied:
            raise ConfigError(place, "is for the proxy", "put user and password into the URL at proxy")
        _check_value(place, value)


def _check_value(place: str, value: str) -> None:
    if any(ord(char) < ord(" ") or char == "\x7f" for char in value):
        raise ConfigError(place, "has a control character in it")
    if _PLACE.fullmatch(value):
        raise ConfigError(place, "takes no fields in braces", "they are in the body, as JSON")

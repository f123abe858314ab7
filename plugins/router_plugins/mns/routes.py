"""Which requests the push listener wants, by method and path."""

from __future__ import annotations

import hmac
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from router_plugins.mns.http import Answer, Route, refusal

SECRET = 16
"""Characters that a part of a path has at least if it is to be a secret."""


def posts_to(*paths: str, other: Route | None = None) -> Route:
    """Return the route that wants POST to one of the paths, however escaped, with any query; in constant time.

    `other` is asked about what is none of them.
    """
    wanted = [unquote_to_bytes(path) for path in paths]
    usual = {path.encode() for path in paths}

    def route(method: bytes, target: bytes) -> Answer | None:
        if target not in usual:  # a hash, which says nothing of a path that is only like one of them
            asked = path_of(target)
            if not any(hmac.compare_digest(asked, path) for path in wanted):
                return (other and other(method, target)) or refusal(HTTPStatus.NOT_FOUND, "nothing is here")
        if method != b"POST":
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "pushes are POST", allow="POST")
        return None

    return route


def path_of(target: bytes) -> bytes:
    """Return the path of a target, without escapes."""
    path = target.partition(b"?")[0]
    return unquote_to_bytes(path) if b"%" in path else path


def is_path(text: str) -> bool:
    """Say whether this may be a path of the listener, as it stands in a config."""
    return text.startswith("/") and text.isascii() and not set("?# ") & set(text)


def holds_secret(path: str) -> bool:
    """Say whether a part of a path is long and mixed enough to be a secret, such as of `openssl rand -hex 8`."""
    return any(_is_mixed(part) for part in path.split("/") if len(part) >= SECRET)


def _is_mixed(part: str) -> bool:
    digits = sum(char.isdigit() for char in part)
    cases = any(map(str.isupper, part)) and any(map(str.islower, part))
    return len(set(part)) >= SECRET // 3 and (digits >= 3 or (cases and digits > 0))  # noqa: PLR2004 - `eu-1` has one

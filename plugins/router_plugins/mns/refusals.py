"""What the log says of requests that are refused: what was asked for, by whom, and why; and no secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from router import Count
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.http import Request

_KNOWN = frozenset({b"notifications"})
"""Parts of a path that everybody knows."""
_LEAST = 4
"""Letters that a part of a path has at least to be anybody's secret."""
_LONGEST = 200
_ORIGIN = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")


class Refusals:
    """Counts and logs refusals; `paths` are ours, and their parts are shown as `***`."""

    def __init__(self, count: Count, paths: Sequence[str]) -> None:
        self._complain = Complaints(count, "push refused", by_reason=True)
        parts = {part.lower() for path in paths for part in unquote_to_bytes(path).split(b"/")}
        self._ours = {part for part in parts - _KNOWN if len(part) >= _LEAST}

    def __call__(self, kind: str, /, *, request: Request | None = None, peer: str = "", **details: object) -> None:
        """Count `kind` once; what is known of the request goes to the log if this one is logged."""
        if request is not None:
            details |= {"method": _text(request.method), "path": self.shown(request.target)}
            if b"x-forwarded-for" in request.headers:
                details["forwarded_for"] = _text(request.headers[b"x-forwarded-for"])
            peer = request.peer
        self._complain(kind, peer=peer, **details)

    def shown(self, target: bytes) -> str:
        """Return a target's path, without whom a URL names, without the query, and without what is secret in ours."""
        path = _ORIGIN.sub(b"", target, count=1).partition(b"?")[0]
        return _text(b"/".join(b"***" if self._is_secret(part) else part for part in path.split(b"/")))

    def _is_secret(self, part: bytes) -> bool:
        part = unquote_to_bytes(part).lower()
        return len(part) >= _LEAST and any(part in own or own in part for own in self._ours)


def _text(raw: bytes) -> str:
    return raw[:_LONGEST].decode("ascii", "backslashreplace")

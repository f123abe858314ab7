"""A request as somebody kept it: raw, or with other line ends, with the noise of `curl -v` or `tcpdump -A` around."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_LINE = re.compile(rb"(POST|PUT|GET|HEAD|PATCH|DELETE|OPTIONS) (\S+) HTTP/[0-9.]+[ \t]*\r?(?:\n|\Z)")
_QUOTE = b"> "
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)[^\r\n]*\r?\n")


class Captured(NamedTuple):
    """What was sent; headers as they stood. `notes`: what about the file itself is odd."""

    method: bytes
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    notes: Sequence[str]

    def joined(self) -> dict[bytes, bytes]:
        """Return the headers by lower-cased names, as the listener has them: those that stand twice are one."""
        found: dict[bytes, bytes] = {}
        for name, value in self.headers:
            key = name.lower()
            found[key] = found[key] + b", " + value if key in found else value
        return found


def captured(content: bytes) -> Captured:
    """Read the first request of a file; raises ValueError where there is none."""
    start = _LINE.search(content)
    if start is None:
        raise ValueError("there is no request line, such as `POST /notifications HTTP/1.1`")
    quoted = content[: start.start()].endswith(_QUOTE)
    headers, notes, rest = list[tuple[bytes, bytes]](), list[str](), content[start.end() :]
    while rest:
        line, _, rest = rest.partition(b"\n")
        line = line.removesuffix(b"\r")
        line = line.removeprefix(b">").removeprefix(b" ") if quoted else line
        if not line.strip():
            break
        name, colon, value = line.partition(b":")
        if colon and name and name.strip() == name:
            headers.append((name, value.strip()))
        else:
            notes.append(f"`{line[:60].decode('latin-1')}` is no header: it is left out")
    first = Captured(start[1], start[2], headers, rest, notes)
    body, more = _body(first.joined(), rest)
    return first._replace(body=body, notes=[*notes, *more])


def _body(headers: dict[bytes, bytes], rest: bytes) -> tuple[bytes, Sequence[str]]:
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked" and (body := _unchunked(rest)) is not None:
        return body, ["the body came in chunks, which are joined here"]
    length = headers.get(b"content-length", b"")
    if not length.isdigit():
        return rest, []
    if len(rest) < int(length):
        return rest, [f"the file has {len(rest)} of {int(length)} bytes of the body"]
    if rest[int(length) :].strip():
        return rest[: int(length)], ["what follows the body is left out"]
    return rest[: int(length)], []


def _unchunked(rest: bytes) -> bytes | None:
    body = b""
    while found := _CHUNK.match(rest):
        size = int(found[1], 16)
        if not size:
            return body
        body += rest[found.end() : found.end() + size]
        rest = rest[found.end() + size :].removeprefix(b"\r").removeprefix(b"\n")
    return None

"""The bytes of requests: what those to one URL have in common is rendered once."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from yarl import URL


class Requests:
    """POSTs to a URL with these headers; a user and password in the URL become an Authorization header."""

    def __init__(self, url: URL, headers: Mapping[str, str]) -> None:
        common = {"Host": url.host_port_subcomponent or ""}
        if credentials := basic(url):
            common["Authorization"] = credentials
        self.url = url
        self.headers: Mapping[str, str] = common | {"Accept": "*/*"} | dict(headers)
        """What all of them have."""
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.items()]
        self._start = f"POST {url.raw_path_qs} HTTP/1.1\r\n{''.join(lines)}".encode()

    def render(self, lines: bytes, body: bytes) -> bytes:
        """Return a request with further header lines, each with its CRLF."""
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (self._start, lines, len(body), body)


def basic(url: URL) -> str:
    """Return the Basic credentials for the user and password in a URL; empty without them (RFC 7617)."""
    if url.user is None and url.password is None:
        return ""
    credentials = f"{url.user or ''}:{url.password or ''}"
    return f"Basic {b64encode(credentials.encode()).decode()}"

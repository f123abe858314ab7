"""Turn the bytes of one connection into answers, one at a time: no I/O and no clock.

llhttp (in httptools, in its strict mode) refuses what answers are smuggled in: Content-Length and Transfer-Encoding
together, two Content-Lengths, bare LF, folded headers. Rules of this file:

* Once the head is complete the status stands, whatever becomes of the body: a body that is malformed, too long or cut
  off only costs the connection.
* A connection is used again only after an answer whose end is sure, with nothing behind it.
* Interim answers (1xx) are skipped, but for 101: nothing else than HTTP/1.1 was asked for. Their heads count with that
  of the answer, so that they cannot go on for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from router_plugins.http_client.errors import NoAnswerError

_FIRST = 100
"""The lowest status there is (RFC 9110 section 15)."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What of an answer is read, in bytes: its head, all of it on the wire, and the beginning of the body to keep."""

    head: int = 32 * 1024
    whole: int = 128 * 1024
    kept: int = 1024


class Answer(NamedTuple):
    """An answer's status, those of its headers that were asked for (names in lower case), and its body's beginning."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


class AnswerParser:
    """The answers of one connection. Its `on_...` methods are called by httptools."""

    def __init__(self, limits: Limits, wanted: frozenset[bytes]) -> None:
        self._limits = limits
        self._wanted = wanted
        self._http = HttpResponseParser(self)
        self.expect()

    def expect(self) -> None:
        """Begin with the answer to another request."""
        self.status = 0
        """The status, once the head is complete; 0 before."""
        self.ended = False
        """Whether nothing more is read of this answer."""
        self.reusable = False
        """Whether the connection is good for another request."""
        self.read = 0
        """Bytes that came so far."""
        self._headers: dict[bytes, bytes] = {}
        self._body = b""

    @property
    def answer(self) -> Answer:
        """The answer, as far as it came; not before there is a `status`."""
        return Answer(self.status, self._headers, self._body)

    def feed(self, data: bytes) -> None:
        """Take what was read; raise `NoAnswerError` where that can be no answer."""
        before, self.read = self.read, self.read + len(data)
        if not self.status and self.read > self._limits.head:
            room = self._limits.head - before
            self._parse(data[:room])
            if not self.status:
                raise NoAnswerError(f"no usable answer (more than {self._limits.head} bytes of headers)")
            data = data[room:]
        self._parse(data)
        if self.read > self._limits.whole and not self.ended:
            self.ended = True

    def _parse(self, data: bytes) -> None:
        try:
            self._http.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.status:
                switches = self._http.get_status_code() == HTTPStatus.SWITCHING_PROTOCOLS
                reason = "101, and no other protocol was asked for" if switches else error
                raise NoAnswerError(f"no usable answer ({reason})") from error
            self.ended, self.reusable = True, False

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self.ended:
            raise _SurplusError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that is wanted, unless it is a trailer."""
        if not self.status and (key := name.lower()) in self._wanted:
            self._headers[key] = value.strip()

    def on_headers_complete(self) -> None:
        """Take the status, unless it is that of an interim answer."""
        status = self._http.get_status_code()
        if status < _FIRST:
            raise _StatusError
        if status >= HTTPStatus.OK:
            self.status = status
        else:
            self._headers.clear()

    def on_body(self, part: bytes) -> None:
        """Keep the beginning of the body."""
        if len(self._body) < self._limits.kept:
            self._body = (self._body + part)[: self._limits.kept]

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self.status:
            self.ended = True
            self.reusable = self._http.should_keep_alive()


class _SurplusError(Exception):
    """Stops httptools: what follows answers nothing that was asked."""


class _StatusError(Exception):
    """Stops httptools: there is no such status."""

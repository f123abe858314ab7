"""Turn the bytes of one connection into requests: no I/O, no clock but the time of arrival.

llhttp (in httptools, in its strict mode) refuses the forms that requests are smuggled in: Content-Length and
Transfer-Encoding together, two or odd Content-Lengths, bare LF or CR, folded headers, blanks before a colon.
What it lets through and a careful server does not, `limits.head_problem` finds.

llhttp takes the head of a request that would like another protocol (`Upgrade`) for its end. HTTP/1.1 is spoken on, as
RFC 9110, 7.8 lets a server choose, so such a request has a body like any other, and another llhttp reads it.

llhttp does not say in which protocol a request is, nor where it ends. So it is fed with no more than the rest of one
message at a time, and the first line of each is looked at before.

A refusal is a request too, with its answer set: so it leaves in its turn, after those that came before it.
After one with `last` set the connection is over, and whatever follows is ignored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from router_plugins.mns.http.answers import Answer, refusal
from router_plugins.mns.http.limits import Limits, Problem, head_problem
from router_plugins.mns.http.request import Phase, Request
from router_plugins.mns.http.request_line import asked, is_host, line_problem, origin_form

OVERHEAD = 1024
"""Bytes that a waiting request is taken to need besides its own (its objects), for the limit on memory."""

SLICE = 16 * 1024
"""Bytes that are read and fed at once at most, so that a limit is noticed in time."""

_NEWLINE = b"\r\n"
_USUAL = b" HTTP/1.1\r"
_LENGTH = len(_USUAL)
_SLASH = ord("/")

Route = Callable[[bytes, bytes], Answer | None]
"""(method, target) -> the refusal, or None where the request is wanted."""


_IDLE, _HEAD, _BODY = Phase  # as names of the module they are found faster than as attributes of an enum


class Parser:
    """The requests of one connection. Its `on_...` methods are called by httptools."""

    def __init__(self, limits: Limits, route: Route) -> None:
        self.phase = _IDLE
        self.over = False
        self.expects_continue = False
        self._limits = limits
        self._route = route
        self._http = HttpRequestParser(self)
        self._complete: list[Request] = []
        self._version = ""
        self._method = b""
        self._host = b""
        """The last one that was looked at: it is the same on a connection."""
        self._line: bytes | None = None
        """What came of a request line that is not complete."""
        self._several = False
        """Whether there are other messages in what came with the one that is fed."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: list[bytes] = []
        self._collecting: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._length = 0
        self._wire = 0
        self._fed = 0
        self._began = False
        self._refusal: Answer | None = None

    @property
    def partial(self) -> int:
        """Bytes that came of the message that is not complete yet, at most."""
        return 0 if self.phase is _IDLE else max(self._wire, self._length)

    @property
    def due(self) -> bool:
        """Whether a request is to be expected: the first one, or the rest of one."""
        return not self.over and (self.phase is not _IDLE or not self._target)

    def feed(self, data: bytes | memoryview) -> list[Request]:
        """Return the requests that `data` completes, in order."""
        rest = bytes(data)
        while rest and not self.over:
            if self._several or self.phase is not _IDLE or not rest.startswith(_USUAL, rest.find(b"\n") - _LENGTH):
                piece, rest = self._piece(rest)
                if (self.phase is _IDLE or self._line is not None) and (problem := self._first_line(piece)):
                    self._complete.append(self.refuse(*problem))
                    break
                rest = self._feed(piece) + rest
            else:  # nearly all that comes is one request, and no more
                rest = self._feed(rest)
        self._several = False
        complete, self._complete = self._complete, []
        return complete

    def _piece(self, rest: bytes) -> tuple[bytes, bytes]:
        """Part what can be fed from what may be of another message.

        The rest of a message ends with its length, or, where it says none, by a blank line.
        """
        if self.phase is _BODY and b"content-length" in self._headers:
            size = int(self._headers[b"content-length"]) - self._length
        else:
            mark = b"\n" if rest[0] in _NEWLINE else b"\r\n\r\n"
            end = rest.find(mark)
            size = len(rest) if end < 0 else end + len(mark)
        return rest[:size], rest[size:]

    def _first_line(self, piece: bytes) -> Problem | None:
        """Look at the request line that begins a message, as soon as it is there."""
        end = piece.find(b"\n")
        line = (self._line or b"") + (piece if end < 0 else piece[:end])
        self._line = line if end < 0 else None
        problem = line_problem(line) if end >= 0 else None
        if problem is not None:
            self._method, self._target = asked(line)
        return problem

    def _feed(self, piece: bytes) -> bytes:
        """Let llhttp read; return what it is to read next, where it stopped early."""
        self._began = False
        self._fed = len(piece)
        try:
            self._http.feed_data(piece)
        except HttpParserUpgrade as upgrade:
            return self._again(piece[upgrade.args[0] :])
        except HttpParserError as error:
            if isinstance(error.__context__, _SeveralError):
                return self._one_by_one(piece)
            if self._began and not self._method and self._line is None:  # what was asked for, for the log
                self._method, self._target = asked(piece.partition(b"\n")[0])
            self._break_off(error)
            return b""
        self._wire = 0 if self._began else self._wire + self._fed
        if self.phase is not _IDLE and self._wire > self._allowance():
            too_long = self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too long on the wire")
            self._complete.append(too_long)
        return b""

    def _one_by_one(self, piece: bytes) -> bytes:
        """Take back the first of several messages; return what came of them, to be parsed anew."""
        self._complete.pop()
        self._several = True
        self._http, self.phase = HttpRequestParser(self), _IDLE
        return piece

    def _again(self, rest: bytes | memoryview) -> bytes:
        """Take back a request that would like another protocol; return it as if it did not, to be parsed anew.

        CONNECT has no body, and what follows it would be for another server: it is answered, and is the last.
        """
        method, request = self._http.get_method(), self._complete[-1]
        if method == b"CONNECT":
            request.last = True
            self.stop()
            return b""
        self._complete.pop()
        self.over = False
        self._http = HttpRequestParser(self)
        lines = [b"%b %b HTTP/%b" % (method, request.target, self._version.encode())]
        lines += [b"%b: %b" % header for header in request.headers.items() if header[0] != b"upgrade"]
        return b"\r\n".join((*lines, b"", rest))

    def refuse(self, status: HTTPStatus, reason: str, *, retry_after: float | None = None) -> Request:
        """Give up the message that is under way, and the connection; return the refusal."""
        return self._refuse(refusal(status, reason, retry_after=retry_after))

    def _refuse(self, answer: Answer) -> Request:
        target = self._target
        method = self._method or (self._http.get_method() if target else b"")
        self.stop()
        return Request(target, {}, b"", time.time(), answer, 0, last=True, method=method)

    def _allowance(self) -> int:
        """Bytes that an incomplete message may have on the wire; in chunks of one byte a body has six for each."""
        limits = self._limits
        return limits.max_header_bytes if self.phase is _HEAD else SLICE + 6 * limits.max_body

    def _break_off(self, error: HttpParserError) -> None:
        """Answer malformed input. What follows a request that closes the connection is not even that."""
        if self._complete and self._complete[-1].last:
            self.stop()
        elif self._refusal is not None:
            self._complete.append(self._refuse(self._refusal))
        else:
            malformed = HTTPStatus.BAD_REQUEST, f"malformed request: {error}"
            self._complete.append(self.refuse(*(line_problem(self._line or b"") or malformed)))

    def stop(self) -> None:
        """Take nothing more; the memory that a client filled is given back."""
        self.over = True
        self.phase = _IDLE
        self.expects_continue = False
        self._wire = self._length = 0
        self._line = None
        self._headers, self._collecting, self._repeated, self._chunks = {}, {}, [], []

    def on_message_begin(self) -> None:
        """Start over, unless the last request of the connection is complete."""
        if self.over:
            raise _RefusedError  # the last request is complete
        if self._began and not self._several:
            raise _SeveralError
        self._began = True
        self.phase = _HEAD
        self.expects_continue = False
        self._target = self._method = b""
        self._collecting = {}
        self._chunks = []
        if self._repeated:
            self._repeated = []
        self._length = self._wire = 0
        self._refusal = None

    def on_url(self, part: bytes) -> None:
        """Take a part of the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or after the body a trailer."""
        key, collecting = name.lower(), self._collecting
        if key in collecting:  # joined as RFC 9110, 5.3 says
            collecting[key] += b", " + value.rstrip()
            self._repeated.append(key)
        else:
            collecting[key] = value.rstrip()

    def on_headers_complete(self) -> None:
        """Decide on the head: wanted, refused when the body is read, or refused at once."""
        headers = self._headers = self._collecting
        self._collecting = {}  # trailers are collected, and forgotten
        self.phase = _BODY
        most = self._wire + self._fed
        self._wire = 0
        version = self._version = self._http.get_http_version()
        self._method = self._http.get_method()
        problem = head_problem(version, self._target, headers, self._repeated, most, self._limits)
        if problem is None and (self._target[0] != _SLASH or headers.get(b"host") != self._host):
            problem = self._names_problem(headers.get(b"host", b""))
        if problem is not None:
            self._refusal = refusal(*problem)
            raise _RefusedError
        self._refusal = self._route(self._method, self._target)
        if b"expect" in headers:
            if self._refusal is not None:
                raise _RefusedError  # the client waits for leave to send its body, and does not get it
            self.expects_continue = True

    def _names_problem(self, host: bytes) -> Problem | None:
        """Look at whom it is for, by its Host and by a target that is a whole URL, of which the path is kept."""
        if not is_host(host):
            return HTTPStatus.BAD_REQUEST, "Host is no host"
        self._host = host
        if self._target.startswith(b"/") or self._target == b"*" or self._method == b"CONNECT":
            return None
        target = origin_form(self._target)
        if target is None:
            return HTTPStatus.BAD_REQUEST, "the target is neither a path nor the URL of one"
        self._target = target
        return None

    def on_body(self, part: bytes) -> None:
        """Take a part of the body, which is thrown away where the request is refused."""
        self.expects_continue = False
        self._length += len(part)
        if self._length > self._limits.max_body:
            self._refusal = refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._limits.max_body} bytes")
            raise _RefusedError
        if self._refusal is None:
            self._chunks.append(part)

    def on_message_complete(self) -> None:
        """Hand the request over."""
        self.phase = _IDLE
        self.expects_continue = False
        chunks, refused = self._chunks, self._refusal
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        size = OVERHEAD + len(body) if refused is None else 0
        last = self.over = not self._http.should_keep_alive() or self._version == "1.0"
        self._complete.append(
            Request(self._target, self._headers, body, time.time(), refused, size, last, self._method)
        )


class _RefusedError(Exception):
    """Stops httptools in the middle of a message; the refusal is set already."""


class _SeveralError(Exception):
    """Stops httptools where another message begins."""

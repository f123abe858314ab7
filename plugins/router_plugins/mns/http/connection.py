"""One socket of the front: requests in, answers out in the same order, and a deadline for every state.

A client that sends faster than it is answered is not read from (`max_pipelined`, `max_unanswered`); one that is
slow in the middle of a message gets 408; one that takes no answers, or is idle, is closed. After an answer that
ends the connection, what the client still sends is read and thrown away for a moment: closing at once would
reset the connection and take the answer away from it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

from router_plugins.mns.http.answers import CONTINUE, without_content
from router_plugins.mns.http.entrance import plain_address
from router_plugins.mns.http.parser import Parser
from router_plugins.mns.http.request import Phase, Request

if TYPE_CHECKING:
    from router_plugins.mns.http.front import Front

_IDLE, _HEAD = Phase.IDLE, Phase.HEAD  # found faster than as attributes of an enum
LINGER = 2.0
"""Seconds that a client has to take the last answer."""


class Connection(asyncio.BufferedProtocol):
    """The protocol of one client; `deadline` is on the monotonic clock, `held` is in bytes.

    `peer`: the client's address, which is known before where somebody else than the socket told it.
    """

    _transport: asyncio.Transport

    def __init__(self, front: Front) -> None:
        self.deadline = inf
        self.held = 0
        self.peer = ""
        self._front = front
        self._parser = Parser(front.limits, front.route)
        self._pending: deque[Request] = deque()
        self._partial = 0
        self._phase = _IDLE
        self._paused = False
        self._unread = False
        self._ended = False
        self._eof = False
        self._lingering = False

    @property
    def unanswered(self) -> int:
        """How many requests have no answer yet."""
        return len(self._pending)

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the front, or be turned away."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = self.peer or plain_address(str((transport.get_extra_info("peername") or ("",))[0]))
        self.deadline = monotonic() + self._front.limits.header_timeout
        refused = self._front.join(self)
        if refused is not None:
            self._transport.write(refused.close)
            self._linger()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - what is read at once is fixed
        """Read into the buffer that all connections share: it is parsed before anything else is read."""
        return self._front.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was read, unless nothing is taken any more; stop reading where too much waits."""
        if self._lingering or self._ended:
            return
        parser, front = self._parser, self._front
        self._append(parser.feed(front.buffer[:nbytes]))
        if self._partial and front.overloaded:
            self._append([parser.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too much waits here", retry_after=1)])
        if parser.expects_continue and not self._pending:
            self._let_go_on()
        if self._crowded() and not parser.over:
            self._pause()

    def eof_received(self) -> bool:
        """End after what is complete; a half-closed client still gets its answers (TLS cannot do that)."""
        if self._lingering:
            return False
        self._eof = True
        self.end()
        return bool(self._pending) and self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason changes nothing
        """Forget the client; what it sent completely is still worked on."""
        self._parser.stop()
        self._pending.clear()
        self._hold(-self.held)
        self._front.leave(self)

    def pause_writing(self) -> None:
        """Take no requests of a client that does not take its answers."""
        self._unread = True
        self._pause()
        self.deadline = monotonic() + self._front.limits.idle_timeout

    def resume_writing(self) -> None:
        """Take requests again, now that the client takes its answers."""
        self._unread = False
        self.read_on()

    # What the front says.

    def flush(self) -> None:
        """Write the answers whose turn it is, in one write."""
        pending, released, last = self._pending, 0, False
        answers: list[bytes] = []
        while pending and not last and (answer := pending[0].answer) is not None:
            request = pending.popleft()
            released += request.size
            last = request.last
            written = answer.close if last else answer.keep
            answers.append(written if request.method != b"HEAD" else without_content(written))
        if not answers:
            return
        self._hold(-released)
        self._transport.write(answers[0] if len(answers) == 1 else b"".join(answers))
        if last:
            self._linger()
        elif not pending:
            self._let_go_on()

    def grow(self, request: Request, body: bytes) -> None:
        """Give a request that waits for its answer another body, which counts for the limit on memory."""
        more = len(body) - len(request.body)
        request.body = body
        if request in self._pending:
            request.size += more
            self._hold(more)

    def read_on(self) -> None:
        """Read again, if nothing speaks against it any more."""
        if self._paused and not (self._unread or self._lingering or self._crowded()):
            self._paused = False
            self._front.paused.discard(self)
            self._arm()
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def end(self) -> None:
        """Take no more requests; close when those that are complete are answered."""
        self._ended = True
        self._parser.stop()
        self._arm()
        if self._pending:
            self._pending[-1].last = True
        elif not self._lingering:
            self._transport.close()

    def finish(self) -> bool:
        """End, unless the client is about to send a request; then it has a moment for that, and the answer is True."""
        if self._pending or self._lingering or self._ended or not self._parser.due:
            self.end()
            return False
        self.deadline = min(self.deadline, monotonic() + LINGER)
        return True

    def expire(self) -> None:
        """Close what is past its deadline, and say so in the middle of a message."""
        if self._lingering or self._unread or self._ended:
            self._transport.abort()
        elif self._parser.phase is _IDLE:
            self.end()
        else:
            self._append([self._parser.refuse(HTTPStatus.REQUEST_TIMEOUT, "the request took too long")])

    def abort(self) -> None:
        """Close without another word."""
        self._transport.abort()

    # Between the two.

    def _append(self, complete: list[Request]) -> None:
        """Let what is complete wait for its turn, and for its answer if it has none yet."""
        front, pending, partial = self._front, self._pending, self._parser.partial
        more = partial - self._partial
        self._partial = partial
        for request in complete:
            request.connection = self
            more += request.size
            pending.append(request)
            front.arrive(request)
        self._hold(more)
        if complete or self._parser.phase is not self._phase:
            self._arm()
            if pending and pending[0].answer is not None:
                self.flush()

    def _let_go_on(self) -> None:
        """Once nothing is unanswered: give leave to send a body, or wait for the next request."""
        if self._parser.expects_continue:
            self._parser.expects_continue = False
            self._transport.write(CONTINUE)
        elif self._phase is _IDLE and not self._paused:
            self.deadline = monotonic() + self._front.limits.idle_timeout

    def _hold(self, more: int) -> None:
        self.held += more
        self._front.held += more

    def _crowded(self) -> bool:
        waiting = len(self._pending)
        return waiting > 0 and (self._front.crowded or waiting >= self._front.limits.max_pipelined)

    def _pause(self) -> None:
        if not self._paused and not self._lingering:
            self._paused = True
            self.deadline = inf
            self._front.paused.add(self)
            self._transport.pause_reading()

    def _arm(self) -> None:
        """Set the deadline for the state that the connection is in now."""
        self._phase = phase = self._parser.phase
        limits = self._front.limits
        if phase is _IDLE:
            self.deadline = inf if self._pending else monotonic() + limits.idle_timeout
        else:
            self.deadline = monotonic() + (limits.header_timeout if phase is _HEAD else limits.body_timeout)

    def _linger(self) -> None:
        """Let the client take the last answer, and throw away what it still sends."""
        self._lingering = True
        self._parser.stop()
        self.deadline = monotonic() + LINGER
        if self._paused:
            self._paused = False
            self._front.paused.discard(self)
            self._transport.resume_reading()
        if self._eof or not self._transport.can_write_eof():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the client is gone, and the transport does not know yet
            self._transport.abort()

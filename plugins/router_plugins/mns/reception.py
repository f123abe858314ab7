"""Check pushes as they come, hand in what is genuine in batches, and answer when it is safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus

import anyio
from anyio.abc import TaskGroup

from router import Emit, Message, Retry
from router_plugins.mns.callers import Callers
from router_plugins.mns.certificate import Certificates
from router_plugins.mns.http import Answer, Front, Request, TooLargeError, accepted, content_of, refusal
from router_plugins.mns.refusals import Refusals
from router_plugins.mns.verification import Awaited, Judging, Refused, Verdict

_MAX_FETCHES = 32
_ATTRIBUTES = (
    (b"x-mns-message-id", "message_id"),
    (b"x-mns-topic-name", "topic"),
    (b"x-mns-subscription-name", "subscription"),
    (b"x-mns-message-tag", "tag"),
    (b"x-mns-publish-time", "publish_time"),
    (b"content-type", "content_type"),
)
_ANNOUNCED = b"ce-"
_ANNOUNCES = b"ce-specversion"
"""The header that every CloudEvent in binary mode has."""


class Reception:
    """Works for one listener."""

    def __init__(
        self,
        front: Front,
        judge: Judging,
        certificates: Certificates,
        emit: Emit,
        complain: Refusals,
        callers: Callers | None = None,
        announces: Callable[[bytes], bool] = lambda _target: False,
    ) -> None:
        """`announces`: whether the `ce-` headers of what is pushed to a target are to be believed."""
        self._front = front
        self._judge = judge
        self._certificates = certificates
        self._emit = emit
        self._complain = complain
        self._callers = callers
        self._announces = announces
        self._awaiting: dict[str, list[Request]] = {}
        self._fetches: TaskGroup | None = None

    async def work(self, scope: anyio.CancelScope) -> None:
        """Hand in all that waits, as one batch after the other, until the front has stopped or `scope` ends.

        The fewer commits, the more results a second; and while some pushes are made durable, the next are checked.
        """
        with scope:
            async with anyio.create_task_group() as self._fetches:
                while requests := await self._front.take():
                    await self._hand_in(requests)
                self._fetches.cancel_scope.cancel()

    def admit(self, request: Request) -> bool:
        """Say whether a push is taken; if not it has its answer, or waits for its certificate."""
        verdict = self._verdict(request)
        if isinstance(verdict, Awaited):
            verdict = self._put_aside(request, verdict.url)
            if verdict is None:
                return False
        if verdict is None and b"content-encoding" in request.headers:
            verdict = self._unpacked(request)
        if verdict is not None:
            request.answer = self._refusal(request, verdict)
        return verdict is None

    def _unpacked(self, request: Request) -> Refused | None:
        """Take the content coding off, after the signature: that is of the body as sent. Or say why it cannot be."""
        if self._front.overloaded:
            return Refused("overloaded", "too much waits here", HTTPStatus.SERVICE_UNAVAILABLE, 1.0)
        limit = self._front.limits.max_body
        try:
            content = content_of(request.headers[b"content-encoding"], request.body, limit)
        except TooLargeError as error:
            return Refused("too_large", str(error), HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        except ValueError as error:
            return Refused("bad_request", str(error), HTTPStatus.BAD_REQUEST)
        if request.connection is not None:
            request.connection.grow(request, content)
        return None

    def _verdict(self, request: Request) -> Verdict:
        if self._callers is not None and (objection := self._callers.objection(request.peer, _forwarded(request))):
            return Refused("wrong_address", objection)
        return self._judge.verdict(request.target, request.headers, request.body, request.received)

    async def _hand_in(self, requests: Sequence[Request]) -> None:
        """Answer 204 only when the messages are safe."""
        try:
            await self._emit([self._message(request) for request in requests])
        except Retry as error:
            for request in requests:
                self._complain("unavailable", reason=error.reason, detail=error.detail, request=request)
            later = refusal(HTTPStatus.SERVICE_UNAVAILABLE, error.reason, retry_after=error.after or 1.0)
            self._front.answer(requests, later)
        else:
            self._front.answer(requests, accepted())

    def _put_aside(self, request: Request, url: str) -> Refused | None:
        """Let a request wait for its certificate, without holding up the others."""
        if url in self._awaiting:
            self._awaiting[url].append(request)
        elif self._fetches is None or len(self._awaiting) >= _MAX_FETCHES:
            reason = "too many certificates are being fetched"
            return Refused("no_certificate", reason, HTTPStatus.SERVICE_UNAVAILABLE, 1.0)
        else:
            self._awaiting[url] = [request]
            self._fetches.start_soon(self._fetch, url)
        return None

    async def _fetch(self, url: str) -> None:
        """Fetch, then judge those again that waited: the outcome is known now, good or bad."""
        await self._certificates.fetch(url)
        for request in self._awaiting.pop(url):
            self._front.admit(request)

    def _message(self, request: Request) -> Message:
        """Keep the body as it came, and of the headers what says where it came from, and what its data is of.

        Those are as many and as long as headers may be at all.
        """
        headers = request.headers
        attributes = {name: _text(headers[header]) for header, name in _ATTRIBUTES if header in headers}
        if _ANNOUNCES in headers and self._announces(request.target):
            attributes |= {_text(name): _text(text) for name, text in headers.items() if name.startswith(_ANNOUNCED)}
            attributes.setdefault("message_id", attributes.get("ce-id", ""))
        return Message(request.body, request.received, attributes)

    def _refusal(self, request: Request, refused: Refused) -> Answer:
        self._complain(refused.kind, reason=refused.reason, request=request)
        return refusal(refused.status, refused.reason, retry_after=refused.retry_after)


def _forwarded(request: Request) -> str:
    return request.headers.get(b"x-forwarded-for", b"").decode("latin-1")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")  # so that those with other bytes stay others

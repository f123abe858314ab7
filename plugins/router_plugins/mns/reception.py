"""Take pushes from the front in batches, hand in what is genuine, and answer when it is safe."""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPStatus

import anyio
from anyio.abc import TaskGroup

from router import Emit, Message, Retry
from router_plugins.mns.callers import Callers
from router_plugins.mns.certificate import Certificates
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.http import Front, Request, accepted, refusal
from router_plugins.mns.verification import Awaited, Judging, Refused

_MAX_FETCHES = 32
_ATTRIBUTES = (
    (b"x-mns-message-id", "message_id"),
    (b"x-mns-topic-name", "topic"),
    (b"x-mns-subscription-name", "subscription"),
    (b"x-mns-message-tag", "tag"),
    (b"x-mns-publish-time", "publish_time"),
    (b"content-type", "content_type"),
)


_STRANGER = Refused("wrong_address", "pushes are not taken from this address")


class Reception:
    """Works for one listener."""

    def __init__(
        self,
        front: Front,
        judge: Judging,
        certificates: Certificates,
        emit: Emit,
        complain: Complaints,
        callers: Callers | None = None,
    ) -> None:
        self._front = front
        self._judge = judge
        self._certificates = certificates
        self._emit = emit
        self._complain = complain
        self._callers = callers
        self._awaiting: dict[str, list[Request]] = {}
        self._genuine: list[Request] = []
        self._changed = anyio.Event()
        self._over = False

    async def work(self, scope: anyio.CancelScope) -> None:
        """Serve until the front has stopped and nothing waits, or `scope` ends."""
        with scope:
            async with anyio.create_task_group() as fetches:
                async with anyio.create_task_group() as stages:
                    stages.start_soon(self._collect, fetches)
                    stages.start_soon(self._store)
                fetches.cancel_scope.cancel()

    async def _collect(self, fetches: TaskGroup) -> None:
        """Check what comes, as it comes: while some pushes are being made durable, the next are checked."""
        while requests := await self._front.take():
            self._genuine += self._sort_out(requests, fetches)
            self._changed.set()
        self._over = True
        self._changed.set()

    async def _store(self) -> None:
        """Hand in all that waits, as one batch: the fewer commits, the more results a second."""
        while not self._over or self._genuine:
            if not self._genuine:
                self._changed = anyio.Event()
                await self._changed.wait()
                continue
            genuine, self._genuine = self._genuine, []
            await self._hand_in(genuine)

    async def _hand_in(self, requests: list[Request]) -> None:
        """Answer 204 only when the messages are safe."""
        try:
            await self._emit([_message(request) for request in requests])
        except Retry as error:
            again = Refused("unavailable", error.reason, HTTPStatus.SERVICE_UNAVAILABLE, error.after or 1.0)
            self._refuse(requests, again)
        else:
            self._front.answer(requests, accepted())

    def _sort_out(self, requests: Iterable[Request], fetches: TaskGroup) -> list[Request]:
        """Return what is taken; refuse the rest, and put aside what needs a certificate that is not here yet."""
        taken: list[Request] = []
        refused: dict[Refused, list[Request]] = {}
        now = time.time()
        for request in requests:
            if self._callers is not None and not self._callers.admit(request.peer, _forwarded(request)):
                refused.setdefault(_STRANGER, []).append(request)
                continue
            verdict = self._judge.verdict(request.target, request.headers, request.body, now)
            if isinstance(verdict, Awaited):
                verdict = self._put_aside(request, verdict.url, fetches)
            elif verdict is None:
                taken.append(request)
            if verdict is not None:
                refused.setdefault(verdict, []).append(request)
        for reason, those in refused.items():
            self._refuse(those, reason)
        return taken

    def _put_aside(self, request: Request, url: str, fetches: TaskGroup) -> Refused | None:
        """Let a request wait for its certificate, without holding up the others of its batch."""
        if url in self._awaiting:
            self._awaiting[url].append(request)
        elif len(self._awaiting) >= _MAX_FETCHES:
            reason = "too many certificates are being fetched"
            return Refused("no_certificate", reason, HTTPStatus.SERVICE_UNAVAILABLE, 1.0)
        else:
            self._awaiting[url] = [request]
            fetches.start_soon(self._fetch, url)
        return None

    async def _fetch(self, url: str) -> None:
        """Fetch, then let those that waited be judged again: the outcome is known now, good or bad."""
        await self._certificates.fetch(url)
        self._front.put_back(self._awaiting.pop(url))

    def _refuse(self, requests: list[Request], refused: Refused) -> None:
        for request in requests:
            self._complain(refused.kind, reason=refused.reason, peer=request.peer)
        self._front.answer(requests, refusal(refused.status, refused.reason, retry_after=refused.retry_after))


def _forwarded(request: Request) -> str:
    return request.headers.get(b"x-forwarded-for", b"").decode("latin-1")


def _message(request: Request) -> Message:
    """Keep the body as it came, and of the headers what says where it came from."""
    headers = request.headers
    attributes = {name: headers[header].decode("utf-8", "replace") for header, name in _ATTRIBUTES if header in headers}
    return Message(request.body, request.received, attributes)

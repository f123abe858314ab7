"""Drain one queue: receive, have it stored, delete what is safe; and end with nothing half-done.

Rules of this file:
* Waiting can be cut off at any time. Storing, and deleting what was stored, are begun to be finished: they have `GRACE`
  seconds once it is to stop. A poll that is under way then has `LAST_POLL` seconds: one that has messages to bring
  brings them, instead of leaving them hidden for a lease; one that waits for messages is given up.
* Batches are deleted off the way of receiving; as many wait for it as there are pollers.
* One poller waits for messages while there are none. A full batch lets one more poll along, an empty answer sends all
  but the first to rest: so a backlog is drained as fast as it goes, and an empty queue costs one request each poll.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from router import Emit, Message, Retry
from router_plugins.mns.client import LOST_LEASE, QueueClient
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.credentials import CredentialsError
from router_plugins.mns.errors import MnsAnswerError, MnsError, MnsUnreachableError
from router_plugins.mns.leases import Leases
from router_plugins.mns.wire import Fault, MnsMessage

GRACE = 3.0
"""Seconds that a received batch has to become safe and be deleted, once it is to stop."""


PASSED_BY = 100
"""Answers in a row that cannot be read and are passed by at once; behind such messages there may be others."""
LAST_POLL = 0.5
"""Seconds that a poll which is under way may still take, once it is to stop."""


class Manner(NamedTuple):
    """How a queue is polled: the fields of the same names of the source. Times in seconds."""

    queue: str
    pollers: int
    wait_seconds: int
    batch: int
    lease: float
    pause: float
    slow_retry: float


class Drain:
    """Works for one source. `stop` may be called at any time."""

    def __init__(
        self, manner: Manner, client: QueueClient, emit: Emit, complain: Complaints, tell: Callable[[str], None]
    ) -> None:
        self._manner = manner
        self._client = client
        self._emit = emit
        self._complain = complain
        self._leases = Leases(client, manner.lease, complain)
        self._last = anyio.CancelScope(shield=True)
        self._waiting: set[anyio.CancelScope] = set()
        self._polling: set[anyio.CancelScope] = set()
        self._tell = tell
        self._trouble = False
        """Whether the last poll failed: then the next one does not wait for messages, to know soon."""
        self._stopping = False
        self._unreadable = 0
        """Answers in a row that could not be read."""
        self._singly_until = 0.0
        self._wanted = 1
        self._more_wanted = anyio.Event()

    def stop(self) -> None:
        """Receive no more; what is being stored and deleted has a while to end."""
        now = anyio.current_time()
        self._stopping = True
        self._last.deadline = now + GRACE
        for scope in self._polling:
            scope.deadline = now + LAST_POLL
        for scope in self._waiting - self._polling:
            scope.cancel()

    async def work(self) -> None:
        """Poll until it is stopped and everything is settled; the caller's cancellation does not reach in here."""
        safe, stored = anyio.create_memory_object_stream[list[str]](self._manner.pollers)
        with self._last:
            async with anyio.create_task_group() as beside:
                beside.start_soon(self._leases.keep)
                async with stored, anyio.create_task_group() as deleters:
                    for _ in range(self._manner.pollers):
                        deleters.start_soon(self._delete_stored, stored)
                    async with safe, anyio.create_task_group() as pollers:
                        for number in range(self._manner.pollers):
                            pollers.start_soon(self._poll, number, safe)
                beside.cancel_scope.cancel()

    async def _poll(self, number: int, safe: MemoryObjectSendStream[list[str]]) -> None:
        """Receive and have it stored, for ever."""
        wait = 0.0
        while not self._stopping:
            messages: Sequence[MnsMessage] = ()
            with anyio.CancelScope() as scope:
                self._waiting.add(scope)
                await anyio.sleep(wait)
                wait = 0.0
                await self._turn(number)
                try:
                    most = 1 if anyio.current_time() < self._singly_until else self._manner.batch
                    messages = await self._receive(most, scope)
                except MnsAnswerError as error:
                    self._complain("unreadable", error=str(error))
                    # By then, what this answer held was received again.
                    self._singly_until = anyio.current_time() + 2 * self._manner.lease
                    self._unreadable += 1
                    if self._unreadable > PASSED_BY:
                        wait = min(self._manner.pause, self._manner.slow_retry)
                else:
                    self._unreadable = 0
            self._waiting.discard(scope)
            if messages:
                wait = await self._store(messages, safe)

    async def _turn(self, number: int) -> None:
        """Wait until this many pollers are wanted."""
        while number >= self._wanted:
            await self._more_wanted.wait()

    def _want(self, pollers: int) -> None:
        if pollers > self._wanted:
            self._more_wanted.set()
            self._more_wanted = anyio.Event()
        self._wanted = pollers

    async def _receive(self, most: int, scope: anyio.CancelScope) -> Sequence[MnsMessage]:
        """Return what a poll brought; after one that brought nothing, rest as long as is right.

        Raises `MnsAnswerError` for what cannot be read.
        """
        begun, patient = anyio.current_time(), not self._trouble
        self._polling.add(scope)
        try:
            messages = await self._ask(most)
        finally:
            self._polling.discard(scope)
        if messages:
            if len(messages) == most:
                self._want(min(self._wanted + 1, self._manner.pollers))
            return messages
        self._want(1)
        if messages is None:
            await anyio.sleep(self._manner.slow_retry)
        elif patient:
            await self._rest(anyio.current_time() - begun)
        return ()

    async def _ask(self, most: int) -> Sequence[MnsMessage] | None:
        """Poll once; return None where that failed. Raises `MnsAnswerError` for what cannot be read."""
        try:
            messages = await self._client.receive(most, 0 if self._trouble else self._manner.wait_seconds)
        except MnsAnswerError:
            self._note()
            raise
        except (CredentialsError, MnsError, MnsUnreachableError) as error:
            kind = _kind(error)
            self._complain(kind, error=str(error), **({"code": error.code} if isinstance(error, MnsError) else {}))
            self._note(f"{kind}: {error}")
            return None
        self._note()
        return messages

    def _note(self, trouble: str = "") -> None:
        """Tell how the service answers, if that is another way than before."""
        if trouble or self._trouble:
            self._tell(trouble)
        self._trouble = bool(trouble)

    async def _rest(self, waited: float) -> None:
        """Pause after an empty answer that came before its time (PROTOCOL 1.6): else polls become a hot loop.

        The service does not wait quite as long as it is asked to: 0.87 of one second (PROTOCOL 8.1).
        """
        due = self._manner.wait_seconds
        if due and waited >= due / 2:
            return
        if due:
            self._complain("early_empty", waited=round(waited, 3))
        await anyio.sleep(min(self._manner.pause, max(0.0, (due or self._manner.pause) - waited)))

    async def _store(self, messages: Sequence[MnsMessage], safe: MemoryObjectSendStream[list[str]]) -> float:
        """Have a batch stored, and then deleted while the next is received; return the seconds to wait before that.

        What is not stored is left: it comes again when its lease is over.
        """
        handles = [message.handle for message in messages]
        try:
            async with self._leases.held(handles):
                await self._emit([self._message(message) for message in messages])
        except Retry as error:
            self._complain("unavailable", reason=error.reason, detail=error.detail)
            return self._manner.slow_retry if error.after is None else error.after
        await safe.send(handles)
        return 0.0

    def _message(self, message: MnsMessage) -> Message:
        attributes = {
            "message_id": message.id,
            "queue": self._manner.queue,
            "dequeue_count": str(message.dequeue_count),
        }
        return Message(message.body.encode("utf-8", "surrogateescape"), time.time(), attributes)

    async def _delete_stored(self, stored: MemoryObjectReceiveStream[list[str]]) -> None:
        """Delete batches until no more come."""
        async for handles in stored:
            await self._delete(handles)

    async def _delete(self, handles: Sequence[str]) -> None:
        """Delete what is safe. A failure costs no more than a redelivery, which is dropped downstream."""
        try:
            faults = await self._client.delete_batch(handles)
        except (MnsError, MnsUnreachableError, CredentialsError) as error:
            code = error.code if isinstance(error, MnsError) else ""
            faults = [Fault(code, str(error), handle=handle) for handle in handles]
        for fault in faults:
            kind = "lost_lease" if fault.code in LOST_LEASE else "delete_failed"
            self._complain(kind, code=fault.code, error=fault.message)


def _kind(error: Exception) -> str:
    """Return the word under which a failed poll is counted."""
    if isinstance(error, CredentialsError):
        return "no_credentials"
    return "refused" if isinstance(error, MnsError) else "unreachable"

"""The source `mns_queue`: results that wait in an MNS queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import anyio
import msgspec
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from router import ConfigError, Count, Emit, Message, Retry, Secret, Source
from router.units import Duration
from router_plugins.mns.access import access_of
from router_plugins.mns.client import LOST_LEASE, QueueClient, Retries
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.credentials import CredentialsError
from router_plugins.mns.errors import MnsAnswerError, MnsError, MnsUnreachableError
from router_plugins.mns.grace import within_grace
from router_plugins.mns.wire import Fault, MnsMessage

GRACE = 3.0
"""Seconds that a received batch has to become safe and be deleted, once the source is stopped."""

_LONGEST_LEASE = 43200

_log = structlog.get_logger(__name__)


class MnsQueue(Source, frozen=True, kw_only=True):
    """Receive messages by long polls; delete them once they are safe.

    Counts: `lost_lease` (deleted too late: the message comes again and is dropped as a duplicate), `delete_failed`
    (likewise), `lease_extended` (hidden longer, as storing takes long), `unreadable` (an answer that is no XML: after
    it, messages are received one by one for a while, so that one of them holds up no others), `no_credentials`
    (no access key that is still good), `refresh_failed` (no new one from `credentials_uri`; the last may still be
    good), `extend_failed`, `unavailable` (the router could not store), `refused` (the service said no),
    `unreachable`, `early_empty` (the service did not wait: too many long polls on the queue).
    """

    endpoint: str
    """`https://ACCOUNT.mns.REGION.aliyuncs.com`."""
    queue: str
    """The queue's name."""
    access_key_id: str = ""
    """The key that may receive from and delete in the queue."""
    access_key_secret: Secret = Secret("")
    """Its secret."""
    security_token: Secret | None = None
    """The token that belongs to a temporary key (STS)."""
    credentials_file: Path | None = None
    """Instead of these: JSON `{AccessKeyId, AccessKeySecret, SecurityToken, Expiration}`, read when it changes."""
    credentials_uri: Secret | None = None
    """Or an address that gives the same, renewed ahead of the expiration: `${ALIBABA_CLOUD_CREDENTIALS_URI}`, or
    `http://100.100.100.200/latest/meta-data/ram/security-credentials/ROLE` on an ECS instance."""
    signature: Literal["v2", "v4"] = "v2"
    """The version of requests' signatures; v4 needs the `region`."""
    region: str = ""
    """The region's name in a v4 signature: `cn-hangzhou`."""
    pollers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    """Long polls at once."""
    wait_seconds: Annotated[int, msgspec.Meta(ge=0, le=30)] = 30
    """Seconds that a poll waits for a message."""
    batch: Annotated[int, msgspec.Meta(ge=1, le=16)] = 16
    """Messages in one poll at most."""
    lease: Duration = 30.0
    """The queue's VisibilityTimeout: while storing takes longer than half of it, messages are hidden for this again."""
    pause: Duration = 5.0
    """Seconds to wait after an empty answer that came early, so that there is no storm of requests."""
    slow_retry: Duration = 30.0
    """Seconds to wait after the service refused or could not be reached."""

    def check(self) -> None:
        """Refuse an endpoint that is no URL of a host, and a queue without a name."""
        access_of(self).check()
        for field in ("pause", "slow_retry"):
            if getattr(self, field) <= 0:
                raise ConfigError(field, "must be more than 0")
        if not 1 <= self.lease <= _LONGEST_LEASE:
            raise ConfigError("lease", f"must be from 1 s to {_LONGEST_LEASE} s")

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        """Poll until cancelled."""
        retries = Retries(shortest=min(1.0, self.slow_retry), longest=self.slow_retry)
        complain = Complaints(count, f"trouble with the queue {self.queue}")
        safe, stored = anyio.create_memory_object_stream[list[str]](self.pollers)
        last = anyio.CancelScope(shield=True)
        async with (
            access_of(self).open(retries, complain) as client,
            stored,
            anyio.create_task_group() as deleters,
        ):
            deleters.start_soon(self._delete_stored, stored, last, client, complain)
            try:
                async with safe, anyio.create_task_group() as tasks:
                    for _ in range(self.pollers):
                        tasks.start_soon(self._poll, client, emit, safe, complain)
                    _log.info("polling a queue", endpoint=self.endpoint, queue=self.queue, pollers=self.pollers)
                    ready()
            finally:
                last.deadline = anyio.current_time() + GRACE

    async def _poll(
        self, client: QueueClient, emit: Emit, safe: MemoryObjectSendStream[list[str]], complain: Complaints
    ) -> None:
        """Receive and pass on, for ever; pause where going on at once would do harm."""
        singly_until = 0.0
        while True:
            begun = anyio.current_time()
            try:
                messages = await self._receive(client, 1 if begun < singly_until else self.batch, complain)
            except MnsAnswerError as error:
                complain("unreadable", error=str(error))
                singly_until = anyio.current_time() + 2 * self.lease  # by then what this answer held was received again
                await anyio.sleep(min(self.pause, self.slow_retry))
                continue
            if messages is None:
                await anyio.sleep(self.slow_retry)
            elif messages:
                await self._pass_on(messages, client, emit, safe, complain)
            else:
                await self._rest(anyio.current_time() - begun, complain)

    async def _rest(self, waited: float, complain: Complaints) -> None:
        """Pause after an empty answer that came before its time (PROTOCOL 1.6): else polls become a hot loop."""
        if waited < self.wait_seconds / 2:
            complain("early_empty", waited=round(waited, 3))
        due = self.wait_seconds or self.pause
        await anyio.sleep(min(self.pause, max(0.0, due - waited)))

    async def _receive(self, client: QueueClient, most: int, complain: Complaints) -> list[MnsMessage] | None:
        """Return what a poll brought; None where it failed. Raises `MnsAnswerError` for what cannot be read."""
        try:
            return await client.receive(most, self.wait_seconds)
        except MnsAnswerError:
            raise
        except CredentialsError as error:
            complain("no_credentials", error=str(error))
        except MnsError as error:
            complain("refused", error=str(error), code=error.code)
        except MnsUnreachableError as error:
            complain("unreachable", error=str(error))
        return None

    async def _pass_on(
        self,
        messages: Sequence[MnsMessage],
        client: QueueClient,
        emit: Emit,
        safe: MemoryObjectSendStream[list[str]],
        complain: Complaints,
    ) -> None:
        """Make a batch safe, and have it deleted while the next is received; as much may wait as pollers receive.

        What is not stored is left: it comes again when its lease is over.
        """
        wait: float | None = None
        handles = [message.handle for message in messages]

        async def store_and_delete() -> None:
            nonlocal wait
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_hidden, handles, client, complain)
                try:
                    await emit([self._message(message) for message in messages])
                except Retry as error:
                    complain("unavailable", reason=error.reason)
                    wait = self.slow_retry if error.after is None else error.after
                tasks.cancel_scope.cancel()
            if wait is None:
                await safe.send(handles)

        await within_grace(store_and_delete, GRACE)
        await anyio.sleep(wait or 0.0)

    async def _keep_hidden(self, handles: list[str], client: QueueClient, complain: Complaints) -> None:
        """Hide what is still being stored for another lease whenever half of one is over, under new handles."""
        while True:
            await anyio.sleep(self.lease / 2)
            for place, handle in enumerate(handles):
                # Not cut off in the middle: the old handle would be dead, and the new one unknown.
                with anyio.move_on_after(GRACE, shield=True):
                    try:
                        handles[place] = await client.change_visibility(handle, ceil(self.lease))
                        complain("lease_extended")
                    except (MnsError, MnsUnreachableError, CredentialsError) as error:
                        complain("extend_failed", error=str(error))

    async def _delete_stored(
        self,
        stored: MemoryObjectReceiveStream[list[str]],
        last: anyio.CancelScope,
        client: QueueClient,
        complain: Complaints,
    ) -> None:
        """Delete batches, as many at once as there are pollers, until no more come or `last` is over."""

        async def work() -> None:
            async for handles in stored:
                await _delete(handles, client, complain)

        with last:
            async with anyio.create_task_group() as tasks:
                for _ in range(self.pollers):
                    tasks.start_soon(work)

    def _message(self, message: MnsMessage) -> Message:
        attributes = {"message_id": message.id, "queue": self.queue, "dequeue_count": str(message.dequeue_count)}
        return Message(message.body.encode(), time.time(), attributes)


async def _delete(handles: Sequence[str], client: QueueClient, complain: Complaints) -> None:
    """Delete what is safe. A failure costs no more than a redelivery, which is dropped downstream."""
    try:
        faults = await client.delete_batch(handles)
    except (MnsError, MnsUnreachableError, CredentialsError) as error:
        code = error.code if isinstance(error, MnsError) else ""
        faults = [Fault(code, str(error), handle=handle) for handle in handles]
    for fault in faults:
        complain("lost_lease" if fault.code in LOST_LEASE else "delete_failed", code=fault.code, error=fault.message)

"""The source `mns_queue`: results that wait in an MNS queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated
from urllib.parse import urlsplit

import anyio
import msgspec
import structlog

from router import ConfigError, Count, Emit, Message, Retry, Secret, Source
from router.units import Duration
from router_plugins.mns.client import (
    LOST_LEASE,
    Credentials,
    MnsError,
    MnsUnreachableError,
    QueueClient,
    Retries,
    open_queue,
)
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.grace import within_grace
from router_plugins.mns.wire import Fault, MnsMessage

GRACE = 3.0
"""Seconds that a received batch has to become safe and be deleted, once the source is stopped."""

_log = structlog.get_logger(__name__)


class MnsQueue(Source, frozen=True, kw_only=True):
    """Receive messages by long polls; delete them once they are safe.

    Counts: `lost_lease` (deleted too late: the message comes again and is dropped as a duplicate), `delete_failed`
    (likewise), `unavailable` (the router could not store), `refused` (the service said no), `unreachable`,
    `early_empty` (the service did not wait: too many long polls on the queue).
    """

    endpoint: str
    """`https://ACCOUNT.mns.REGION.aliyuncs.com`."""
    queue: str
    """The queue's name."""
    access_key_id: str
    """The key that may receive from and delete in the queue."""
    access_key_secret: Secret
    """Its secret."""
    security_token: Secret | None = None
    """The token that belongs to a temporary key (STS)."""
    pollers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    """Long polls at once."""
    wait_seconds: Annotated[int, msgspec.Meta(ge=0, le=30)] = 30
    """Seconds that a poll waits for a message."""
    batch: Annotated[int, msgspec.Meta(ge=1, le=16)] = 16
    """Messages in one poll at most."""
    pause: Duration = 5.0
    """Seconds to wait after an empty answer that came early, so that there is no storm of requests."""
    slow_retry: Duration = 30.0
    """Seconds to wait after the service refused or could not be reached."""

    def check(self) -> None:
        """Refuse an endpoint that is no URL of a host, and a queue without a name."""
        parts = urlsplit(self.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.path.strip("/"):
            raise ConfigError(
                "endpoint", f"{self.endpoint!r} is no endpoint", "https://ACCOUNT.mns.REGION.aliyuncs.com"
            )
        if not self.queue or "/" in self.queue:
            raise ConfigError("queue", f"{self.queue!r} is no name of a queue")
        for field in ("pause", "slow_retry"):
            if getattr(self, field) <= 0:
                raise ConfigError(field, "must be more than 0")

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        """Poll until cancelled."""
        credentials = Credentials(self.access_key_id, self.access_key_secret, self.security_token)
        retries = Retries(shortest=min(1.0, self.slow_retry), longest=self.slow_retry)
        async with (
            open_queue(self.endpoint, self.queue, credentials, retries=retries) as client,
            anyio.create_task_group() as tasks,
        ):
            complain = Complaints(count, f"trouble with the queue {self.queue}")
            for _ in range(self.pollers):
                tasks.start_soon(self._poll, client, emit, complain)
            _log.info("polling a queue", endpoint=self.endpoint, queue=self.queue, pollers=self.pollers)
            ready()

    async def _poll(self, client: QueueClient, emit: Emit, complain: Complaints) -> None:
        """Receive and pass on, for ever; pause where going on at once would do harm."""
        while True:
            begun = anyio.current_time()
            messages = await self._receive(client, complain)
            if messages is None:
                await anyio.sleep(self.slow_retry)
            elif messages:
                await self._pass_on(messages, client, emit, complain)
            else:
                await self._rest(anyio.current_time() - begun, complain)

    async def _rest(self, waited: float, complain: Complaints) -> None:
        """Pause after an empty answer that came before its time (PROTOCOL 1.6): else polls become a hot loop."""
        if waited < self.wait_seconds / 2:
            complain("early_empty", waited=round(waited, 3))
        due = self.wait_seconds or self.pause
        await anyio.sleep(min(self.pause, max(0.0, due - waited)))

    async def _receive(self, client: QueueClient, complain: Complaints) -> list[MnsMessage] | None:
        """Return what a poll brought; None where it failed."""
        try:
            return await client.receive(self.batch, self.wait_seconds)
        except MnsError as error:
            complain("refused", error=str(error), code=error.code)
        except MnsUnreachableError as error:
            complain("unreachable", error=str(error))
        return None

    async def _pass_on(
        self, messages: Sequence[MnsMessage], client: QueueClient, emit: Emit, complain: Complaints
    ) -> None:
        """Make a batch safe, then delete it. What is not stored is left: it comes again when its lease is over."""
        wait = 0.0

        async def store_and_delete() -> None:
            nonlocal wait
            try:
                await emit([self._message(message) for message in messages])
            except Retry as error:
                complain("unavailable", reason=error.reason)
                wait = self.slow_retry if error.after is None else error.after
            else:
                await _delete([message.handle for message in messages], client, complain)

        await within_grace(store_and_delete, GRACE)
        await anyio.sleep(wait)

    def _message(self, message: MnsMessage) -> Message:
        attributes = {"message_id": message.id, "queue": self.queue, "dequeue_count": str(message.dequeue_count)}
        return Message(message.body.encode(), time.time(), attributes)


async def _delete(handles: Sequence[str], client: QueueClient, complain: Complaints) -> None:
    """Delete what is safe. A failure costs no more than a redelivery, which is dropped downstream."""
    try:
        faults = await client.delete_batch(handles)
    except (MnsError, MnsUnreachableError) as error:
        code = error.code if isinstance(error, MnsError) else ""
        faults = [Fault(code, str(error), handle=handle) for handle in handles]
    for fault in faults:
        complain("lost_lease" if fault.code in LOST_LEASE else "delete_failed", code=fault.code, error=fault.message)

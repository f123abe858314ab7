"""The source `mns_queue`: results that wait in an MNS queue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import anyio
import msgspec
import structlog
from msgspec.structs import replace

from router import ConfigError, Count, Emit, Ready, Secret, Source
from router.units import Duration
from router_plugins.mns.access import access_of
from router_plugins.mns.client import Retries
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.drain import Drain, Manner

_LONGEST_LEASE = 43200

_log = structlog.get_logger(__name__)


class MnsQueue(Source, frozen=True, kw_only=True):
    """Receive messages by long polls; delete them once they are safe.

    Counts: `lost_lease` (deleted too late: the message comes again and is dropped as a duplicate), `delete_failed`
    (likewise), `lease_extended` (hidden longer, as storing takes long), `unreadable` (an answer that is no XML: after
    it, messages are received one by one for a while, so that one of them holds up no others), `no_credentials`
    (no access key that is still good), `refresh_failed` (no new one from the file or the address; the last may
    still be good), `extend_failed`, `unavailable` (the router could not store), `refused` (the service said no),
    `unreachable`, `early_empty` (the service did not wait: too many long polls on the queue).
    """

    parallel: ClassVar[bool] = True

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
    pollers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    """Polls at once at most: so many while there is a backlog, one while the queue is empty."""
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
        """Poll until cancelled; it is ready until the service refuses a poll, and again when it answers one."""
        retries = Retries(shortest=min(1.0, self.slow_retry), longest=self.slow_retry)
        complain = Complaints(count, f"trouble with the queue {self.queue}")
        async with access_of(self).open(retries, complain) as client, anyio.create_task_group() as tasks:
            manner = Manner(**{field: getattr(self, field) for field in Manner._fields})
            drain = Drain(manner, client, emit, complain, partial(_tell, ready))
            tasks.start_soon(drain.work)
            try:
                _log.info("polling a queue", endpoint=self.endpoint, queue=self.queue, pollers=self.pollers)
                ready()
                await anyio.sleep_forever()
            finally:
                drain.stop()

    def divided(self, processes: int) -> Self:
        """Let each process have its part of the pollers, one at least."""
        return replace(self, pollers=ceil(self.pollers / processes))


def _tell(ready: Callable[[], None], trouble: str) -> None:
    """Say that messages can arrive, or what keeps them from it, to whoever wants to know that."""
    if not trouble:
        ready()
    elif isinstance(ready, Ready):
        ready.lost(trouble)

"""What queues hold and say: attributes, messages as sent and as received, and the policy for dead letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from router_plugins.emulator.properties import NONE, Properties

Clock = Callable[[], float]
"""Seconds since the Unix epoch."""

LostLease = Literal["MessageNotExist", "ReceiptHandleError"]
"""How an expired handle is answered: documentation is split, so it is a switch (PROTOCOL 1.6)."""

DEFAULT_PRIORITY = 8


class DlqPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What becomes of messages that are given up on (PROTOCOL 2.6).

    `dead_letter_target_queue` names a queue of the account. A subscription gives up by its strategy; a queue when a
    message that was received `max_receive_count` times would be received once more.
    """

    enabled: bool = False
    dead_letter_target_queue: Annotated[str, msgspec.Meta(max_length=120)] = ""
    max_receive_count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 16

    @property
    def queue(self) -> str:
        """The queue that takes them, "" when there is none."""
        return self.dead_letter_target_queue if self.enabled else ""


_NO_POLICY = msgspec.to_builtins(DlqPolicy())


class QueueAttributes(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What an owner can set. Times in seconds, sizes in bytes (PROTOCOL 1.7)."""

    visibility_timeout: Annotated[int, msgspec.Meta(ge=1, le=43200)] = 30
    maximum_message_size: Annotated[int, msgspec.Meta(ge=1024, le=65536)] = 65536
    message_retention_period: Annotated[int, msgspec.Meta(ge=60, le=604800)] = 345600
    delay_seconds: Annotated[int, msgspec.Meta(ge=0, le=604800)] = 0
    polling_wait_seconds: Annotated[int, msgspec.Meta(ge=0, le=30)] = 0
    logging_enabled: bool = False
    dlq_policy: DlqPolicy = DlqPolicy()


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A message as it was sent.

    Messages of one `group` are received one after the other, in the order of sending; "" is no group.
    """

    message_id: str
    body: str
    body_md5: str
    enqueued: float
    priority: int
    properties: Properties = NONE
    group: str = ""


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A message as it is received or peeked at; `handle` is "" for a peek. Times in Unix seconds."""

    message: Stored
    handle: str
    next_visible: float
    first_dequeued: float
    dequeues: int


class Counts(msgspec.Struct, frozen=True):
    """How many messages are there to receive, received but not deleted, and not yet visible."""

    active: int
    inactive: int
    delayed: int


def described(attributes: msgspec.Struct) -> dict[str, object]:
    """Return attributes by the names that replies give them; a policy that is not enabled is left out."""
    return {name: value for name, value in msgspec.to_builtins(attributes).items() if value != _NO_POLICY}

"""What can be asked of the emulator's own API, beside rules and campaigns."""

from __future__ import annotations

from typing import Annotated

import msgspec

from router_plugins.emulator.queued import QueueAttributes
from router_plugins.emulator.topic import ContentFormat, Strategy, TopicAttributes


class QueueOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A queue to make; the attributes have the names of PROTOCOL 1.7."""

    name: str
    attributes: QueueAttributes = QueueAttributes()


class TopicOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A topic to make."""

    name: str
    attributes: TopicAttributes = TopicAttributes()


class SubscriptionOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription to make; `queue` names one of the account's queues instead of an `endpoint`."""

    topic: str
    name: str
    endpoint: str = ""
    queue: str = ""
    filter_tag: Annotated[str, msgspec.Meta(max_length=16)] = ""
    strategy: Strategy = "BACKOFF_RETRY"
    content_format: ContentFormat = "SIMPLIFIED"
    dead_letter_queue: str = ""


class MessageOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message to publish or to send; queues have no tags."""

    body: str
    tag: str = ""


class ReceiveOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many messages to receive, and whether they are deleted at once."""

    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 16
    delete: bool = False

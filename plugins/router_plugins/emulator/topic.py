"""Topics and subscriptions: who gets a message, in which form, and how often it is tried (PROTOCOL 2)."""

from __future__ import annotations

import secrets
from random import Random
from typing import Annotated, Literal

import msgspec

from router_plugins.emulator import xml
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.ledger import Origin
from router_plugins.emulator.properties import NONE, Properties, body_md5
from router_plugins.emulator.queued import DlqPolicy

ContentFormat = Literal["XML", "SIMPLIFIED", "JSON"]
Strategy = Literal["BACKOFF_RETRY", "EXPONENTIAL_DECAY_RETRY"]

_ATTEMPTS_OF_BACKOFF = 4
_RETRIES_OF_DECAY = 176
_LONGEST_DECAY = 512.0

_PUSHED = "http://mns.aliyuncs.com/doc/v1/"
"""The namespace of envelopes: they have the slash, which the API's documents lost (PROTOCOL 2.4, 8.1)."""

_json = msgspec.json.Encoder().encode


class TopicAttributes(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What an owner can set; the size in bytes."""

    maximum_message_size: Annotated[int, msgspec.Meta(ge=1024, le=65536)] = 65536
    logging_enabled: bool = False


class SubscriptionAttributes(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What a subscriber says; only the strategy and the policy can be changed later.

    `endpoint` is an HTTP URL or `acs:mns:{region}:{account}:queues/{queue}`. The policy's `max_receive_count` is a
    queue's and means nothing here.
    """

    endpoint: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    filter_tag: Annotated[str, msgspec.Meta(max_length=16)] = ""
    notify_strategy: Strategy = "BACKOFF_RETRY"
    notify_content_format: ContentFormat = "XML"
    dlq_policy: DlqPolicy = DlqPolicy()


class Subscription(msgspec.Struct, frozen=True):
    """One subscription of a topic; times in Unix seconds."""

    topic: str
    name: str
    attributes: SubscriptionAttributes
    created: float
    modified: float


class TopicMessage(msgspec.Struct, frozen=True, gc=False):
    """A published message; `published` in Unix seconds."""

    message_id: str
    body: str
    body_md5: str
    tag: str
    published: float
    origin: Origin | None = None
    properties: Properties = NONE


class Push(msgspec.Struct, frozen=True, gc=False):
    """One HTTP delivery to make: a message for a subscription."""

    message: TopicMessage
    subscription: Subscription


class Topic:
    """One topic and its subscriptions by name."""

    def __init__(self, name: str, attributes: TopicAttributes, now: float) -> None:
        self.name = name
        self.attributes = attributes
        self.created = self.modified = now
        self.published = 0
        self.subscriptions: dict[str, Subscription] = {}

    def change(self, attributes: TopicAttributes, now: float) -> None:
        """Set other attributes."""
        self.attributes = attributes
        self.modified = now

    def publish(
        self, body: str, tag: str, now: float, origin: Origin | None, properties: Properties = NONE
    ) -> tuple[TopicMessage, list[Subscription]]:
        """Take a message; return it with the subscriptions that get a copy. Raises `InvalidArgument` when too long."""
        octets = body.encode()
        if not octets or len(octets) > self.attributes.maximum_message_size:
            limit = self.attributes.maximum_message_size
            raise ServiceError("InvalidArgument", f"The length of message should between 1 and {limit} bytes.")
        self.published += 1
        digest = body_md5(octets, properties)
        message = TopicMessage(secrets.token_hex(16).upper(), body, digest, tag, now, origin, properties)
        wanted = [s for s in self.subscriptions.values() if s.attributes.filter_tag in {"", tag}]
        return message, wanted


def content(message: TopicMessage, subscription: Subscription, owner: str) -> str:
    """Write what an endpoint gets: the bare message or an envelope around it (PROTOCOL 2.4)."""
    chosen = subscription.attributes.notify_content_format
    if chosen == "SIMPLIFIED":
        return message.body
    tag = {"MessageTag": message.tag} if message.tag else {}
    published = str(int(message.published * 1000))
    if chosen == "JSON":
        return _json(
            {
                "TopicOwner": owner, "Message": message.body, "Subscriber": owner, "PublishTime": published,
                "SubscriptionName": subscription.name, "MessageMD5": message.body_md5, **tag,
                "TopicName": subscription.topic, "MessageId": message.message_id,
            }
        ).decode()  # fmt: skip
    fields = {
        "TopicOwner": owner, "TopicName": subscription.topic, "Subscriber": owner,
        "SubscriptionName": subscription.name, "MessageId": message.message_id, "MessageMD5": message.body_md5,
        "Message": message.body, **tag, "PublishTime": published,
    }  # fmt: skip
    lines = "".join(f"  {xml.leaf(name, value)}\n" for name, value in fields.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Notification xmlns="{_PUSHED}">\n{lines}</Notification>'


def redelivery_wait(strategy: Strategy, failures: int, random: Random) -> float | None:
    """Return the seconds to wait after so many failures in a row, None to give up (PROTOCOL 2.6)."""
    if strategy == "BACKOFF_RETRY":
        return random.uniform(10, 20) if failures < _ATTEMPTS_OF_BACKOFF else None
    if failures > _RETRIES_OF_DECAY:
        return None
    return min(2.0 ** (failures - 1), _LONGEST_DECAY)

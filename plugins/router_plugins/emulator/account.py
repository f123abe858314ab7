"""One cloud account in one region: its queues, topics and subscriptions, and what a publication reaches.

Everything here is synchronous and pure but for the clock; what must be pushed over HTTP is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import TypeVar

import msgspec

from router_plugins.emulator import checks, xml
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.faults import FARTHEST, Faults, happens
from router_plugins.emulator.ledger import Origin
from router_plugins.emulator.properties import NONE, Properties, dead_letter
from router_plugins.emulator.queue import Queue, new_message_id
from router_plugins.emulator.queued import DEFAULT_PRIORITY, Clock, LostLease, QueueAttributes, Stored
from router_plugins.emulator.topic import (
    Push,
    Subscription,
    SubscriptionAttributes,
    Topic,
    TopicAttributes,
    TopicMessage,
    content,
)

_MOST_SUBSCRIPTIONS = 100

T = TypeVar("T")


class Account:
    """The account. `arrived` is called with a queue's name whenever a message was put into it."""

    def __init__(
        self,
        number: str,
        region: str,
        clock: Clock,
        *,
        fast: float = 1,
        lost: LostLease = "MessageNotExist",
        arrived: Callable[[str], None] = lambda _: None,
        faults: Callable[[], Faults] = Faults,
    ) -> None:
        self.number = number
        self.region = region
        self.logging_bucket = ""
        self.queues: dict[str, Queue] = {}
        self.topics: dict[str, Topic] = {}
        self.undeliverable = 0
        self._clock = clock
        self._fast = fast
        self._lost: LostLease = lost
        self._arrived = arrived
        self._faults = faults
        self._random = Random()  # noqa: S311 - which messages come twice or late when they are told to

    @property
    def resource(self) -> str:
        """What the names of the account's resources begin with."""
        return f"acs:mns:{self.region}:{self.number}:"

    def queue(self, name: str) -> Queue:
        """Return the queue, or raise `QueueNotExist`."""
        return _found(self.queues, name, "QueueNotExist")

    def topic(self, name: str) -> Topic:
        """Return the topic, or raise `TopicNotExist`."""
        return _found(self.topics, name, "TopicNotExist")

    def subscription(self, topic: str, name: str) -> Subscription:
        """Return the subscription, or raise `TopicNotExist` or `SubscriptionNotExist`."""
        return _found(self.topic(topic).subscriptions, name, "SubscriptionNotExist")

    def create_queue(self, name: str, attributes: QueueAttributes) -> bool:
        """Say whether the queue is new; raise `QueueAlreadyExist` if it is there with other attributes."""
        checks.check_queue_name(name)
        if (there := self.queues.get(name)) is not None:
            return _unchanged(there.attributes == attributes, "QueueAlreadyExist")
        checks.check_policy(name, attributes.dlq_policy)
        self.queues[name] = Queue(
            name, attributes, self._clock, fast=self._fast, lost=self._lost, bury=self._bury_of_queue,
            straggle=self._straggle,
        )  # fmt: skip
        return True

    def change_queue(self, name: str, attributes: QueueAttributes) -> None:
        """Set other attributes."""
        queue = self.queue(name)
        checks.check_policy(name, attributes.dlq_policy)
        queue.change(attributes)

    def delete_queue(self, name: str) -> None:
        """Delete the queue and what is in it; one that is not there is no error."""
        self.queues.pop(name, None)

    def send(
        self,
        queue: Queue,
        body: str,
        *,
        delay: int | None = None,
        priority: int = DEFAULT_PRIORITY,
        properties: Properties = NONE,
        group: str = "",
    ) -> Stored:
        """Put a message into a queue; `delay` in seconds. Raises `InvalidArgument`."""
        xml.check_writable(body)
        stored = queue.send(body, delay=delay, priority=priority, properties=properties, group=group)
        self._settle_in(queue, stored)
        return stored

    def create_topic(self, name: str, attributes: TopicAttributes) -> bool:
        """Say whether the topic is new; raise `TopicAlreadyExist` if it is there with other attributes."""
        checks.check_topic_name(name)
        if (there := self.topics.get(name)) is not None:
            return _unchanged(there.attributes == attributes, "TopicAlreadyExist")
        self.topics[name] = Topic(name, attributes, self._clock())
        return True

    def change_topic(self, name: str, attributes: TopicAttributes) -> None:
        """Set other attributes."""
        self.topic(name).change(attributes, self._clock())

    def delete_topic(self, name: str) -> None:
        """Delete the topic and its subscriptions; one that is not there is no error."""
        self.topics.pop(name, None)

    def subscribe(self, topic_name: str, name: str, attributes: SubscriptionAttributes, host: str = "") -> bool:
        """Say whether the subscription is new; raise `SubscriptionAlreadyExist` if it is there and different.

        `host` is the one that the caller knows the service by: SDKs take its first label for the account.
        """
        checks.check_subscription_name(name)
        subscriptions = self.topic(topic_name).subscriptions
        checks.check_endpoint(attributes.endpoint, self.resource, host)
        checks.check_policy(checks.queue_of(attributes.endpoint), attributes.dlq_policy)
        if (there := subscriptions.get(name)) is not None:
            return _unchanged(there.attributes == attributes, "SubscriptionAlreadyExist")
        if len(subscriptions) >= _MOST_SUBSCRIPTIONS:
            raise ServiceError("InvalidArgument", f"A topic has at most {_MOST_SUBSCRIPTIONS} subscriptions.")
        now = self._clock()
        subscriptions[name] = Subscription(topic_name, name, attributes, now, now)
        return True

    def change_subscription(self, topic: str, name: str, attributes: SubscriptionAttributes) -> None:
        """Set what can be changed, the strategy and the policy for dead letters; the rest stays as it is."""
        old = self.subscription(topic, name)
        checks.check_policy(checks.queue_of(old.attributes.endpoint), attributes.dlq_policy)
        changed = msgspec.structs.replace(
            old.attributes, notify_strategy=attributes.notify_strategy, dlq_policy=attributes.dlq_policy
        )
        new = msgspec.structs.replace(old, attributes=changed, modified=self._clock())
        self.topic(topic).subscriptions[name] = new

    def unsubscribe(self, topic: str, name: str) -> None:
        """Delete the subscription; one that is not there is no error."""
        self.topic(topic).subscriptions.pop(name, None)

    def publish(
        self,
        topic_name: str,
        body: str,
        tag: str = "",
        origin: Origin | None = None,
        properties: Properties = NONE,
    ) -> tuple[TopicMessage, list[Push]]:
        """Publish to a topic: fill its queues, and return the message and the pushes to make."""
        topic = self.topic(topic_name)
        checks.check_tag(tag)
        if origin is None:
            xml.check_writable(body)
        message, wanted = topic.publish(body, tag, self._clock(), origin, properties)
        return message, self.hand_over(message, wanted)

    def hand_over(self, message: TopicMessage, wanted: Iterable[Subscription]) -> list[Push]:
        """Put a message into the queues among those that want it; return the pushes to make to the others."""
        pushes: list[Push] = []
        for subscription in wanted:
            endpoint = subscription.attributes.endpoint
            queue_name = checks.queue_of(endpoint)
            if queue_name is not None:
                self.put(queue_name, content(message, subscription, self.number), message.origin, message.properties)
            elif checks.is_url(endpoint):
                pushes.append(Push(message, subscription))
            else:
                self.undeliverable += 1
        if message.origin is not None:
            for _ in pushes:
                message.origin.ledger.pushed(message.origin.index)
        return pushes

    def put(self, queue_name: str, body: str, origin: Origin | None, properties: Properties = NONE) -> None:
        """Put what a topic delivers into a queue; what finds no queue, or too small a one, is counted."""
        queue = self.queues.get(queue_name)
        if queue is None or len(body.encode()) > queue.attributes.maximum_message_size:
            self.undeliverable += 1
            return
        if origin is not None:
            origin.ledger.queued(origin.index)
        self._settle_in(queue, queue.send(body, properties=properties, origin=origin))

    def bury(self, push: Push, subscription: Subscription) -> None:
        """Put what a subscription gave up on into its dead-letter queue, if it has one."""
        queue_name = subscription.attributes.dlq_policy.queue
        if queue_name:
            source = f"{self.resource}/topics/{subscription.topic}/subscriptions/{subscription.name}"
            properties = dead_letter(push.message.properties, "TOPIC", source, push.message.message_id)
            self.put(queue_name, push.message.body, push.message.origin, properties)

    def _settle_in(self, queue: Queue, stored: Stored) -> None:
        """Tell who waits; put the message in once more, outside of the books, when duplicates are ordered."""
        self._arrived(queue.name)
        if happens(self._faults().duplicates, self._random):
            queue.accept(stored)
            self._arrived(queue.name)

    def _straggle(self) -> int:
        return self._random.randint(1, FARTHEST) if happens(self._faults().reordering, self._random) else 0

    def _bury_of_queue(self, queue: Queue, message: Stored, origin: Origin | None) -> bool:
        """Move a queue's dead letter; its age counts on from its first sending."""
        target = self.queues.get(queue.attributes.dlq_policy.queue)
        if target is None or len(message.body.encode()) > target.attributes.maximum_message_size:
            return False
        source = f"{self.resource}/queues/{queue.name}"
        properties = dead_letter(message.properties, "QUEUE", source, message.message_id)
        letter = msgspec.structs.replace(message, message_id=new_message_id(), properties=properties, group="")
        target.accept(letter, origin=origin)
        self._arrived(target.name)
        return True


def _found(mapping: Mapping[str, T], name: str, code: str) -> T:
    if name not in mapping:
        raise ServiceError(code)
    return mapping[name]


def _unchanged(equal: bool, code: str) -> bool:  # noqa: FBT001 - the one thing it is about
    """Answer a creation of what is there already: not new, or refused."""
    if not equal:
        raise ServiceError(code)
    return False

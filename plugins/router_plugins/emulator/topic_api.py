"""The topic and subscription operations of the MNS API, and the account's own (PROTOCOL 1.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
from aiohttp import web

from router_plugins.emulator import listing, xml
from router_plugins.emulator.account import Account
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.queued import described
from router_plugins.emulator.topic import Push, Subscription, SubscriptionAttributes, Topic, TopicAttributes
from router_plugins.emulator.wire import Call, created, empty, new_request_id, reply

S = TypeVar("S", TopicAttributes, SubscriptionAttributes)


class TopicApi:
    """The operations on `/topics`. `push` is given what a publication has to push."""

    def __init__(self, account: Account, push: Callable[[Sequence[Push]], None]) -> None:
        self._account = account
        self._push = push

    async def list(self, call: Call) -> web.Response:
        """List the topics."""
        meta = listing.with_meta(call.headers)

        def entry(name: str) -> str:
            described = _topic(self._account.topic(name)) if meta else ""
            return xml.branch("Topic", xml.leaf("TopicURL", f"{call.url}/topics/{name}") + described)

        return reply(200, "Topics", listing.page(self._account.topics, call.headers, entry))

    async def put(self, call: Call) -> web.Response:
        """Create a topic, or set attributes with `metaoverride=true`."""
        name = call.path["topic"]
        given = xml.fields(xml.parse(call.body, "Topic"))
        if call.query.get("metaoverride") == "true":
            topic = self._account.topic(name)
            attributes = _converted({**described(topic.attributes), **given}, TopicAttributes)
            self._account.change_topic(name, attributes)
            return empty()
        new = self._account.create_topic(name, _converted(given, TopicAttributes))
        return created(new, f"{call.url}/topics/{name}")

    async def attributes(self, call: Call) -> web.Response:
        """Return the topic's attributes."""
        return reply(200, "Topic", _topic(self._account.topic(call.path["topic"])))

    async def remove(self, call: Call) -> web.Response:
        """Delete the topic."""
        self._account.delete_topic(call.path["topic"])
        return empty()

    async def publish(self, call: Call) -> web.Response:
        """Publish a message."""
        fields = xml.texts(xml.parse(call.body, "Message"))
        name, tag = call.path["topic"], fields.get("MessageTag", "")
        if "MessageBody" not in fields:
            raise ServiceError("InvalidArgument", "A message needs a MessageBody.")
        message, pushes = self._account.publish(name, fields["MessageBody"], tag)
        self._push(pushes)
        return reply(201, "Message", xml.leaves({"MessageId": message.message_id, "MessageBodyMD5": message.body_md5}))

    async def list_subscriptions(self, call: Call) -> web.Response:
        """List a topic's subscriptions."""
        topic = self._account.topic(call.path["topic"])

        def entry(name: str) -> str:
            url = f"{call.url}/topics/{topic.name}/subscriptions/{name}"
            return xml.branch("Subscription", xml.leaf("SubscriptionURL", url))

        return reply(200, "Subscriptions", listing.page(topic.subscriptions, call.headers, entry))

    async def subscribe(self, call: Call) -> web.Response:
        """Subscribe, or set the strategy with `metaoverride=true`."""
        topic, name = call.path["topic"], call.path["subscription"]
        given = xml.fields(xml.parse(call.body, "Subscription"))
        if call.query.get("metaoverride") == "true":
            old = self._account.subscription(topic, name).attributes
            merged = {**described(old), **given}
            self._account.change_subscription(topic, name, _converted(merged, SubscriptionAttributes))
            return empty()
        new = self._account.subscribe(topic, name, _converted(given, SubscriptionAttributes))
        return created(new, f"{call.url}/topics/{topic}/subscriptions/{name}")

    async def subscription(self, call: Call) -> web.Response:
        """Return a subscription's attributes."""
        found = self._account.subscription(call.path["topic"], call.path["subscription"])
        return reply(200, "Subscription", _subscription(found, self._account.number))

    async def unsubscribe(self, call: Call) -> web.Response:
        """Delete a subscription."""
        self._account.unsubscribe(call.path["topic"], call.path["subscription"])
        return empty()

    async def account(self, call: Call) -> web.Response:
        """Return or set the account's attributes; answers 404 to other questions at the root."""
        if call.query.get("accountmeta") != "true":
            raise ServiceError("InvalidRequestURL")
        if call.body:
            self._account.logging_bucket = xml.texts(xml.parse(call.body, "Account")).get("LoggingBucket", "")
            return empty()
        return reply(200, "Account", xml.leaf("LoggingBucket", self._account.logging_bucket))

    async def open_service(self, _call: Call) -> web.Response:
        """Open the service, which is open."""
        return reply(200, "OpenService", xml.leaf("OrderId", new_request_id()))


def _converted(given: Mapping[str, object], kind: type[S]) -> S:
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ServiceError("InvalidArgument", f"{error}.") from error


def _topic(topic: Topic) -> str:
    return xml.leaves(
        {
            "TopicName": topic.name,
            "CreateTime": int(topic.created),
            "LastModifyTime": int(topic.modified),
            "MessageCount": topic.published,
            "MessageRetentionPeriod": 86400,
            **described(topic.attributes),
        }
    )


def _subscription(subscription: Subscription, owner: str) -> str:
    attributes = subscription.attributes
    fields: dict[str, object] = {
        "TopicOwner": owner,
        "TopicName": subscription.topic,
        "Subscriber": owner,
        "SubscriptionName": subscription.name,
        "Endpoint": attributes.endpoint,
        "NotifyStrategy": attributes.notify_strategy,
        "NotifyContentFormat": attributes.notify_content_format,
        "CreateTime": int(subscription.created),
        "LastModifyTime": int(subscription.modified),
    }
    if attributes.filter_tag:
        fields["FilterTag"] = attributes.filter_tag
    if attributes.dlq_policy.enabled:
        fields["DlqPolicy"] = {"Enabled": True, "DeadLetterTargetQueue": attributes.dlq_policy.queue}
    return xml.leaves(fields)

"""The topic and subscription operations of the MNS API, and the account's own (PROTOCOL 1.6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from router_plugins.emulator import listing, xml
from router_plugins.emulator.account import Account
from router_plugins.emulator.attributes import against_schema, converted
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.properties import properties_of
from router_plugins.emulator.queued import described
from router_plugins.emulator.topic import Push, Subscription, SubscriptionAttributes, Topic, TopicAttributes
from router_plugins.emulator.wire import Call, created, empty, new_request_id, reply


class TopicApi:
    """The operations on `/topics`. `push` is given what a publication has to push."""

    def __init__(self, account: Account, push: Callable[[Sequence[Push]], None]) -> None:
        self._account = account
        self._push = push

    async def list(self, call: Call) -> web.Response:
        """List the topics."""
        meta = listing.with_meta(call.headers)

        def entry(name: str) -> xml.Node:
            described = _topic(self._account.topic(name)) if meta else []
            return xml.branch("Topic", [xml.leaf("TopicURL", f"{call.url}/topics/{name}"), *described])

        return reply(200, "Topics", listing.page(self._account.topics, call.headers, entry))

    async def put(self, call: Call) -> web.Response:
        """Create a topic, or set attributes with `metaoverride=true`."""
        name = call.path["topic"]
        given = xml.fields(xml.parse(call.body, "Topic"))
        if call.query.get("metaoverride") == "true":
            topic = self._account.topic(name)
            attributes = converted({**described(topic.attributes), **given}, TopicAttributes)
            self._account.change_topic(name, attributes)
            return empty()
        new = self._account.create_topic(name, converted(given, TopicAttributes))
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
        sent = xml.parse(call.body, "Message")
        fields = xml.texts(sent)
        name, tag = call.path["topic"], fields.get("MessageTag", "")
        if "MessageBody" not in fields:
            raise ServiceError("InvalidArgument", against_schema("MessageBody"))
        message, pushes = self._account.publish(name, fields["MessageBody"], tag, properties=properties_of(sent))
        self._push(pushes)
        return reply(201, "Message", xml.leaves({"MessageId": message.message_id, "MessageBodyMD5": message.body_md5}))

    async def list_subscriptions(self, call: Call) -> web.Response:
        """List a topic's subscriptions."""
        topic, meta = self._account.topic(call.path["topic"]), listing.with_meta(call.headers)

        def entry(name: str) -> xml.Node:
            url = f"{call.url}/topics/{topic.name}/subscriptions/{name}"
            described = _subscription(topic.subscriptions[name], self._account.number) if meta else []
            return xml.branch("Subscription", [xml.leaf("SubscriptionURL", url), *described])

        return reply(200, "Subscriptions", listing.page(topic.subscriptions, call.headers, entry))

    async def subscribe(self, call: Call) -> web.Response:
        """Subscribe, or set the strategy with `metaoverride=true`."""
        topic, name = call.path["topic"], call.path["subscription"]
        given = xml.fields(xml.parse(call.body, "Subscription"))
        if call.query.get("metaoverride") == "true":
            old = self._account.subscription(topic, name).attributes
            merged = {**described(old), **given}
            self._account.change_subscription(topic, name, converted(merged, SubscriptionAttributes))
            return empty()
        host = call.headers.get("host", "")
        new = self._account.subscribe(topic, name, converted(given, SubscriptionAttributes), host)
        return created(new, f"{call.url.partition('//')[2]}/topics/{topic}/subscriptions/{name}")

    async def subscription(self, call: Call) -> web.Response:
        """Return a subscription's attributes."""
        found = self._account.subscription(call.path["topic"], call.path["subscription"])
        return reply(200, "Subscription", _subscription(found, self._account.number))

    async def unsubscribe(self, call: Call) -> web.Response:
        """Delete a subscription."""
        self._account.unsubscribe(call.path["topic"], call.path["subscription"])
        return empty()

    async def account(self, call: Call) -> web.Response:
        """Return the account's attributes, or set those that are given; other questions at the root are refused."""
        if call.query.get("accountmeta") != "true":
            raise ServiceError("InvalidRequestURL")
        if call.method == "GET":
            return reply(200, "Account", [xml.leaf("LoggingBucket", self._account.logging_bucket)])
        given = xml.texts(xml.parse(call.body, "Account")) if call.body else {}
        self._account.logging_bucket = given.get("LoggingBucket", self._account.logging_bucket)
        return empty()

    async def open_service(self, _call: Call) -> web.Response:
        """Open the service, which is open."""
        return reply(200, "OpenService", [xml.leaf("OrderId", new_request_id())])


def _topic(topic: Topic) -> xml.Nodes:
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


def _subscription(subscription: Subscription, owner: str) -> xml.Nodes:
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

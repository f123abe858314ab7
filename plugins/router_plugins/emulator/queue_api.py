"""The queue operations of the MNS API (PROTOCOL 1.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from router_plugins.emulator import listing, xml
from router_plugins.emulator.account import Account
from router_plugins.emulator.attributes import against_schema, converted
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.limits import whole_number
from router_plugins.emulator.polls import LongPolls
from router_plugins.emulator.properties import properties_of
from router_plugins.emulator.queue import Queue
from router_plugins.emulator.queued import DEFAULT_PRIORITY, Lease, QueueAttributes, described
from router_plugins.emulator.wire import Call, created, empty, reply

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

BATCH = 16
"""Messages in one call at most."""

_BATCH_BYTES = 65536
_LONGEST_POLL = 30
_LONGEST_LEASE = 43200
_LONGEST_DELAY = 604800
_LOWEST_PRIORITY = 16


class QueueApi:
    """The operations on `/queues`. `lease_ends` says whether a delete is to find its lease over (a fault to order)."""

    def __init__(self, account: Account, polls: LongPolls, lease_ends: Callable[[], bool]) -> None:
        self._account = account
        self._polls = polls
        self._lease_ends = lease_ends

    async def list(self, call: Call) -> web.Response:
        """List the queues."""
        meta = listing.with_meta(call.headers)

        def entry(name: str) -> xml.Node:
            described = _described(self._account.queue(name)) if meta else []
            return xml.branch("Queue", [xml.leaf("QueueURL", f"{call.url}/queues/{name}"), *described])

        return reply(200, "Queues", listing.page(self._account.queues, call.headers, entry))

    async def put(self, call: Call) -> web.Response:
        """Create a queue, or set attributes with `metaoverride=true`."""
        name = call.path["queue"]
        given = xml.fields(xml.parse(call.body, "Queue"))
        if call.query.get("metaoverride") == "true":
            old = msgspec.to_builtins(self._account.queue(name).attributes)
            self._account.change_queue(name, converted({**old, **given}, QueueAttributes))
            return empty()
        return created(self._account.create_queue(name, converted(given, QueueAttributes)), f"{call.url}/queues/{name}")

    async def attributes(self, call: Call) -> web.Response:
        """Return the attributes, with the counts."""
        return reply(200, "Queue", _described(self._account.queue(call.path["queue"])))

    async def remove(self, call: Call) -> web.Response:
        """Delete the queue."""
        self._account.delete_queue(call.path["queue"])
        return empty()

    async def receive(self, call: Call) -> web.Response:
        """Receive or peek at one message, or at up to 16 with `numOfMessages`."""
        name, batch = call.path["queue"], "numofmessages" in call.query
        count = call.number("numofmessages", 1, 1, BATCH)
        queue = self._account.queue(name)
        if call.query.get("peekonly") == "true":
            leases = queue.peek(count)
        else:
            seconds = call.number("waitseconds", queue.attributes.polling_wait_seconds, 0, _LONGEST_POLL)
            leases = await self._polls.receive(self._account, name, count, seconds)
        if not leases:
            raise ServiceError("MessageNotExist")
        if batch:
            return reply(200, "Messages", [xml.branch("Message", _lease(lease)) for lease in leases])
        return reply(200, "Message", _lease(leases[0]))

    async def send(self, call: Call) -> web.Response:
        """Send one message, or up to 16 in a `Messages` document."""
        queue = self._account.queue(call.path["queue"])
        if b"<Messages" in call.body[:200]:
            return self._send_batch(queue, xml.parse(call.body, "Messages"))
        message = xml.parse(call.body, "Message")
        return reply(201, "Message", self._sent(queue, message))

    def _send_batch(self, queue: Queue, messages: Element) -> web.Response:
        """Send each; those that are refused are named in place, and the first gives the status."""
        if not 1 <= len(messages) <= BATCH:
            raise ServiceError("InvalidArgument", f"A batch has 1 to {BATCH} messages.")
        if sum(len(xml.texts(m).get("MessageBody", "").encode()) for m in messages) > _BATCH_BYTES:
            raise ServiceError("InvalidArgument", f"The bodies of a batch exceed {_BATCH_BYTES} bytes.")
        status, written = 201, xml.Nodes()
        for message in messages:
            try:
                written.append(xml.branch("Message", self._sent(queue, message)))
            except ServiceError as error:
                status = error.status if status == 201 else status  # noqa: PLR2004 - until the first refusal
                fields = {"ErrorCode": error.code, "ErrorMessage": error.message}
                written.append(xml.branch("Message", xml.leaves(fields)))
        return reply(status, "Messages", written)

    def _sent(self, queue: Queue, message: Element) -> xml.Nodes:
        fields = xml.texts(message)
        body = fields.get("MessageBody", "")
        if not body:
            raise ServiceError("InvalidArgument", against_schema("MessageBody"))
        delay = _number(fields, "DelaySeconds", 0, _LONGEST_DELAY)
        priority = _number(fields, "Priority", 1, _LOWEST_PRIORITY)
        stored = self._account.send(
            queue,
            body,
            delay=delay,
            priority=priority or DEFAULT_PRIORITY,
            properties=properties_of(message),
            group=fields.get("MessageGroupId", ""),
        )
        fields = {"MessageId": stored.message_id, "MessageBodyMD5": stored.body_md5}
        if handle := queue.delay_handle(stored):
            fields["ReceiptHandle"] = handle
        return xml.leaves(fields | ({"MessageGroupId": stored.group} if stored.group else {}))

    async def delete(self, call: Call) -> web.Response:
        """Delete one message by its handle, or up to 16 named in the body."""
        queue = self._account.queue(call.path["queue"])
        handle = call.query.get("receipthandle")
        if handle is not None:
            self._delete(queue, handle)
            return empty()
        if not call.body:
            raise ServiceError("MissingReceiptHandle")
        handles = [handle.text or "" for handle in xml.parse(call.body, "ReceiptHandles")]
        if not 1 <= len(handles) <= BATCH:
            raise ServiceError("InvalidArgument", f"A batch has 1 to {BATCH} handles.")
        refused = xml.Nodes()
        for handle in handles:
            try:
                self._delete(queue, handle)
            except ServiceError as error:
                fields = {"ErrorCode": error.code, "ErrorMessage": error.message, "ReceiptHandle": handle or "-"}
                refused.append(xml.branch("Error", xml.leaves(fields)))
        return reply(404, "Errors", refused) if refused else empty()

    def _delete(self, queue: Queue, handle: str) -> None:
        if self._lease_ends():
            queue.expire(handle)
        queue.delete(handle)

    async def change_visibility(self, call: Call) -> web.Response:
        """Hide a received message for another time from now; answers with its new handle."""
        queue = self._account.queue(call.path["queue"])
        handle = call.query.get("receipthandle")
        if handle is None:
            raise ServiceError("MissingReceiptHandle")
        if "visibilitytimeout" not in call.query:
            raise ServiceError("MissingVisibilityTimeout")
        lease = queue.change_visibility(handle, call.number("visibilitytimeout", None, 1, _LONGEST_LEASE))
        fields = {"ReceiptHandle": lease.handle, "NextVisibleTime": _milliseconds(lease.next_visible)}
        return reply(200, "ChangeVisibility", xml.leaves(fields))


def _described(queue: Queue) -> xml.Nodes:
    """Write the attributes in the order of the service (PROTOCOL 8.1)."""
    counts, given = queue.counts(), described(queue.attributes)
    policy = {name: given[name] for name in ("DlqPolicy",) if name in given}
    return xml.leaves(
        {
            "QueueName": queue.name,
            **{name: given[name] for name in ("DelaySeconds", "MaximumMessageSize", "MessageRetentionPeriod")},
            "VisibilityTimeout": given["VisibilityTimeout"],
            "CreateTime": int(queue.created),
            "LastModifyTime": int(queue.modified),
            "PollingWaitSeconds": given["PollingWaitSeconds"],
            "ActiveMessages": counts.active,
            "InactiveMessages": counts.inactive,
            "DelayMessages": counts.delayed,
            "LoggingEnabled": given["LoggingEnabled"],
            "MessageType": 0,
            "EnableSSE": False,
            **policy,
        }
    )


def _lease(lease: Lease) -> xml.Nodes:
    """Write a message; a peek has no handle and no time of becoming visible."""
    message = lease.message
    handle: tuple[str, ...] = ()
    visible: tuple[str, ...] = ()
    if lease.handle:
        handle = (f"<ReceiptHandle>{lease.handle}</ReceiptHandle>",)
        visible = (f"<NextVisibleTime>{_milliseconds(lease.next_visible)}</NextVisibleTime>",)
    return [
        f"<MessageId>{message.message_id}</MessageId>",
        f"<MessageBodyMD5>{message.body_md5}</MessageBodyMD5>",
        xml.leaf("MessageBody", message.body),
        *handle,
        f"<EnqueueTime>{_milliseconds(message.enqueued)}</EnqueueTime>",
        f"<FirstDequeueTime>{_milliseconds(lease.first_dequeued)}</FirstDequeueTime>",
        *visible,
        f"<DequeueCount>{lease.dequeues}</DequeueCount>",
        f"<Priority>{message.priority}</Priority>",
        *((xml.leaf("MessageGroupId", message.group),) if message.group else ()),
        *message.properties.nodes(),
    ]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _number(fields: dict[str, str], name: str, low: int, high: int) -> int | None:
    return whole_number(fields[name], name, low, high) if name in fields else None

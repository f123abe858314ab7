"""The XML of the queue API: bodies written, answers read by local names, since the namespace varies (PROTOCOL 1.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import msgspec

from router_plugins.mns import markup

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NAMESPACE = "http://mns.aliyuncs.com/doc/v1/"


class MnsMessage(msgspec.Struct, frozen=True, gc=False):
    """A received message. `body` is the text as transported; `next_visible` is in Unix milliseconds."""

    id: str
    handle: str
    body: str
    dequeue_count: int
    next_visible: int


class Fault(msgspec.Struct, frozen=True, gc=False):
    """One error of an answer; `handle` is set where it concerns one receipt handle of several."""

    code: str
    message: str = ""
    request_id: str = ""
    handle: str = ""


def read(body: bytes) -> Element:
    """Parse an answer; raises ValueError for what is no XML, and for entities and the like."""
    try:
        return markup.parse(body)
    except ValueError as error:
        raise ValueError(f"not an answer of MNS: {error}") from error


def messages_of(root: Element) -> list[MnsMessage]:
    """Return the messages of `<Messages>` or of a lone `<Message>`; raises ValueError where a part is missing."""
    elements = [root] if _local(root) == "Message" else [child for child in root if _local(child) == "Message"]
    return [_message(texts_of(element)) for element in elements]


def peeked_of(root: Element) -> list[MnsMessage]:
    """Return messages that were only looked at: these have neither a handle nor a lease (PROTOCOL 1.6)."""
    return [
        _message({"ReceiptHandle": "", "NextVisibleTime": "0"} | texts_of(child))
        for child in root
        if _local(child) == "Message"
    ]


def outcomes_of(root: Element) -> list[str | Fault]:
    """Return for each message of a batch that was sent its id, or the error that it was refused with."""
    every = [texts_of(child) for child in root if _local(child) == "Message"]
    return [t["MessageId"] if "MessageId" in t else Fault(t["ErrorCode"], t.get("ErrorMessage", "")) for t in every]


def _message(texts: dict[str, str]) -> MnsMessage:
    try:
        return MnsMessage(
            id=texts["MessageId"],
            handle=texts["ReceiptHandle"],
            body=texts["MessageBody"],
            dequeue_count=int(texts.get("DequeueCount", "1")),
            next_visible=int(texts["NextVisibleTime"]),
        )
    except KeyError as error:
        raise ValueError(f"a received message has no {error}") from error


def faults_of(root: Element) -> list[Fault]:
    """Return the errors of `<Error>`, or those that `<Errors>` lists for some receipt handles."""
    if _local(root) == "Errors":
        every = [texts_of(child) for child in root]
        return [
            Fault(t.get("ErrorCode", ""), t.get("ErrorMessage", ""), handle=t.get("ReceiptHandle", "")) for t in every
        ]
    texts = texts_of(root)
    return [Fault(texts.get("Code", ""), texts.get("Message", ""), texts.get("RequestId", ""))]


def texts_of(element: Element) -> dict[str, str]:
    """Return the texts of an element's children by local name."""
    return {child.tag.rpartition("}")[2]: child.text or "" for child in element}


def receipt_handles(handles: Sequence[str]) -> bytes:
    """Write the body of a batch delete."""
    return _document("ReceiptHandles", "".join(f"<ReceiptHandle>{escape(h)}</ReceiptHandle>" for h in handles))


def message(body: str, *, delay: int | None = None, priority: int | None = None) -> bytes:
    """Write the body of a send; `delay` is in seconds (0..604800), `priority` 1 (first) to 16."""
    parts = [f"<MessageBody>{escape(body)}</MessageBody>"]
    if delay is not None:
        parts.append(f"<DelaySeconds>{delay}</DelaySeconds>")
    if priority is not None:
        parts.append(f"<Priority>{priority}</Priority>")
    return _document("Message", "".join(parts))


def messages(bodies: Sequence[str]) -> bytes:
    """Write the body of a batch send."""
    each = (f"<Message><MessageBody>{escape(body)}</MessageBody></Message>" for body in bodies)
    return _document("Messages", "".join(each))


def _document(name: str, inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?><{name} xmlns="{_NAMESPACE}">{inner}</{name}>'.encode()


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]

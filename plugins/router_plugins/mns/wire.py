"""The XML of the queue API: bodies written, answers read by local names, since the namespace varies (PROTOCOL 1.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import msgspec

from router_plugins.mending import mended, original
from router_plugins.mns import markup

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MENDED = "mended"
"""Marks a document whose texts have stand-ins."""

_SHOWN = 60
_NAMESPACE = "http://mns.aliyuncs.com/doc/v1/"


class MnsMessage(msgspec.Struct, frozen=True, gc=False):
    """A received message. `next_visible` is in Unix milliseconds.

    `body` is the text as transported; bytes that are no UTF-8 are lone surrogates in it (`surrogateescape`).
    """

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
        whole = mended(body)
        if whole is None:
            raise ValueError(f"not an answer of MNS: {error}") from error
        root = read(whole)
        root.set(_MENDED, "")
        return root


def messages_of(root: Element) -> list[MnsMessage]:
    """Return the messages of `<Messages>` or of a lone `<Message>`; raises ValueError where a part is missing.

    So does a part that is no text, or that is there twice: what of it was the message is not to be guessed, for it
    would be deleted.
    """
    if _local(root) not in {"Message", "Messages"}:
        raise ValueError(f"neither messages nor an error, but {_local(root)[:_SHOWN]!r}")
    elements = [root] if _local(root) == "Message" else [child for child in root if _local(child) == "Message"]
    return [_message(texts) for texts in _texts_of_all(root, elements)]


def peeked_of(root: Element) -> list[MnsMessage]:
    """Return messages that were only looked at: these have neither a handle nor a lease (PROTOCOL 1.6)."""
    elements = [child for child in root if _local(child) == "Message"]
    return [_message({"ReceiptHandle": "", "NextVisibleTime": "0"} | texts) for texts in _texts_of_all(root, elements)]


def _texts_of_all(root: Element, elements: Sequence[Element]) -> Sequence[dict[str, str]]:
    """Return the texts of each, as they were sent."""
    every = [texts_of(element) for element in elements]
    if _MENDED not in root.attrib:
        return every
    return [{name: original(text) for name, text in texts.items()} for texts in every]


def outcomes_of(root: Element) -> list[str | Fault]:
    """Return for each message of a batch that was sent its id, or the error that it was refused with."""
    every = [texts_of(child) for child in root if _local(child) == "Message"]
    return [
        t["MessageId"] if "MessageId" in t else Fault(t.get("ErrorCode", ""), t.get("ErrorMessage", "")) for t in every
    ]


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
        raise ValueError(f"a received message has no {error}, or something else than one text there") from error


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
    """Return the texts of an element's children by local name, without what is no text, or is there twice."""
    texts: dict[str, str] = {}
    unclear: set[str] = set()
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name in texts or len(child):
            unclear.add(name)
        texts[name] = child.text or ""
    return {name: text for name, text in texts.items() if name not in unclear} if unclear else texts


def receipt_handles(handles: Sequence[str]) -> bytes:
    """Write the body of a batch delete."""
    return _document("ReceiptHandles", "".join(f"<ReceiptHandle>{escape(h)}</ReceiptHandle>" for h in handles))


def message(body: str, *, delay: int | None = None, priority: int | None = None) -> bytes:
    """Write the body of a send; `delay` is in seconds (0..604800), `priority` 1 (first) to 16."""
    return _document("Message", _parts_of(body) + _options(delay, priority))


def messages(bodies: Sequence[str], *, delay: int | None = None, priority: int | None = None) -> bytes:
    """Write the body of a batch send, with the same delay and priority for all."""
    options = _options(delay, priority)
    return _document("Messages", "".join(f"<Message>{_parts_of(body)}{options}</Message>" for body in bodies))


def _parts_of(body: str) -> str:
    """Write a body; a carriage return as a reference, or a parser would read it as a line feed."""
    return f"<MessageBody>{escape(body, {chr(13): '&#13;'})}</MessageBody>"


def _options(delay: int | None, priority: int | None) -> str:
    options = "" if delay is None else f"<DelaySeconds>{delay}</DelaySeconds>"
    return options if priority is None else f"{options}<Priority>{priority}</Priority>"


def _document(name: str, inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?><{name} xmlns="{_NAMESPACE}">{inner}</{name}>'.encode()


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]

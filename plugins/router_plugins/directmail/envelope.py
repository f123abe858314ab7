"""Envelopes: what stands around a result on its way through topics and queues (PROTOCOL 2.4, 2.5).

A topic wraps the message as JSON or XML, and a publisher or a queue client may have base64'd any of the layers.
`unwrap` tells them apart by what they are, per message, because a queue may hold all of them at once.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from router import Undecodable
from router_plugins.directmail.cloudevents import CloudEvent, read_cloud_event
from router_plugins.mending import mended_text, original

_LAYERS = 5
"""base64 around an envelope around base64 around an envelope: more than any real way gives."""
_SPACE = "\ufeff \t\r\n"
_SHOWN = 60
_SURROGATE = re.compile("[\ud800-\udfff]")


class Notification(msgspec.Struct, frozen=True, gc=False):
    """The JSON envelope of a topic; the names it needs to be known by."""

    TopicName: str
    Message: str


_read_notification = msgspec.json.Decoder(Notification).decode


def unwrap(text: str) -> str | CloudEvent:
    """Take off base64 and envelopes; return the bare text or the CloudEvent inside.

    Raises `Undecodable` when a layer is broken, is not an envelope of a topic, or when there are too many.
    """
    was_base64 = False
    for _ in range(_LAYERS):
        text = text.lstrip(_SPACE)
        if text.startswith("{"):
            cloud = read_cloud_event(text)
            if cloud is not None:
                return cloud
            text, was_base64 = _from_json(text), False
        elif text.startswith("<"):
            text, was_base64 = _from_xml(text), False
        else:
            plain = None if was_base64 else _from_base64(text)
            if plain is None:
                return text
            text, was_base64 = plain, True
    raise Undecodable(f"more than {_LAYERS} envelopes inside each other")


def _from_json(text: str) -> str:
    try:
        return _read_notification(text).Message
    except (msgspec.DecodeError, RecursionError) as error:
        raise Undecodable(
            f"JSON with neither specversion (a CloudEvent) nor TopicName and Message (a topic's envelope): {error}"
        ) from error


def _from_xml(text: str) -> str:
    try:
        root, read = _parse(text)
    except ParseError as error:
        raise Undecodable(f"XML that cannot be read: {error}") from error
    except DefusedXmlException as error:
        raise Undecodable(f"XML with a DTD or entities is refused: {type(error).__name__}") from error
    except ValueError as error:
        raise Undecodable(f"XML in an encoding that is not UTF-8: {error}") from error
    if _local_name(root) != "Notification":
        raise Undecodable(f"XML with the root {_local_name(root)[:_SHOWN]!r} instead of Notification")
    for child in root:
        if _local_name(child) == "Message":
            return read(child.text or "")
    raise Undecodable("XML Notification without a Message")


def _parse(text: str) -> tuple[Element, Callable[[str], str]]:
    """Parse XML without DTD and entities; return its root, and what makes of a text in it the one that was meant.

    Mends `<PublishTime>..</MessagePublishTime>` of the vendor's own samples, and then characters that XML cannot have.
    """
    try:
        return fromstring(text, forbid_dtd=True), str
    except ParseError as error:
        before, typo, after = text.rpartition("</MessagePublishTime>")
        right = f"{before}</PublishTime>{after}" if typo else text
        if typo and (root := _well_formed(right)) is not None:
            return root, str
        whole = mended_text(right)
        if whole is None or (root := _well_formed(whole)) is None:
            raise error  # noqa: TRY201 - that of the document as it came
        return root, _original


def _well_formed(text: str) -> Element | None:
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except ParseError:
        return None
    return root


def _original(text: str) -> str:
    """Return a text as it was before mending; what is no character of any text is replaced, as in all bodies."""
    return _SURROGATE.sub("\ufffd", original(text))


def _local_name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _from_base64(text: str) -> str | None:
    """Return what a strictly base64'd text holds, as UTF-8 with replacement; None where it is not base64."""
    try:
        plain = binascii.a2b_base64(text.strip(), strict_mode=True)
    except ValueError:
        return None
    return str(plain, "utf-8", "replace") if plain else None

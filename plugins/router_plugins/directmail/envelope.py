"""Envelopes: what stands around a result on its way through topics and queues (PROTOCOL 2.4, 2.5).

A topic wraps the message as JSON or XML, EventBridge's source for queues as a CloudEvent, and a publisher or a queue
client may have base64'd any of the layers. `unwrap` tells them apart by what they are, per message, because a queue may
hold all of them at once. In all texts here bytes that are no UTF-8 are lone surrogates.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from router import Undecodable
from router_plugins.charsets import declared_again, text_from, trimmed
from router_plugins.directmail.cloudevents import CloudEvent, read_cloud_event
from router_plugins.directmail.partial import partial_event, text_in, with_data
from router_plugins.mending import is_odd, mended_json, mended_text, original, repaired_json

_LAYERS = 5
"""base64 around an envelope around base64 around an envelope: more than any real way gives."""
_SPACE = "\ufeff \t\r\n"
_SHOWN = 60
_NO_MESSAGE = "XML Notification without a Message"


_KNOWN = re.compile(r"[{<]|[A-Za-z][A-Za-z0-9_.-]{0,63}\s{0,9}=")
"""How what a message can be begins."""
_OTHER_JSON = re.compile(r'[\["]|(?:null|true|false|-?\d[\d.eE+-]{0,400})\s*\Z')
_KINDS: Mapping[type, str] = {list: "array", str: "string", bool: "boolean"}
_BASE64 = re.compile(r"[A-Za-z0-9+/]++={0,4}")
_URL_SAFE = str.maketrans("-_", "+/")


class Notification(msgspec.Struct, frozen=True, gc=False):
    """The JSON envelope of a topic; the names it needs to be known by."""

    TopicName: str
    Message: str


_read_notification = msgspec.json.Decoder(Notification).decode


def unwrap(text: str, announced: CloudEvent | None = None) -> tuple[str, CloudEvent | None]:
    """Take off base64 and envelopes; return the bare text inside, and the CloudEvent that it is, if it is one.

    `announced`: what the transport's headers say that the message is the data of. It counts where the message does not
    say itself what it is: not for an envelope, a text or a whole CloudEvent.

    Raises `Undecodable` when a layer is broken, is not an envelope of a topic, or when there are too many.
    """
    was_base64 = False
    for _ in range(_LAYERS):
        text = trimmed(text.lstrip(_SPACE))
        if text.startswith("{"):
            inner, cloud = _from_json(text, announced)
            if cloud is not None:
                return inner, cloud
            text, was_base64, announced = inner, False, None
        elif text.startswith("<"):
            text, was_base64, announced = _from_xml(text), False, None
        else:
            _refuse_other_json(text)
            plain = None if was_base64 else _from_base64(text)
            if plain is None:
                return text, None
            text, was_base64 = plain, True
    raise Undecodable(f"more than {_LAYERS} envelopes inside each other")


def _refuse_other_json(text: str) -> None:
    """Raise `Undecodable` for JSON that is no object, and say what it is."""
    if not _OTHER_JSON.match(text):
        return
    whole = mended_json(repaired_json(text) or text) or ""
    try:
        value: object = msgspec.json.decode(whole)
    except (msgspec.DecodeError, RecursionError):
        return
    kind = "JSON null" if value is None else f"a JSON {_KINDS.get(value.__class__, 'number')}"
    raise Undecodable(f"{kind}, not an object: neither key=value text nor a CloudEvent or a topic's envelope")


def _from_json(text: str, announced: CloudEvent | None) -> tuple[str, CloudEvent | None]:
    """Return what an envelope holds, or a CloudEvent; what cannot be read is read again with its strings repaired."""
    try:
        return _read_json(text, announced)
    except Undecodable:
        again = repaired_json(text)
        if again is None:
            raise
        return _read_json(again, announced)


def _read_json(text: str, announced: CloudEvent | None) -> tuple[str, CloudEvent | None]:
    """Return what an envelope holds; or the text of a CloudEvent, or of one's data, and that CloudEvent."""
    odd = is_odd(text)
    cloud = read_cloud_event(text)
    if cloud is not None:
        return _in_cloud_event(cloud, text, odd=odd)
    whole = (mended_json(text) or "") if odd else text
    try:
        message = _read_notification(whole).Message
    except (msgspec.DecodeError, RecursionError) as error:
        cloud = partial_event(whole, announced)
        if cloud is None:
            raise Undecodable(
                f"JSON with neither specversion (a CloudEvent) nor TopicName and Message (a topic's envelope): {error}"
            ) from error
        return _in_cloud_event(cloud, text, odd=odd)
    return (original(message) if odd else message), None


def _in_cloud_event(cloud: CloudEvent, text: str, *, odd: bool) -> tuple[str, CloudEvent | None]:
    """Return a CloudEvent and its text, or the text that it carries: what leads to no result stays its data."""
    inner = text_in(cloud, odd=odd)
    if inner is None:
        return text, cloud
    if cloud.is_envelope:
        return inner, None
    bare = trimmed(_bared(inner))
    if bare.startswith("{"):
        return _with_readable_data(cloud, bare)
    return (bare, None) if _KNOWN.match(bare) else (text, cloud)


def _with_readable_data(cloud: CloudEvent, data: str) -> tuple[str, CloudEvent]:
    held = with_data(cloud, data)
    try:
        msgspec.json.decode(held.data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        again = repaired_json(data)
        return (data, held) if again is None else (again, with_data(cloud, again))
    return data, held


def _from_xml(text: str) -> str:
    if is_odd(text):
        text = declared_again(text)
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
    messages = [child for child in root if _local_name(child) == "Message"]
    if len(messages) != 1:
        raise Undecodable(f"XML Notification with {len(messages)} Messages" if messages else _NO_MESSAGE)
    if len(messages[0]):  # what is behind the first of its elements would be lost
        raise Undecodable("XML Notification whose Message has elements in it, and is no text")
    return read(messages[0].text or "")


def _parse(text: str) -> tuple[Element, Callable[[str], str]]:
    """Parse XML without DTD and entities; return its root, and what makes of a text in it the one that was meant.

    Mends `<PublishTime>..</MessagePublishTime>` of the vendor's own samples, and then characters that XML cannot have.
    """
    try:
        return fromstring(text, forbid_dtd=True), str
    except (ParseError, UnicodeEncodeError) as error:
        before, typo, after = text.rpartition("</MessagePublishTime>")
        right = f"{before}</PublishTime>{after}" if typo else text
        if typo and (root := _well_formed(right)) is not None:
            return root, str
        whole = mended_text(right)
        if whole is None or (root := _well_formed(whole)) is None:
            raise error  # noqa: TRY201 - that of the document as it came
        return root, original


def _well_formed(text: str) -> Element | None:
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except (ParseError, UnicodeEncodeError):
        return None
    return root


def _local_name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _bared(text: str) -> str:
    """Return what a text holds in base64, if it does."""
    text = text.lstrip(_SPACE)
    plain = None if _KNOWN.match(text) else _from_base64(text)
    return text if plain is None else plain.lstrip(_SPACE)


def _from_base64(text: str) -> str | None:
    """Return what a base64'd text holds; None where it is not base64.

    Lines may end anywhere, padding may be missing, and the alphabet may be the one for URLs. What is that loose could
    also be a word, so then it must hold something that a message can begin with.
    """
    if "&" in text:  # nearly all
        return None
    text = text.strip()
    try:
        plain = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return _from_loose_base64(text)
    return text_from(plain) if plain else None


def _from_loose_base64(text: str) -> str | None:
    joined = "".join([line.strip(" \t") for line in text.replace("\r", "\n").split("\n")]).translate(_URL_SAFE)
    if not _BASE64.fullmatch(joined):
        return None
    letters = joined.rstrip("=")
    try:
        plain = binascii.a2b_base64(letters + "=" * (-len(letters) % 4))
    except ValueError:
        return None
    held = text_from(plain)
    return held if _KNOWN.match(held.lstrip(_SPACE)) else None

"""CloudEvents that do not come as one JSON object: data alone, and texts that others carry as their data.

* In binary mode (CloudEvents' HTTP binding 1.0.2, 3.1) the attributes are `ce-` headers, and the body is the data.
* A rule of EventBridge may send nothing but the data (`$.data`, a "partial event"). That has to tell by itself what
  happened: by its `event`, by the status of a delivery, or by a field that only one type has.
* EventBridge's source for queues publishes each message of a queue as a CloudEvent `mns:Queue:SendMessage`, under
  `data.messageBody`, or `data.body` in event streams; or that data alone.
* Data may also be a JSON string, or `data_base64`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from router import Undecodable
from router_plugins.directmail.cloudevents import CloudEvent, check_type
from router_plugins.mending import mended_json, original

HEADER = "ce-"
"""How the attributes of a message are named that were attributes of a CloudEvent in binary mode."""
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"')
_TELLING = {"block_email": "dm:Feedback:FblReport", "url": "dm:Trace:Click", "user_agent": "dm:Trace:Open"}
"""Fields that tell the type, in this order: a click has a user_agent, too."""
_ABOUT = ("env_id", "envid", "msg_id", "message_id", "rcpt", "block_email")
_ATTRIBUTES = tuple(name for name in CloudEvent.__struct_fields__ if not name.startswith("data"))


class _Carrier(msgspec.Struct, frozen=True, gc=False):
    """The data of a queue's message, as EventBridge has it."""

    messageId: msgspec.Raw = msgspec.Raw()  # noqa: N815 - as it is called there
    messageBody: msgspec.Raw = msgspec.Raw()  # noqa: N815
    body: msgspec.Raw = msgspec.Raw()


_read_carrier = msgspec.json.Decoder(_Carrier).decode
_read_text = msgspec.json.Decoder(str).decode
_read_names = msgspec.json.Decoder(dict[str, Any]).decode


def announced_in(attributes: Mapping[str, str]) -> CloudEvent | None:
    """Return the CloudEvent, still without data, that a message's attributes speak of; None where they do not."""
    if f"{HEADER}specversion" not in attributes or f"{HEADER}type" not in attributes:
        return None
    there = [name for name in _ATTRIBUTES if HEADER + name in attributes]
    return msgspec.convert({name: _meant(attributes[HEADER + name]) for name in there}, CloudEvent)


def _meant(value: str) -> str:
    """Decode a header's value, as the HTTP binding says: quotes first, then percent signs, once."""
    value = value.strip()
    quoted = _QUOTED.fullmatch(value)
    if quoted:
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    return unquote(value, errors="backslashreplace")


def partial_event(data: str, announced: CloudEvent | None) -> CloudEvent | None:
    """Return the CloudEvent that a JSON object is the data of; None where it is none. Raises `Undecodable`."""
    raw = msgspec.Raw(data.encode())
    if carried_in(raw) is not None:
        return CloudEvent(type="mns:", data=raw)
    if announced is not None:
        return replace(check_type(announced), data=raw)
    kind = _kind_of(data)
    return None if kind is None else CloudEvent(type=kind, data=raw)


def carried_in(data: msgspec.Raw) -> str | None:
    """Return the text that is carried in the data of a queue's message; None where the data is no such."""
    try:
        carrier = _read_carrier(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    body = carrier.messageBody or (carrier.body if carrier.messageId else b"")
    return _text_in(bytes(body))


def _text_in(value: bytes) -> str | None:
    """Return what a JSON string says, or a JSON object as it is written."""
    if value.startswith(b"{"):
        return value.decode()
    return _read_text(value) if value.startswith(b'"') else None


def _kind_of(data: str) -> str | None:
    """Return the type of the event that this is the data of: empty where its fields say that as in the text form.

    None where it is data of nothing known. Raises `Undecodable` where it is, and the type cannot be told.
    """
    try:
        names = _read_names(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not any(names.get(name) for name in _ABOUT):
        return None
    event = names.get("event")
    if isinstance(event, str) and event:
        return event if event.startswith("dm:") else ""
    if names.get("rcpt") and "status" in names:
        return ""
    kind = next((kind for name, kind in _TELLING.items() if names.get(name)), None)
    if kind is None and names.get("operate_time"):
        raise Undecodable("data alone does not say whether somebody subscribed or unsubscribed: push complete events")
    return kind


def text_in(cloud: CloudEvent, *, odd: bool) -> str | None:
    """Return the text that a CloudEvent carries instead of an object; None where its data is one. Raises `Undecodable`.

    `odd`: there are stand-ins in its data, for bytes that are no UTF-8.
    """
    if cloud.is_envelope:
        text = carried_in(cloud.data)
        if text is None:
            raise Undecodable("message of a queue in a CloudEvent without a messageBody")
    elif cloud.data_base64 and not cloud.data:
        return cloud.data_base64
    else:
        data = bytes(cloud.data)
        text = _read_text(data) if data.startswith(b'"') else None
    return original(text) if odd and text else text


def with_data(cloud: CloudEvent, data: str) -> CloudEvent:
    """Return a CloudEvent with other data, an object's JSON. Raises `Undecodable`."""
    whole = mended_json(data)
    if whole is None:
        raise Undecodable("JSON with bytes that are no UTF-8, and characters of the private plane F")
    return replace(cloud, data=msgspec.Raw(whole.encode()))

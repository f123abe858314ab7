"""CloudEvents: DirectMail's results as EventBridge publishes them (PROTOCOL 3.2)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from router import Undecodable
from router_plugins.directmail.fields import Result, result_of
from router_plugins.mending import is_odd, mended_json, original, shown

PREFIX = "dm:"
_CARRIERS = "mns:"
"""How the types begin that EventBridge's source for queues has for their messages."""
_SHOWN = 60


class CloudEvent(msgspec.Struct, frozen=True, gc=False):
    """The envelope; `data` stays undecoded until the type is known to be DirectMail's."""

    specversion: str = ""
    type: str = ""
    source: str = ""
    id: str = ""
    time: str | None = None
    aliyunregionid: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None

    @property
    def is_envelope(self) -> bool:
        """Whether it carries the message of a queue, and is no result itself."""
        return self.type.startswith(_CARRIERS)


_ALIASES = {
    "send_time": "recv_time",
    "deliver_time": "end_time",
    "envid": "env_id",
    "message_id": "msg_id",
}
"""What CloudEvents call the fields of the text form."""

_read_envelope = msgspec.json.Decoder(CloudEvent).decode
_read_data = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_write = msgspec.json.Encoder(decimal_format="number").encode


def read_cloud_event(text: str) -> CloudEvent | None:
    """Return the CloudEvent in a JSON text; None where the JSON is something else. Raises `Undecodable`.

    Bytes that are no UTF-8 are lone surrogates in the text, and in the event but for its data.
    """
    odd = is_odd(text)
    whole = mended_json(text) if odd else text
    if whole is None:
        raise Undecodable("JSON with bytes that are no UTF-8, and characters of the private plane F")
    try:
        cloud = _read_envelope(whole)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Undecodable(f"JSON that cannot be read: {error}") from error
    if not cloud.specversion:
        return None
    if odd:
        texts = {name: getattr(cloud, name) for name in cloud.__struct_fields__ if name != "data"}
        cloud = replace(cloud, **{name: text and original(text) for name, text in texts.items()})
    return cloud if cloud.is_envelope else check_type(cloud)


def check_type(cloud: CloudEvent) -> CloudEvent:
    """Return a CloudEvent of DirectMail; raises `Undecodable` for all others."""
    if not cloud.type.startswith(PREFIX) or cloud.type == PREFIX:
        raise Undecodable(f"CloudEvent of type {cloud.type[:_SHOWN]!r} is not DirectMail's")
    return cloud


def fields_of(cloud: CloudEvent, *, odd: bool) -> Result:
    """Return the fields of a DirectMail CloudEvent in the vocabulary of the text form. Raises `Undecodable`.

    `odd`: there are bytes in its JSON that are no UTF-8, lone surrogates in the fields.
    """
    try:
        data = _read_data(cloud.data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Undecodable(f"CloudEvent {cloud.type[:_SHOWN]!r} whose data is no object: {error}") from error
    _flatten_header(data)
    values = {name: value if isinstance(value, str) else _text_of(value) for name, value in data.items()}
    if odd:
        values = {original(name): original(value) for name, value in values.items()}
    for alias, name in _ALIASES.items():
        if alias in values and not values.get(name):
            values[name] = values.pop(alias)
    _fill(values, cloud)
    return result_of(values)


def _flatten_header(data: dict[str, Any]) -> None:
    """Lift the one documented header out; others stay in `header`, for a sender may name them as it likes."""
    header: Any = data.get("header")
    if isinstance(header, dict) and "X-Notify-Message-ID" in header:
        rest = cast("dict[str, Any]", header)
        data.setdefault("X-Notify-Message-ID", rest.pop("X-Notify-Message-ID"))
        if not rest:
            del data["header"]


def _fill(values: dict[str, str], cloud: CloudEvent) -> None:
    """Fill what a type says in other words: complaints speak of send_email and block_email, traces only of from."""
    _default(values, "from", values.get("send_email"))
    _default(values, "account", values.get("send_email") or values.get("from"))
    _default(values, "rcpt", values.get("block_email"))
    _default(values, "region", shown(cloud.aliyunregionid or ""))
    _default(values, "event", shown(cloud.type))


def _default(values: dict[str, str], name: str, value: str | None) -> None:
    if value and not values.get(name):
        values[name] = value


def _text_of(value: Any) -> str:
    """Return a JSON value as text: scalars as they came, null as nothing, the rest as JSON."""
    if value is None:
        return ""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else _write(value).decode()

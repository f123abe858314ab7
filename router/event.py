"""Message and event: what comes in, and what it means.

A message is bytes plus transport attributes, exactly as they came. An event is the decoded, immutable
result; it keeps the bytes. Nobody changes either: a step that alters an event makes a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import force_setattr

from router.frozen import FrozenDict, FrozenList, freeze_fields, plain

UNDECODABLE = "Undecodable"
"""The `type` of an event whose message no decoder understood."""

LOST = "f" * 32
"""The id of what stands for an event that a journal has lost: there is nothing that a subscription could want."""

ENVELOPE_FIELDS = ("id", "type", "time", "received", "source")
"""Names that the engine gives to every event; a decoder's fields must not use them."""

EXTRA = "extra."
"""What stands before the name of a field that the decoder does not declare (`extra.x_campaign`)."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """Bytes as they came, with the transport's attributes.

    `received` is in seconds since the Unix epoch. `attributes` hold what the transport said about the
    message and decoding or explaining may need (`message_id`, `topic`, `tag` ...): text to text.
    """

    body: bytes | memoryview
    received: float
    attributes: Mapping[str, str] = {}


class UndecodableFields(msgspec.Struct, frozen=True, gc=False):
    """Fields of an event that could not be decoded: why, and the body as text (lossy where it is no UTF-8)."""

    reason: str
    body: str


class Event(msgspec.Struct, frozen=True, gc=False):
    """One decoded result.

    `id`: 32 hex digits, the same for redelivery, replay and re-publication by a second rule.
    `type`: canonical (`Deliver:SendFailed`). `time`: when it happened, with zone.
    `received`: Unix seconds. `source`: name of the source in the config.
    `fields`: the decoder's struct. `message`: what came, byte for byte.
    """

    id: str
    type: str
    time: datetime
    source: str
    fields: msgspec.Struct
    message: Message
    encoded: bytes | None = None
    """The cached result of `json()`; not part of the event's value."""

    @property
    def received(self) -> float:
        """Unix seconds at which the message came in."""
        return self.message.received

    @property
    def raw(self) -> bytes | memoryview:
        """The message's body, unchanged."""
        return self.message.body

    def get(self, name: str) -> Any:
        """Return the value of a field by the name that `json()` shows, or `extra.NAME` for one that is not declared.

        None where there is none.
        """
        fields = self.fields
        attribute = (_attributes.get(type(fields)) or _attribute_of(type(fields))).get(name)
        if attribute is not None:
            return getattr(fields, attribute)
        if name in ENVELOPE_FIELDS:
            return getattr(self, name)
        extra: Mapping[str, str] = getattr(fields, "extra", {})
        return extra.get(name) if name in extra else extra.get(name.removeprefix(EXTRA))

    def freeze(self) -> None:
        """Make it immutable in depth, before code gets it that is not known to leave it alone."""
        freeze_fields(self.fields)
        message = self.message
        if message.attributes.__class__ is dict:
            force_setattr(message, "attributes", FrozenDict(message.attributes))

    def json(self) -> bytes:
        """Encode the event flat, as one JSON object without a newline; encoded once, then remembered."""
        if self.encoded is None:
            force_setattr(self, "encoded", _encode_flat(self))
        assert self.encoded is not None
        return self.encoded


Batch: TypeAlias = Sequence[Event]


class Events(FrozenList[Event]):
    """A batch that several subscriptions get: what is made of it as a whole is made once. It is not changed any more.

    `parts` are the batches that it was joined from, which others may have in other company.
    """

    __slots__ = ("_lines", "_parts")

    def __init__(self, events: Iterable[Event] = (), parts: Sequence[Batch] = ()) -> None:
        super().__init__(events)
        self._parts = parts
        self._lines: bytes | None = None

    def lines(self) -> bytes:
        """Return the JSON of the events, one a line; remembered, but for what is joined from parts that remember it."""
        if self._parts:
            return b"".join([json_lines(part) for part in self._parts])
        if self._lines is None:
            self._lines = _joined_lines(self)
        return self._lines


def json_lines(batch: Batch) -> bytes:
    """Return the JSON of a batch's events, each with its newline; made once for all that get the same batch."""
    return batch.lines() if isinstance(batch, Events) else _joined_lines(batch)


def _joined_lines(batch: Batch) -> bytes:
    return b"\n".join([*[event.json() for event in batch], b""])


_encode = msgspec.json.Encoder().encode


def _attribute_of(struct: type[msgspec.Struct]) -> Mapping[str, str]:
    """Map the names on the wire (`from`) to the struct's attributes (`from_`)."""
    names = _attributes.get(struct)
    if names is None:
        names = {
            f.encode_name: f.name
            for f in msgspec.structs.fields(struct)
            if f.name != "extra" and f.encode_name not in ENVELOPE_FIELDS
        }
        _attributes[struct] = names
    return names


_attributes: dict[type[msgspec.Struct], Mapping[str, str]] = {}
"""A memo of pure reflection: one entry per struct type."""


class _Envelope(msgspec.Struct, gc=False):
    """The outward form of `ENVELOPE_FIELDS`, encoded in one go."""

    id: str
    type: str
    time: datetime
    received: datetime
    source: str


def _encode_flat(event: Event) -> bytes:
    """Join the envelope and the fields into one object; a decoder's `extra` mapping is laid flat too."""
    fields: Any = plain(event.fields)
    extra: Mapping[str, str] | None = getattr(fields, "extra", None)
    if extra is not None and (extra or not fields.__struct_config__.omit_defaults):
        flat = {k: v for k, v in msgspec.to_builtins(fields).items() if k != "extra"}
        fields = {**extra, **flat}
    received = datetime.fromtimestamp(event.message.received, UTC)
    envelope = _encode(_Envelope(event.id, event.type, event.time, received, event.source))
    inner = _encode(fields)
    return envelope if inner == b"{}" else envelope[:-1] + b"," + inner[1:]

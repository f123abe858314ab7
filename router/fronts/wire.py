"""What fronts and the engine say to each other, as msgpack; one thing said is one frame.

A batch carries its events decoded, and with the JSON that most sinks write, so that the engine makes neither again;
What no decoder understood goes as a message with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import GenericAlias
from typing import Any, Literal, TypeAlias

import msgspec

from router.event import Event, Message, UndecodableFields
from router.intake import undecodable
from router.plugin import Decoder

VERSION = 3
"""Of all this. A front started after an upgrade of the files may be another version than the daemon."""


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The first thing that a front is told: what it is to run, and which of its descriptors listen.

    `plugins` are source and decoder as they are, pickled, so that a config that changed on disk meanwhile changes
    nothing; `drop_ins` are the files that must be imported before, for those that come from files.
    """

    version: int
    source: str
    number: int
    listening: Sequence[int]
    drop_ins: Sequence[str]
    plugins: bytes


class Unknown(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An undecodable message; `place` is its index in the batch."""

    place: int
    reason: str
    body: memoryview
    received: float
    attributes: Mapping[str, str]


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """Events that the front waits for; it numbers its batches."""

    number: int
    events: Sequence[Event]
    unknown: Sequence[Unknown]


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """Messages can arrive, unless there is some trouble, which is said."""

    trouble: str = ""


class Counted(msgspec.Struct, frozen=True, array_like=True, tag="counted"):
    """What the source counted since it last said so."""

    counts: Mapping[str, int]


class Alive(msgspec.Struct, frozen=True, array_like=True, tag="alive"):
    """The front's loop turns."""


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The source ended by an error; the front ends, too."""

    error: str


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """The batches with these numbers are safe."""

    numbers: Sequence[int]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """They could not be stored: the parts of a `Retry`."""

    numbers: Sequence[int]
    reason: str
    after: float | None
    detail: str = ""


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Take nothing more, answer what is in hand, and end."""


FromFront: TypeAlias = Batch | Ready | Counted | Alive | Failed
ToFront: TypeAlias = Done | Refused | Stop

say = msgspec.msgpack.Encoder().encode
read_hello = msgspec.msgpack.Decoder(Hello).decode
read_order = msgspec.msgpack.Decoder[ToFront](ToFront).decode


class Wire:
    """The frames of one source; raises `TypeError` for a decoder whose fields msgspec cannot carry."""

    def __init__(self, decoder: Decoder, source: str) -> None:
        self._source = source
        message = _arriving(Message, body=bytes, attributes=dict[str, str])
        event = _arriving(Event, source=Literal[source], fields=decoder.fields, message=message)
        batch = _arriving(Batch, events=GenericAlias(list, (event,)))
        self._read: Callable[[bytes | bytearray], FromFront] = msgspec.msgpack.Decoder[FromFront](
            batch | Ready | Counted | Alive | Failed
        ).decode

    def read(self, frame: bytes | bytearray) -> FromFront:
        """Return what a front said; raises `msgspec.MsgspecError`."""
        return self._read(frame)

    def events_of(self, batch: Batch) -> Sequence[Event]:
        """Return the batch's events in their order."""
        if not batch.unknown:
            return batch.events
        events = list(batch.events)
        for one in batch.unknown:
            message = Message(one.body.toreadonly(), one.received, one.attributes)
            events.insert(one.place, undecodable(message, self._source, one.reason))
        return events


def pack(number: int, events: Sequence[Event]) -> bytes:
    """Return the frame of a batch."""
    unknown = [
        Unknown(i, event.fields.reason, memoryview(event.raw), event.received, event.message.attributes)
        for i, event in enumerate(events)
        if isinstance(event.fields, UndecodableFields)
    ]
    known = [_row(event) for event in events if not isinstance(event.fields, UndecodableFields)]
    return say((Batch.__struct_config__.tag, number, known, unknown))


def _row(event: Event) -> tuple[object, ...]:
    """Return the fields of an event in their order; the time as text, which keeps its zone."""
    message = event.message
    row = (message.body, message.received, message.attributes)
    return event.id, event.type, event.time.isoformat(), event.source, event.fields, row, event.json()


def _arriving(cls: type[msgspec.Struct], **types: Any) -> Any:
    """Return a subclass that msgspec reads from an array, with exact types for some of its fields."""
    return msgspec.defstruct(cls.__name__, list(types.items()), bases=(cls,), frozen=True, gc=False, array_like=True)

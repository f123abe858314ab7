"""A decoder that does what no decoder should, as the message says; tests load it as a drop-in, too."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from router import Decoder, Event, Message, Undecodable


class Word(msgspec.Struct, frozen=True):
    """The fields of a good event."""

    account: str
    region: str = ""
    score: int = 0
    more: dict[str, str] = {}


class Other(msgspec.Struct, frozen=True):
    """The fields of an event of another decoder."""

    account: str


class _UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class _Nowhere(tzinfo):
    def utcoffset(self, _: datetime | None) -> Any:
        raise ValueError("no zone")

    dst = tzname = utcoffset


def _raise(error: BaseException) -> Callable[[Event], Any]:
    def act(_: Event) -> Any:
        raise error

    return act


def _fields(**values: Any) -> Callable[[Event], Any]:
    return lambda event: replace(event, fields=replace(event.fields, **values))


def _event(**values: Any) -> Callable[[Event], Any]:
    return lambda event: replace(event, **values)


def _endless(event: Event) -> Any:
    return _endless(event)


async def _later(event: Event) -> Event:
    await asyncio.sleep(0)
    return event


def _cyclic(event: Event) -> Any:
    more: dict[str, Any] = {}
    more["more"] = more
    return _fields(more=more)(event)


TRICKS: Mapping[bytes, Callable[[Event], Any]] = {
    b"value": _raise(ValueError("a \n bad \ud800 value")),
    b"key": _raise(KeyError("x")),
    b"assert": _raise(AssertionError()),
    b"memory": _raise(MemoryError()),
    b"exit": _raise(SystemExit(3)),
    b"group": _raise(ExceptionGroup("two", [ValueError("one"), ValueError("two")])),
    b"unspeakable": _raise(_UnspeakableError()),
    b"reasonless": _raise(Undecodable(None)),  # type: ignore[arg-type]
    b"endless": _endless,
    b"none": lambda _: None,
    b"dict": msgspec.structs.asdict,
    b"several": lambda event: [event, event],
    b"later": _later,
    b"bytes": lambda event: event.json(),
    b"other fields": _event(fields=Other("x")),
    b"no fields": _event(fields=None),
    b"naive": _event(time=datetime(2026, 1, 1)),  # noqa: DTZ001 - on purpose
    b"no time": _event(time=1.0),
    b"no zone": _event(time=datetime(2026, 1, 1, tzinfo=_Nowhere())),
    b"another message": _event(message=Message(b"other", 1.0)),
    b"no message": _event(message=None),
    b"another source": _event(source="other"),
    b"no type": _event(type=""),
    b"odd type": _event(type=7),
    b"undecodable": _event(type="Undecodable"),
    b"no id": _event(id=7),
    b"list in key": _fields(region=["a"]),
    b"dict in key": _fields(region={"a": "b"}),
    b"list as account": _fields(account=["a"]),
    b"no account": _fields(account=None),
    b"object": _fields(region=object()),
    b"wrong number": _fields(score="many"),
    b"huge number": _fields(score=10**40),
    b"wrong values": _fields(more={"a": 1}),
    b"wrong names": _fields(more={(1, 2): "a"}),
    b"cycle": _cyclic,
    b"surrogate": _fields(region="\ud800"),
}
"""What a message asks for by its first words."""


class Hostile(Decoder, frozen=True, kw_only=True):
    """Give one event for `WORDS: ...`, after the trick that the words name; with `tricks` off, always a good one."""

    fields: ClassVar[type[msgspec.Struct]] = Word
    account: ClassVar[str] = "account"
    narrow: ClassVar[frozenset[str]] = frozenset({"region"})

    tricks: bool = True

    def decode(self, message: Message, source: str) -> Event:
        body = bytes(message.body)
        word = body.partition(b":")[0]
        name = hashlib.sha256(body).hexdigest()[:32]
        event = Event(name, "word", datetime(2026, 1, 1, tzinfo=UTC), source, Word(f"{word.decode()}@x"), message)
        return TRICKS[word](event) if self.tricks and word in TRICKS else event

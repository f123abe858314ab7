"""Proof: what a decoder gave is an event that everything behind it can work with, or it is `Undecodable`.

A decoder is anyone's code, and the messages that it reads are anyone's, too. Whatever it raises costs that event and no
other; what it returns goes into the journal, through every match, and out as JSON, where nobody could help any more:
so it is looked at here, before it is stored and again when it is read back.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from inspect import iscoroutine
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from router.errors import ConfigError, Undecodable
from router.event import ENVELOPE_FIELDS, UNDECODABLE, Event, Message
from router.plugin import ID, Decoder, is_id

_LONGEST = 300
"""Characters of what a plugin said that are shown."""
_ADDRESS = re.compile(" at 0x[0-9a-fA-F]+")
_KEYS = (
    msgspec.inspect.AnyType, msgspec.inspect.NoneType, msgspec.inspect.BoolType, msgspec.inspect.IntType,
    msgspec.inspect.FloatType, msgspec.inspect.StrType, msgspec.inspect.BytesType, msgspec.inspect.EnumType,
    msgspec.inspect.LiteralType, msgspec.inspect.DateTimeType, msgspec.inspect.DateType, msgspec.inspect.TimeType,
    msgspec.inspect.TimeDeltaType, msgspec.inspect.UUIDType, msgspec.inspect.DecimalType,
)  # fmt: skip
"""Types that a field of the routing key may have."""

FAILURES = (Exception, SystemExit)
"""What a decoder may raise, `MemoryError` and `RecursionError` too, and its message pays for instead of the daemon."""

Check: TypeAlias = Callable[[Any, Message, str], Event]
"""(what a decoder gave, the message, the source) -> the event; raises `Undecodable`."""


def proven(decoder: Decoder, given: Any, message: Message, source: str, name: str = "") -> Event:
    """Return what a decoder gave if it is an event of this message; raises `Undecodable`, which names the plugin.

    `name` is the id that it must have, if it has one already.
    """
    event = _check_of(type(decoder))(given, message, source)
    if name and event.id != name:
        raise Undecodable(f"{_name(type(decoder))} gave another id than the one it is known by")
    return event


def failure(decoder: Decoder, error: BaseException) -> Undecodable:
    """Return what is said of a message at which a decoder failed; its own `Undecodable` has its own reason.

    It is the same whenever the message is decoded again: a file must be able to tell its lines.
    """
    if isinstance(error, Undecodable):
        return Undecodable(_line(getattr(error, "reason", "") or error))
    cls = type(decoder)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    place = f" at line {trace.tb_lineno} of {Path(str(file)).name}" if trace else ""
    return Undecodable(f"{_name(cls)} failed: {_said(error)}{place}")


def check_decoder(decoder: Decoder) -> None:
    """Refuse a decoder whose events nobody could route or keep; raises `ConfigError`."""
    cls = type(decoder)
    types = _types_of(cls)
    if problem := _odd_fields(cls, types) or _odd_account(cls, types) or _odd_key(cls, types):
        raise ConfigError("type", f"{_name(cls)} {problem}", "a fault of the plugin")


def _types_of(cls: type[Decoder]) -> Mapping[str, msgspec.inspect.Type]:
    """Return the types of the events' fields by their names on the wire."""
    fields = getattr(cls, "fields", None)
    if not (isinstance(fields, type) and issubclass(fields, msgspec.Struct)):
        raise ConfigError("type", f"{_name(cls)} has no `fields`, a struct type", "a fault of the plugin")
    try:
        msgspec.msgpack.Decoder(fields)
        info = msgspec.inspect.type_info(fields)
    except (TypeError, NameError) as error:
        problem = f"{_name(cls)} has `fields` that msgspec cannot carry: {_line(error)}"
        raise ConfigError("type", problem, "a fault of the plugin") from error
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.encode_name: field.type for field in info.fields}


def _odd_fields(cls: type[Decoder], types: Mapping[str, msgspec.inspect.Type]) -> str:
    taken = [name for name in ENVELOPE_FIELDS if name in types]
    if taken:
        return f"has the field `{taken[0]}`, which every event has already"
    try:
        msgspec.convert(cls.types, dict[str, str])
    except msgspec.ValidationError:
        return "has `types` that are no mapping of names to names"
    return ""


def _odd_account(cls: type[Decoder], types: Mapping[str, msgspec.inspect.Type]) -> str:
    account: Any = getattr(cls, "account", None)
    return "" if isinstance(account, str) and account in types else f"has no field `{account}`, its `account`"


def _odd_key(cls: type[Decoder], types: Mapping[str, msgspec.inspect.Type]) -> str:
    """Say what cannot be a routing key of what is meant to be one."""
    narrow: Any = cls.narrow
    if isinstance(narrow, str) or not all(isinstance(name, str) for name in narrow):
        return "has a `narrow` that is no set of fields' names"
    for name in sorted({*narrow, cls.account}):
        if name in ENVELOPE_FIELDS:
            continue
        if name not in types:
            return f"has no field `{name}`, which is in its `narrow`"
        if not _is_key(types[name]):
            return f"has a field `{name}` that cannot be in a routing key: it is no single value"
    return ""


def _is_key(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _is_key(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return all(_is_key(part) for part in kind.types)
    return isinstance(kind, _KEYS)


@lru_cache(maxsize=64)
def _check_of(cls: type[Decoder]) -> Check:
    """Return what looks at the events of a decoder; a memo of pure reflection."""
    fields, who = cls.fields, _name(cls)
    key = _key_of(cls)
    pack, unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(fields).decode

    def check(given: Any, message: Message, source: str) -> Event:
        if type(given) is not Event:
            if iscoroutine(given):
                given.close()  # or Python complains that nobody awaits it
            raise Undecodable(f"{who} gave no Event, but {_shown(given)}")
        if not is_id(given.id):
            raise Undecodable(f"{who} gave the id {_shown(given.id)[:100]}, not {ID} of 0-9 and a-f")
        if problem := _odd(given, message, source, fields):
            raise Undecodable(f"{who} gave an event {problem}")
        event = msgspec.structs.replace(given, encoded=None) if given.encoded else given
        try:
            unpack(pack(event.fields))
            hash(key(event))
            event.json()
        except Exception as error:
            raise Undecodable(f"{who} gave an event whose fields cannot be kept: {_said(error)}") from error
        return event

    return check


def _odd(event: Event, message: Message, source: str, fields: type[msgspec.Struct]) -> str:
    """Say what is wrong with what an event says of itself."""
    if event.message is not message and event.message != message:
        return "of another message"
    if event.source != source:
        return "of another source"
    if type(event.type) is not str or event.type in {"", UNDECODABLE}:
        return f"of the type {_shown(event.type)}"
    if type(event.fields) is not fields:
        return f"whose fields are a {type(event.fields).__name__}, no {fields.__name__}"
    when: Any = event.time
    if not isinstance(when, datetime) or when.utcoffset() is None:
        return f"whose time is {_shown(when)}, no datetime with a zone"
    return ""


def _key_of(cls: type[Decoder]) -> Callable[[Event], object]:
    """Return what reads all that may become part of a routing key."""
    names = {f.encode_name: f.name for f in msgspec.structs.fields(cls.fields)}
    wanted = {*cls.narrow, cls.account} - {*ENVELOPE_FIELDS}
    return attrgetter("type", *(f"fields.{names[name]}" for name in sorted(wanted)))


def _name(cls: type[Decoder]) -> str:
    return f"the decoder {cls.__qualname__} of {cls.__module__}"


def _said(error: BaseException) -> str:
    """Return an error as one line; how deep a recursion went, and where it ended, is another each time."""
    said = "" if isinstance(error, RecursionError) else _line(error)
    return f"{type(error).__name__}{said and ': '}{said}"


def _shown(given: object) -> str:
    """Return a value as code where it is a plain one, else its type."""
    plain = given is None or type(given) in {str, int, float, bool, datetime}
    return _line(given, repr) if plain else f"a {type(given).__name__}"


def _line(said: object, how: Callable[[object], str] = str) -> str:
    """Return what somebody said as one line that can be written anywhere, without addresses in memory."""
    try:
        text = how(said)
    except Exception as error:  # noqa: BLE001 - a plugin's
        text = f"something that cannot even be shown ({type(error).__name__})"
    return _ADDRESS.sub("", " ".join(text[:_LONGEST].encode("utf-8", "replace").decode().split()))

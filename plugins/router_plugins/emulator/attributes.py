"""Attributes as XML gives them, read into their structs; mistakes in the service's words (PROTOCOL 1.7, 1.8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TypeVar

import msgspec

from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.limits import out_of_range

S = TypeVar("S", bound=msgspec.Struct)

_PLACE = re.compile(r"`\$(?:\.\w+)*\.(\w+)`|missing required field `(\w+)`")


def converted(given: Mapping[str, object], kind: type[S]) -> S:
    """Return the attributes; raises `InvalidArgument`, or `EndpointInvalid` where it is that."""
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        match = _PLACE.search(str(error))
        name = (match[1] or match[2]) if match else kind.__name__
        if name == "Endpoint":
            raise ServiceError("EndpointInvalid") from error
        raise ServiceError("InvalidArgument", _words(name, kind, error)) from error


def _words(name: str, kind: type[S], error: msgspec.ValidationError) -> str:
    limits = _limits(kind).get(name)
    if limits is not None:
        return out_of_range(name, *limits)
    return f"{against_schema(name)} {error}."


def against_schema(name: str) -> str:
    """Say in the service's words that an element is missing or is not what it should be."""
    return f"The XML you provided did not validate against our published schema, cause by {name}."


@cache
def _limits(kind: type[msgspec.Struct]) -> dict[str, tuple[int, int]]:
    """Return the lowest and the highest value of each attribute that is a number with limits."""
    found: dict[str, tuple[int, int]] = {}
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        number = field.type
        if isinstance(number, msgspec.inspect.IntType) and number.ge is not None and number.le is not None:
            found[field.encode_name] = number.ge, number.le
    return found

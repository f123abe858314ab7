"""Events that are immutable in depth: what several subscriptions share, code of a plugin cannot change.

Structs are frozen by their type; the mappings, lists and sets in them are not. They are exchanged, in place and once,
for ones that refuse to be changed, just before code that is not known to leave them alone gets them: so an event that
meets only the router's own sinks costs nothing. Equal to what they were, and written by msgspec as that, but for those
that are empty: it leaves out only what is exactly the default (`plain`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, Generic, NoReturn, TypeVar
from uuid import UUID

import msgspec
from msgspec.structs import force_setattr

K = TypeVar("K")
V = TypeVar("V")

_SURE = frozenset((str, int, float, bool, bytes, NoneType, datetime, date, time, timedelta, Decimal, UUID))
"""Types of fields whose values cannot be changed."""


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    word = type(self).__name__.removeprefix("Frozen").lower()
    raise TypeError(f"an event belongs to all subscriptions: this {word} cannot be changed, only a copy of it")


class FrozenDict(dict[K, V], Generic[K, V]):
    """A dict that nobody changes."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


class FrozenList(list[V], Generic[V]):
    """A list that nobody changes."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)


def freeze_fields(struct: msgspec.Struct) -> None:
    """Make what the fields of a struct hold immutable, in place."""
    names = _open.get(type(struct))
    if names is None:
        names = _open[type(struct)] = tuple(f.name for f in msgspec.structs.fields(struct) if f.type not in _SURE)
    for name in names:
        value = getattr(struct, name)
        if value.__class__ in _CHANGEABLE or isinstance(value, msgspec.Struct):
            force_setattr(struct, name, _frozen(value))


def plain(struct: msgspec.Struct) -> msgspec.Struct:
    """Return a struct that is written as it was before it was frozen."""
    changed: dict[str, Any] = {}
    for name in _open.get(type(struct), ()):
        value = getattr(struct, name)
        if isinstance(value, msgspec.Struct):
            value = plain(value)
        elif not value and value.__class__ in _EMPTY:
            make = _factories(type(struct)).get(name)
            value = make() if make else value
        if value is not getattr(struct, name):
            changed[name] = value
    return msgspec.structs.replace(struct, **changed) if changed else struct


def _factories(struct: type[msgspec.Struct]) -> dict[str, Callable[[], Any]]:
    """Return what makes the empty containers of the fields that have one by default."""
    made = _made.get(struct)
    if made is None:
        fields = msgspec.structs.fields(struct)
        made = _made[struct] = {f.name: f.default_factory for f in fields if callable(f.default_factory)}
    return made


_made: dict[type[msgspec.Struct], dict[str, Callable[[], Any]]] = {}
"""A memo of pure reflection, too."""
_open: dict[type[msgspec.Struct], tuple[str, ...]] = {}
"""A memo of pure reflection: the fields of a type whose values may be changeable."""


def _frozen(value: Any) -> Any:
    """Return the value as one that nobody changes."""
    make = _CHANGEABLE.get(value.__class__)
    if make is not None:
        return make(value)
    if isinstance(value, msgspec.Struct):
        freeze_fields(value)
    return value


def _of_dict(value: dict[Any, Any]) -> FrozenDict[Any, Any]:
    return FrozenDict({key: _frozen(one) for key, one in value.items()})


def _of_list(value: list[Any]) -> FrozenList[Any]:
    return FrozenList(map(_frozen, value))


def _of_tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(_frozen, value))


_CHANGEABLE: dict[type, Callable[[Any], Any]] = {
    dict: _of_dict,
    list: _of_list,
    tuple: _of_tuple,
    set: frozenset,
    bytearray: bytes,
}
_EMPTY = frozenset((FrozenDict, FrozenList, frozenset))

"""The shapes of types: what a type in an annotation takes, for the walk to go by and in plain words for people."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from router.meaning import Meaning
from router.pem import PemFile
from router.plugin import Secret

_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Secret: "a secret (text, `${NAME}` or `{file: PATH}`)",
    FilePath: "a path",
    PemFile: "the path of a PEM file",
    type(None): "nothing",
    bytes: "text in Base64",
}


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, the type itself if it is none; annotations go to the members."""
    bare = bare_type(hint)
    if get_origin(bare) not in {Union, types.UnionType}:
        return (hint,)
    notes: tuple[Any, ...] = getattr(hint, "__metadata__", ())
    members = (Annotated[(m, *notes)] if notes and m is not type(None) else m for m in get_args(bare))
    return tuple(flat for member in members for flat in alternatives(member))


def bare_type(hint: Any) -> Any:
    """Return the type without its annotations."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def expected(hint: Any) -> str:
    """Say in plain words what a type takes."""
    members = alternatives(hint)
    if len(members) > 1:
        return " or ".join(dict.fromkeys(expected(m) for m in members if m is not type(None)))
    description = next((m.description for m in metas(hint) if m.description), None)
    return description or _in_words(bare_type(hint))


def choices(bare: Any) -> dict[str, Any] | None:
    """Return the values of a Literal or an Enum by how they are written; None for other types."""
    if get_origin(bare) is Literal:
        return {_written(value): value for value in get_args(bare)}
    if is_subclass(bare, enum.Enum):
        members: Any = bare
        return {_written(member.value): member for member in members}
    return None


def is_subclass(kind: Any, of: Any) -> bool:
    """Say whether something is a type, and a subclass."""
    return isinstance(kind, type) and issubclass(kind, of)


def is_listed(kind: Any) -> bool:
    """Say whether a type is written as a list."""
    return is_subclass(kind, Sequence | frozenset | set) and not is_subclass(kind, str | bytes)


def is_container(hint: Any) -> bool:
    """Say whether a type is written as a list or a mapping, and not as a scalar."""
    origin = get_origin(bare_type(hint)) or bare_type(hint)
    return is_listed(origin) or is_subclass(origin, Mapping | msgspec.Struct)


def metas(hint: Any) -> list[msgspec.Meta]:
    """Return the constraints and descriptions that a type is annotated with."""
    return [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, msgspec.Meta)]


PATHS = frozenset({Meaning.INPUT, Meaning.OUTPUT})
"""Meanings of what is a path of this machine."""


def meanings_of(hint: Any) -> frozenset[Meaning]:
    """Return what the texts of a type stand for beside being texts."""
    found: set[Meaning] = set()
    for member in alternatives(hint):
        found.update(mark for mark in getattr(member, "__metadata__", ()) if isinstance(mark, Meaning))
        if bare_type(member) is FilePath and found.isdisjoint(PATHS):
            found.add(Meaning.INPUT)
    return frozenset(found)


def _in_words(bare: Any) -> str:
    origin = get_origin(bare) or bare
    if words := choices(bare):
        return "one of " + ", ".join(f"`{word}`" for word in words)
    if is_container(bare):
        return "a list" if is_listed(origin) else "a mapping"
    return _WORDS.get(origin, getattr(origin, "__name__", str(origin)))


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

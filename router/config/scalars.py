"""What a scalar means to a field: its text becomes a value of the field's type, or it is said what was expected."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, get_args

import msgspec

from router.config.quantity import seconds, size
from router.config.secrets import one_line
from router.config.shapes import alternatives, bare_type, choices, expected, is_container, metas
from router.hint import nearest
from router.pem import PemFile
from router.plugin import Secret
from router.units import Duration, Size

_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,3})?")
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TRUTH = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}

_SHOWN = 60
"""Characters of a text that an error shows at most."""

_JSON_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "array": "a list", "object": "a mapping"}


class Unfit(Exception):
    """A value that the type does not take."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


class Text(msgspec.Struct, frozen=True):
    """A scalar: its text with references replaced, and the text as written, which alone may be shown."""

    text: str
    written: str
    plain: bool

    @property
    def replaced(self) -> bool:
        """Whether a value from outside of the file is in it."""
        return self.text != self.written

    @property
    def nothing(self) -> bool:
        """Whether it is YAML's null."""
        return self.plain and self.written in _NOTHING

    @property
    def shown(self) -> str:
        """The text as it may appear in an error."""
        if self.nothing:
            return "nothing"
        short = self.written if len(self.written) <= _SHOWN else self.written[:_SHOWN] + "..."
        return f"`{short}`" if self.plain or self.replaced else f'the text "{short}"'


def fit(hint: Any, text: Text) -> Any:
    """Return the value that the scalar is for a field of this type; raises `Unfit`."""
    members = [m for m in alternatives(hint) if not is_container(m)]
    if text.nothing and type(None) in members:
        return None
    members = sorted((m for m in members if m is not type(None)), key=_rank)
    refusals: list[Unfit] = []
    for member in members:
        try:
            return constrained(member, _value(member, text), "another" if _is_secret(hint) else text.shown)
        except Unfit as error:
            refusals.append(error)
    if len(refusals) == 1 and len(alternatives(hint)) <= 2:  # noqa: PLR2004 - itself, or itself and nothing
        raise refusals[0]
    raise _unfit(hint, text, next((r.hint for r in refusals if r.hint), ""))


def constrained(hint: Any, value: Any, found: str) -> Any:
    """Return the value if the constraints in the type's annotations allow it; raises `Unfit`."""
    notes = metas(hint)
    if not notes:
        return value
    # Only scalars, the number of items and the number of keys are constrained; items and keys are good by now.
    kind: Any = next((k for k in (str, int, float, bytes, dict) if issubclass(value.__class__, k)), list)
    try:
        msgspec.convert(value, Annotated[(kind, *notes)], strict=False)
    except msgspec.ValidationError as error:
        wanted = re.sub(
            r"`(\w+)`", lambda word: _JSON_WORDS.get(word[1], word[1]), str(error).removeprefix("Expected ")
        )
        described = next((m.description for m in notes if m.description and (m.pattern or m.min_length)), None)
        raise Unfit(f"expected {described or wanted}, found {found}") from error
    return value


def _value(hint: Any, text: Text) -> Any:
    """Return the value regardless of constraints."""
    bare = bare_type(hint)
    if text.nothing and bare not in {Any, object}:
        raise _unfit(hint, text, 'for an empty text write ""' if bare is str else "")
    if (known := choices(bare)) is not None:
        if text.text not in known:
            raise _unfit(hint, text, nearest(text.text, known))
        return known[text.text]
    read = next((_QUANTITIES[meta] for meta in metas(hint) if meta in _QUANTITIES), _READERS.get(bare))
    try:
        return read(text) if read else msgspec.convert(text.text, bare, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        raise _unfit(hint, text) from error
    except ValueError as error:
        said = "" if text.replaced and bare is not Secret else str(error)
        raise _unfit(hint, text, said) from error


def _boolean(text: Text) -> bool:
    if not (text.plain or text.replaced) or text.text not in _BOOLEANS:
        raise ValueError(f"write {_TRUTH[text.text.lower()]}" if text.text.lower() in _TRUTH else "")
    return _BOOLEANS[text.text]


def _number(pattern: re.Pattern[str], make: Callable[[str], Any]) -> Callable[[Text], Any]:
    def read(text: Text) -> Any:
        if not pattern.fullmatch(text.text):
            raise ValueError
        if not (text.plain or text.replaced):
            raise ValueError("remove the quotes")
        value = make(text.text)
        if value in {math.inf, -math.inf}:
            raise ValueError("so large a number has no meaning here")
        return value

    return read


def _secret(text: Text) -> Secret:
    value = one_line(text.text)
    if text.replaced and not value:
        raise ValueError
    return Secret(value)


def _anything(text: Text) -> Any:
    """Return what YAML's core schema says."""
    if text.nothing:
        return None
    for read in (_boolean, _READERS[int], _READERS[float]):
        try:
            return read(text)
        except ValueError:
            continue
    return text.text


_READERS: Mapping[Any, Callable[[Text], Any]] = {
    bool: _boolean,
    int: _number(_INTEGER, int),
    float: _number(_DECIMAL, float),
    str: lambda text: text.text,
    FilePath: lambda text: FilePath(text.text),
    PemFile: lambda text: PemFile(FilePath(text.text)),
    Secret: _secret,
    Any: _anything,
    object: _anything,
}
_QUANTITIES: Mapping[msgspec.Meta, Callable[[Text], Any]] = {
    get_args(Duration)[1]: lambda text: seconds(text.text),
    get_args(Size)[1]: lambda text: size(text.text),
}


def _unfit(hint: Any, text: Text, fix: str = "") -> Unfit:
    found = f"{text.shown}, which is empty" if text.replaced and not text.text else text.shown
    if _is_secret(hint) and not text.replaced and not text.nothing:
        found = "another"
    return Unfit(f"expected {expected(hint)}, found {found}", fix)


def _is_secret(hint: Any) -> bool:
    return any(bare_type(member) is Secret for member in alternatives(hint))


def _rank(hint: Any) -> int:
    """Order the members of a union: those that take fewest texts first."""
    order = (bool, int, float)
    bare = bare_type(hint)
    return order.index(bare) if bare in order else 9 if bare in {str, Secret, FilePath, PemFile, Any, object} else 5

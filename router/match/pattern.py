"""The syntax of `match:`: a mapping of fields to values becomes a condition, or all of its mistakes are told.

Keys are and-ed. A value is a scalar (equal to), a list (any of), or one operator in a mapping; `any`, `all` and
`not` as keys nest whole patterns.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from router.errors import RouterError
from router.hint import nearest
from router.match.condition import NEVER, All, Condition, Either, Not, Test, as_text
from router.match.literals import Fault, network_fault, part_fault, range_fault
from router.match.operators import (
    Cidr,
    Exists,
    Glob,
    Network,
    NumberRange,
    OneOf,
    Operator,
    Prefix,
    Suffix,
    TextRange,
    number_of,
)
from router.match.vocabulary import Vocabulary
from router.plugin import Decoder

Path: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
"""A pattern, or a part of one, as plain data."""

NESTING = ("any", "all", "not")
DEPTH = 64
"""Levels of nesting at most: who compiles and checks a condition goes down by recursion."""
OPERATORS = ("prefix", "suffix", "glob", "not", "exists", "range", "cidr")


class Mistake(msgspec.Struct, frozen=True):
    """One thing that is wrong in a pattern: where, what, and the likely fix (may be empty)."""

    path: Path
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{'.'.join(map(str, self.path))}: " if self.path else ""
        return f"{place}{self.problem}{f' ({self.hint})' if self.hint else ''}"


class BadPattern(RouterError):
    """A pattern with mistakes, all of them."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("; ".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


def parse(pattern: Plain, decoder: Decoder | Vocabulary, path: Path = ()) -> Condition:
    """Return the condition that the pattern means for this decoder's events, or for those of a vocabulary.

    The pattern is plain data: mappings, lists, texts, numbers, booleans. `path` goes before the place of every
    mistake. Raises `BadPattern`.
    """
    if _is_deeper(pattern, DEPTH):
        raise BadPattern((Mistake(path, f"nested more than {DEPTH} levels deep", "write it flatter"),))
    parser = _Parser(decoder if isinstance(decoder, Vocabulary) else Vocabulary(decoder))
    condition = parser.pattern(pattern, path)
    if parser.mistakes:
        raise BadPattern(tuple(parser.mistakes))
    return condition.given({})


def _is_deeper(pattern: Plain, levels: int) -> bool:
    """Say whether lists and mappings nest deeper than so many levels; without recursion."""
    inner: list[Plain] = [pattern]
    for _ in range(levels + 1):
        if not inner:
            return False
        around, inner = inner, []
        for one in around:
            inner += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return bool(inner)


class _Parser:
    """Parses one pattern and collects its mistakes; what it returns is of use only if there are none."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.mistakes: list[Mistake] = []
        self._words = vocabulary
        self._values = vocabulary.values

    def pattern(self, pattern: Plain, path: Path) -> Condition:
        if not isinstance(pattern, dict):
            return self._wrong(path, "a match is a mapping of fields to values", "such as `{region: cn-hangzhou}`")
        return All(tuple(self._entry(key, value, (*path, key)) for key, value in pattern.items()))

    def _entry(self, key: str, value: Plain, path: Path) -> Condition:
        if key == "not":
            return Not(self.pattern(value, path))
        if key in NESTING:
            if not isinstance(value, list) or not value:
                return self._wrong(path, f"`{key}` takes a list of patterns", f"write `{key}: [{{...}}, {{...}}]`")
            parts = [self.pattern(item, (*path, i)) for i, item in enumerate(value)]
            return (Either if key == "any" else All)(tuple(parts))
        if not self._words.knows(key):
            return self._wrong(path, "unknown field", self._words.likely(key, NESTING))
        return self._value(key, value, path)

    def _value(self, field: str, value: Plain, path: Path) -> Condition:
        if isinstance(value, dict):
            return self._operator(field, value, path)
        if isinstance(value, list):
            return self._any_of(field, value, path)
        return self._equals(field, [(value, path)])

    def _any_of(self, field: str, values: list[Plain], path: Path) -> Condition:
        if not values:
            return self._wrong(path, "an empty list matches nothing", "name at least one value")
        scalars: list[tuple[Plain, Path]] = []
        parts: list[Condition] = []
        for index, item in enumerate(values):
            place = (*path, index)
            if isinstance(item, dict):
                parts.append(self._operator(field, item, place))
            else:
                scalars.append((item, place))
        equal = [self._equals(field, scalars)] if scalars else []
        return Either((*equal, *parts))

    def _equals(self, field: str, values: Sequence[tuple[Plain, Path]]) -> Condition:
        return Test(field, OneOf(frozenset(self._equal_to(field, self._text(value, at), at) for value, at in values)))

    def _equal_to(self, field: str, text: str, path: Path) -> str:
        """Return the text as events have it; one that no event has is a mistake."""
        canonical, fault = self._words.judged(field, text)
        self._faulty(fault, path)
        return canonical

    def _operator(self, field: str, value: dict[str, Plain], path: Path) -> Condition:
        if len(value) != 1:
            return self._wrong(path, f"one operator is wanted here, not {len(value)}", f"one of {', '.join(OPERATORS)}")
        name, operand = next(iter(value.items()))
        place = (*path, name)
        if name == "not":
            return Not(self._value(field, operand, place))
        if name == "exists":
            return self._exists(field, operand, place)
        make = self._makers().get(name)
        if make is None:
            return self._wrong(place, "unknown operator", nearest(name, OPERATORS))
        operator = make(operand, place)
        if operator is not None:
            self._faulty(self._vain(field, name, operator, operand), place)
        return NEVER if operator is None else Test(field, operator)

    def _makers(self) -> Mapping[str, Callable[[Plain, Path], Operator | None]]:
        return {
            "prefix": lambda operand, path: Prefix(self._filled(operand, path)),
            "suffix": lambda operand, path: Suffix(self._filled(operand, path)),
            "glob": lambda operand, path: Glob(self._filled(operand, path)),
            "range": self._range,
            "cidr": self._cidr,
        }

    def _vain(self, field: str, name: str, operator: Operator, operand: Plain) -> Fault | None:
        """Say why an operator holds of no text that the field can have; None if it can."""
        values = self._values.get(field)
        match operator:
            case Prefix() | Suffix() | Glob() if field == "type":
                return self._words.type_fault(operator, as_text(operand))
            case Prefix() | Suffix() | Glob():
                return part_fault(field, name, as_text(operand), values)
            case NumberRange() | TextRange():
                ends = operand if isinstance(operand, list) else []
                return range_fault(field, operator, [as_text(end) for end in ends if end is not None], values)
            case Cidr():
                return network_fault(field, values)
            case _:
                return None

    def _faulty(self, fault: Fault | None, path: Path) -> None:
        if fault is not None:
            self._wrong(path, *fault)

    def _exists(self, field: str, operand: Plain, path: Path) -> Condition:
        wanted = as_text(operand) if isinstance(operand, str | bool) else ""
        if wanted not in {"true", "false"}:
            return self._wrong(path, "`exists` takes true or false")
        return Test(field, Exists()) if wanted == "true" else Not(Test(field, Exists()))

    def _range(self, operand: Plain, path: Path) -> Operator | None:
        ends = operand if isinstance(operand, list) else []
        if len(ends) != 2 or ends == [None, None]:  # noqa: PLR2004 - a range has two ends
            self._wrong(path, "`range` takes two ends, [low, high]", "leave one end open with null")
            return None
        low, high = (None if end is None else self._text(end, (*path, i)) for i, end in enumerate(ends))
        numbers = [None if end is None else number_of(end) for end in (low, high)]
        numeric = all(number is not None for end, number in zip((low, high), numbers, strict=True) if end is not None)
        operator = NumberRange(*numbers) if numeric else TextRange(low, high)
        if operator.low is not None and operator.high is not None and operator.low > operator.high:  # type: ignore[operator]
            self._wrong(path, f"nothing lies between `{low}` and `{high}`", "the low end comes first")
        return operator

    def _cidr(self, operand: Plain, path: Path) -> Operator:
        if isinstance(operand, list):
            places = [(item, (*path, i)) for i, item in enumerate(operand)]
        else:
            places = [(operand, path)]
        if not places:
            self._wrong(path, "an empty list matches nothing", "name at least one network")
        networks = [self._network(self._filled(item, place), place) for item, place in places]
        return Cidr(tuple(network for network in networks if network is not None))

    def _network(self, text: str, path: Path) -> Network | None:
        try:
            return ipaddress.ip_network(text)
        except ValueError:
            pass
        try:
            hint = f"did you mean `{ipaddress.ip_network(text, strict=False)}`?"
        except ValueError:
            hint = "such as `10.0.0.0/8` or `2001:db8::/32`"
        if text:
            self._wrong(path, f"`{text}` is no network", hint)
        return None

    def _filled(self, value: Plain, path: Path) -> str:
        text = self._text(value, path)
        if value == "":
            self._wrong(path, "the empty text is no use here", "for any value write `{exists: true}`")
        return text

    def _text(self, value: Plain, path: Path) -> str:
        if isinstance(value, str | int | float):
            return as_text(value)
        found = "nothing" if value is None else "a list" if isinstance(value, list) else "a mapping"
        hint = "for an absent field write `{exists: false}`" if value is None else ""
        self._wrong(path, f"expected one value, found {found}", hint)
        return ""

    def _wrong(self, path: Path, problem: str, hint: str = "") -> Condition:
        self.mistakes.append(Mistake(path, problem, hint))
        return NEVER

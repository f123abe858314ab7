"""The walk: a tree of nodes becomes the value of a type, and every mistake on the way is noted.

msgspec's own conversion stops at the first mistake and knows no lines; so this goes down the types, struct by
struct, to the scalars. Whatever cannot be converted becomes `BAD`, and so does what contains it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any, Final, TypeAlias, get_args, get_origin

import msgspec

from router.config.environment import expand
from router.config.hiding import without
from router.config.nodes import ListNode, MapNode, Node, Scalar
from router.config.problem import Problems, path_of
from router.config.scalars import Text, Unfit, constrained, fit
from router.config.shapes import PATHS, alternatives, bare_type, expected, is_listed, is_subclass, meanings_of
from router.errors import ConfigError
from router.hint import nearest
from router.match import Path
from router.meaning import Meaning
from router.pem import PemFile
from router.plugin import Plugin, Secret


class LocalPath(msgspec.Struct, frozen=True):
    """A path of this machine that a config names, or a template of some; whether files are written there."""

    path: str
    written: bool
    template: bool


class Bad:
    """The type of `BAD`."""


BAD: Final = Bad()
"""Stands for a value that could not be made; its problems have been noted."""


Special: TypeAlias = "Callable[[Walk, MapNode, Path], Any]"
"""Makes the value for a type whose mappings have a syntax of their own; notes problems itself, returns `BAD`."""

Meant: TypeAlias = "Callable[[Walk, str, frozenset[Meaning], Path], Any]"
"""Makes of a text what it stands for; notes problems itself, returns `BAD`."""


class Walk:
    """Converts the nodes of one file. `built` has every value that was made, by its path, and `begun` what was tried.

    `paths` has those texts that are paths of files, by the place where they stand.
    """

    def __init__(
        self,
        problems: Problems,
        environ: Mapping[str, str],
        special: Mapping[type, Special],
        meanings: Mapping[Meaning, Meant] = MappingProxyType({}),
        folder: FilePath = FilePath(),
    ) -> None:
        self.problems = problems
        self.built: dict[Path, Any] = {}
        self.begun: set[Path] = set()
        self.paths: dict[Path, LocalPath] = {}
        self._environ = environ
        self._special = special
        self._meanings = meanings
        self._folder = folder
        self._hidden: list[tuple[str, str]] = []

    def value(self, hint: Any, node: Node, path: Path) -> Any:
        """Return the value of the type, or `BAD`."""
        self.begun.add(path)
        value = self._scalar(hint, node, path) if isinstance(node, Scalar) else self._container(hint, node, path)
        if value is not BAD:
            self.built[path] = value
        return value

    def struct(self, cls: type[msgspec.Struct], node: MapNode, path: Path, known: Mapping[str, Any]) -> Any:
        """Return the struct, or `BAD`. `known` has the keys that were dealt with, and their values."""
        since = len(self._hidden)
        fields = _fields(cls)
        entries = self.entries(node, path)
        hints: dict[str, str] = {}
        for key in entries:
            if key not in fields and key not in known:
                hints[key] = "" if self.problems.many else nearest(key, fields)
                self.problems.add((*path, key), "unknown key", hints[key], entries[key][0].mark)
        values: dict[str, Any] = {}
        for key, field in fields.items():
            if key in known:
                values[field.name] = known[key]
            elif key in entries:
                values[field.name] = self.value(field.type, entries[key][1], (*path, key))
            elif isinstance(field.default, str) and not meanings_of(field.type).isdisjoint(PATHS):
                values[field.name] = self._meant(field.default, meanings_of(field.type), (*path, key))
            elif field.required:
                values[field.name] = BAD
                if not any(f"`{key}`" in hint for hint in hints.values()):
                    self.problems.add(path, f"`{key}` is missing", f"add `{key}:`, {expected(field.type)}")
        if hints or BAD in values.values():
            return BAD
        return self._construct(cls, values, path, since)

    def entries(self, node: MapNode, path: Path) -> dict[str, tuple[Scalar, Node]]:
        """Return the entries by key, the first of each; the others are mistakes."""
        entries: dict[str, tuple[Scalar, Node]] = {}
        for key, value in node.entries:
            first = entries.setdefault(key.text, (key, value))[0]
            if first is not key:
                problem = f"the key is there already, in line {first.mark.line}"
                self.problems.add((*path, key.text), problem, "keep one of them", key.mark)
        return entries

    def texts(self, node: Node, path: Path) -> Any:
        """Return plain data in which scalars are texts as written, apart from null, true and false; or `BAD`."""
        if isinstance(node, ListNode):
            items = [self.texts(item, (*path, i)) for i, item in enumerate(node.items)]
            return BAD if BAD in items else items
        if isinstance(node, MapNode):
            values = {key: self.texts(v, (*path, key)) for key, (_, v) in self.entries(node, path).items()}
            return BAD if BAD in values.values() else values
        text = self._expanded(node, path)
        if text is None:
            return BAD
        return None if text.nothing else text.text

    def masked(self, since: int, text: str) -> str:
        """Hide the secrets in a text, and the values of the environment, that were read since then (`hidden`)."""
        return without(self._hidden[since:], text)

    def hide(self, value: str, instead: str = "***") -> None:
        """Keep a value out of the errors."""
        self._hidden.append((value, instead))

    @property
    def hidden(self) -> int:
        """How many values were hidden so far."""
        return len(self._hidden)

    def _scalar(self, hint: Any, node: Scalar, path: Path) -> Any:
        text = self._expanded(node, path)
        if text is None:
            return BAD
        try:
            value = fit(hint, text)
        except Unfit as error:
            self.problems.add(path, error.problem, error.hint or _listed(hint))
            return BAD
        if isinstance(value, Secret) and value:
            self.hide(value)
        if isinstance(value, PemFile):
            return self._pem(value.path, path)
        return self._meant(value, meanings_of(hint), path) if hint is not str else value

    def _pem(self, file: FilePath, path: Path) -> Any:
        """Read a PEM file, and note that this config depends on it."""
        file = self._folder / file
        self.problems.files.add(file)
        self.paths[path] = LocalPath(str(file), written=False, template=False)
        try:
            return PemFile.read(file)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            self.problems.add(path, self.masked(0, f"{file} cannot be read: {said}"))
            return BAD

    def _meant(self, value: Any, meant: frozenset[Meaning], path: Path) -> Any:
        """Return what a text stands for, made from one meaning after the other."""
        made = str(value)
        if not meant or not made or value is None:
            return value
        for meaning in meant.intersection(self._meanings):
            made = self._meanings[meaning](self, made, meant, path)
            if made is BAD:
                return BAD
        if not meant.isdisjoint(PATHS):
            self.paths[path] = LocalPath(made, written=Meaning.OUTPUT in meant, template=Meaning.TEMPLATE in meant)
        return type(value)(made)

    def _expanded(self, node: Scalar, path: Path) -> Text | None:
        expanded = expand(node.text, self._environ)
        for mistake, hint in expanded.mistakes:
            self.problems.add(path, mistake, hint)
        # A shorter value is no secret, and words of the message itself would be taken for it.
        self._hidden += [(value, f"${{{name}}}") for value, name in expanded.used.items() if len(value) > 3]  # noqa: PLR2004
        if not _is_text(expanded.text):
            self.problems.add(path, "a character that is no text", "a lone surrogate, or bytes that are no UTF-8")
            return None
        return None if expanded.mistakes else Text(expanded.text, node.text, node.plain)

    def _container(self, hint: Any, node: ListNode | MapNode, path: Path) -> Any:
        for member in alternatives(hint):
            bare = bare_type(member)
            kind = get_origin(bare) or bare
            anything = bare in {Any, object}
            if isinstance(node, ListNode):
                if anything or is_listed(kind):
                    return self._list(member, node, path)
            elif bare in self._special:
                return self._special[bare](self, node, path)
            elif anything or is_subclass(kind, Mapping):
                return self._mapping(member, node, path)
            elif is_subclass(kind, msgspec.Struct):
                return self.struct(kind, node, path, {})
        found = "a list" if isinstance(node, ListNode) else "a mapping"
        fix = "" if isinstance(node, ListNode) else _braced(node) or _listed(hint)
        self.problems.add(path, f"expected {expected(hint)}, found {found}", fix)
        return BAD

    def _list(self, hint: Any, node: ListNode, path: Path) -> Any:
        bare = bare_type(hint)
        origin, arguments = get_origin(bare) or bare, get_args(bare)
        fixed = origin is tuple and arguments and arguments[-1] is not Ellipsis
        if fixed and len(arguments) != len(node.items):
            self.problems.add(path, f"expected a list of {len(arguments)}, found one of {len(node.items)}")
            return BAD
        hints = arguments if fixed else [arguments[0] if arguments else Any] * len(node.items)
        items = [self.value(h, item, (*path, i)) for i, (h, item) in enumerate(zip(hints, node.items, strict=True))]
        if BAD in items:
            return BAD
        make = origin if origin in {list, tuple, set, frozenset} else list if bare in {Any, object} else tuple
        return self._checked(hint, make(items), f"{len(items)}", path)

    def _mapping(self, hint: Any, node: MapNode, path: Path) -> Any:
        key_hint, value_hint = get_args(bare_type(hint)) or (str, Any)
        values: dict[Any, Any] = {}
        for text, (key, item) in self.entries(node, path).items():
            value = self.value(value_hint, item, (*path, text))
            try:
                fitted = self._meant(fit(key_hint, Text(text, text, key.plain)), meanings_of(key_hint), (*path, text))
                values[fitted] = value
            except Unfit as error:
                self.problems.add((*path, text), error.problem, error.hint or _simpler(key_hint, text), key.mark)
                values[text] = BAD
        return BAD if BAD in values.values() else self._checked(hint, values, f"{len(values)}", path)

    def _checked(self, hint: Any, value: Any, found: str, path: Path) -> Any:
        try:
            return constrained(hint, value, found)
        except Unfit as error:
            self.problems.add(path, error.problem, error.hint)
            return BAD

    def _construct(self, cls: type[msgspec.Struct], values: Mapping[str, Any], path: Path, since: int) -> Any:
        """Make the struct and let it check itself."""
        try:
            made = cls(**values)
            if isinstance(made, Plugin):
                made.check()
        except ConfigError as error:
            names = {field.name: name for name, field in _fields(cls).items()}
            place = tuple(names.get(part, part) if isinstance(part, str) else part for part in path_of(error.place))
            self.problems.add((*path, *place), self.masked(since, error.problem), self.masked(since, error.hint))
        except Exception as error:  # noqa: BLE001 - a plugin's own code runs here, and its fault is a problem of the config
            self.problems.add(path, self.masked(since, f"refused: {type(error).__name__}: {error}"))
        else:
            return made
        return BAD


def _braced(node: MapNode) -> str:
    """Return the hint for `{region}`, which was to be a text."""
    bare = node.entries and all(isinstance(v, Scalar) and v.plain and not v.text for _, v in node.entries)
    return 'a text that begins with `{` needs quotes: "{region}"' if bare else ""


@lru_cache(maxsize=1024)
def _fields(cls: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """Return the fields by their names in YAML; a memo of pure reflection, which takes long."""
    return {field.encode_name: field for field in msgspec.structs.fields(cls)}


def _listed(hint: Any) -> str:
    """Return the hint for one thing where a list is expected."""
    kinds = [get_origin(bare_type(member)) or bare_type(member) for member in alternatives(hint)]
    return "a list of one thing is written `[thing]`" if all(is_listed(kind) for kind in kinds) else ""


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _simpler(hint: Any, key: str) -> str:
    """Return the hint for a key that does not fit: the like of it that does."""
    simple = re.sub(r"[^a-z0-9_-]+", "-", key.lower()).strip("-_")
    try:
        fit(hint, Text(simple, simple, plain=False))
    except Unfit:
        return ""
    return f"such as `{simple}`"

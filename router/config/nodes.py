"""A config's text as a tree of nodes that know their line; YAML 1.2 without anchors, aliases and tags.

The tree keeps every scalar as it was written. What a scalar means is decided by the type of the field that it
is for, so that no `yes` becomes true and no `010` becomes 8 on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from router.config.complaints import likely
from router.config.environment import find_shield, shield, unshield
from router.match import Path

DEPTH = 64
"""Levels of nesting at most."""
LINES = 30_000
BYTES = 2 * 1024 * 1024
NODES = 100_000
"""Lines, bytes and nodes of a config at most: what 3,000 subscriptions of ten lines take, and then some."""


class Mark(msgspec.Struct, frozen=True, order=True):
    """A place in the text; both count from 1."""

    line: int
    column: int


class Scalar(msgspec.Struct, frozen=True):
    """A text as written; `plain` is one without quotes, which may also be a number, a boolean or nothing."""

    mark: Mark
    text: str
    plain: bool


class ListNode(msgspec.Struct, frozen=True):
    """A sequence of nodes."""

    mark: Mark
    items: tuple[Node, ...]


class MapNode(msgspec.Struct, frozen=True):
    """A mapping as written: keys may repeat."""

    mark: Mark
    entries: tuple[tuple[Scalar, Node], ...]

    def get(self, key: str) -> Node | None:
        """Return the node of a key, None if it is not there."""
        return next((node for name, node in self.entries if name.text == key), None)


Node: TypeAlias = Scalar | ListNode | MapNode


class BadText(Exception):
    """The text is no YAML, or more YAML than a config may use."""

    def __init__(self, mark: Mark, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.mark = mark
        self.problem = problem
        self.hint = hint


def read(text: str) -> MapNode:
    """Return the tree of a text, an empty mapping for an empty one; raises `BadText`."""
    if len(text) > BYTES or text.count("\n") > LINES:
        raise BadText(_mark_at(text, 0), f"more than {LINES:,} lines, or {BYTES:,} bytes", _TOO_MUCH)
    if (index := find_shield(text)) >= 0:
        raise BadText(_mark_at(text, index), "a character that has no meaning in text")
    try:
        root = _Builder().build(_events(shield(text)))
    except YAMLError as error:
        raise _explained(error, text) from error
    if root is None:
        return MapNode(Mark(1, 1), ())
    if not isinstance(root, MapNode):
        raise BadText(root.mark, "a config is a mapping of keys to values", "such as `sources:` and `departments:`")
    return root


Keys: TypeAlias = Callable[[MapNode], Mapping[str, tuple[Scalar, Node]]]
"""Returns the entries of a mapping by key, the first of each."""


def keys_of(node: MapNode) -> Mapping[str, tuple[Scalar, Node]]:
    """Return the entries by key, the first of each."""
    return {key.text: (key, value) for key, value in reversed(node.entries)}


def locate(node: Node, path: Path, keys: Keys = keys_of) -> Mark:
    """Return where a path leads, or where what is missing would belong: a scalar's own place, else its key's."""
    mark = node.mark
    for part in path:
        found: Node | None = None
        if isinstance(node, MapNode):
            key, found = keys(node).get(str(part), (None, None))
            mark = key.mark if key else mark
        elif isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
            found = node.items[part]
            mark = found.mark
        if found is None:
            return mark
        node = found
    return node.mark if isinstance(node, Scalar) and node.text else mark


def _events(text: str) -> Iterator[Any]:
    yaml: Any = YAML(typ="safe", pure=True)  # ruamel's events and errors have no types
    return iter(yaml.parse(text))


_TOO_MUCH = "is it a config at all? generated ones can be divided among several routers"


class _Builder:
    """Builds the tree from the parser's events, without recursion; depth is bounded for those who walk it."""

    def __init__(self) -> None:
        self._open: list[tuple[Mark, bool, list[Node]]] = []
        self._root: Node | None = None
        self._documents = 0
        self._nodes = 0

    def build(self, events: Iterator[Any]) -> Node | None:
        for event in events:
            kind = event.__class__
            mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
            self._refuse(event, mark)
            if kind is ScalarEvent:
                self._add(Scalar(mark, unshield(event.value), event.implicit[0]))
            elif kind in {MappingStartEvent, SequenceStartEvent}:
                self._open.append((mark, kind is MappingStartEvent, []))
            elif kind in {MappingEndEvent, SequenceEndEvent}:
                self._close()
        return self._root

    def _refuse(self, event: Any, mark: Mark) -> None:
        kind = event.__class__
        if kind is DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                raise BadText(mark, "a second document begins here", "a config is one document; remove the `---`")
        elif kind is AliasEvent and self._merges():
            raise BadText(mark, "merge keys (`<<`) are not used here", "write the keys out")
        elif kind is AliasEvent or getattr(event, "anchor", None):
            hint = "write the value out, or put a text that begins with `&` or `*` in quotes"
            raise BadText(mark, "anchors and aliases are not used here", hint)  # the name may be a secret's begin
        elif getattr(event, "tag", None):
            raise BadText(mark, "tags are not used here", "a text that begins with `!` needs quotes")
        elif len(self._open) > DEPTH:
            raise BadText(mark, f"nested more than {DEPTH} levels deep")
        self._nodes += 1
        if self._nodes > NODES:
            raise BadText(mark, f"more than {NODES:,} keys, values, lists and mappings", _TOO_MUCH)

    def _merges(self) -> bool:
        """Say whether what comes now is the value of a merge key."""
        nodes = self._open[-1][2] if self._open and self._open[-1][1] else []
        key = nodes[-1] if len(nodes) % 2 else None
        return isinstance(key, Scalar) and key.text == "<<" and key.plain

    def _close(self) -> None:
        mark, is_mapping, nodes = self._open.pop()
        if is_mapping:
            keys, values = nodes[::2], nodes[1::2]
            self._add(MapNode(mark, tuple((_key(k), v) for k, v in zip(keys, values, strict=True))))
        else:
            self._add(ListNode(mark, tuple(nodes)))

    def _add(self, node: Node) -> None:
        if self._open:
            self._open[-1][2].append(node)
        else:
            self._root = node


def _key(node: Node) -> Scalar:
    if isinstance(node, Scalar):
        if node.plain and node.text == "<<":
            raise BadText(node.mark, "merge keys (`<<`) are not used here", "write the keys out")
        return node
    raise BadText(node.mark, "a list or a mapping cannot be a key", "a text that begins with `[` or `{` needs quotes")


def _explained(error: Any, text: str) -> BadText:
    """Return the parser's complaint with the likely fix."""
    kind = error.__class__
    if kind is ReaderError:
        return BadText(_mark_at(text, int(error.position)), "a character that YAML does not allow")
    if not issubclass(kind, MarkedYAMLError):
        return BadText(Mark(1, 1), f"no valid YAML: {unshield(str(error))}")
    place = error.problem_mark or error.context_mark
    mark = Mark(place.line + 1, place.column + 1) if place else Mark(1, 1)
    complaint = unshield(", ".join(str(part) for part in (error.context, error.problem) if part))
    return BadText(mark, f"no valid YAML: {complaint}", likely(complaint, _line_of(text, mark)))


def _line_of(text: str, mark: Mark) -> str:
    lines = text.split("\n", mark.line)
    return lines[mark.line - 1] if mark.line <= len(lines) else ""


def _mark_at(text: str, index: int) -> Mark:
    return Mark(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))

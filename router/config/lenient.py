"""What a config still says though it has a mistake, for commands that need but a part of it.

Where the text is no YAML, its keys are read one by one, each with the lines that are indented below it; what cannot be
read then is left out, and so is what lacks a variable, a file or a plugin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from router.config.loading import DEFAULT_TYPES, keys
from router.config.meanings import meanings
from router.config.model import Admin, Config, Department, Subscription
from router.config.nodes import BYTES, BadText, MapNode, Mark, Node, Scalar, read
from router.config.plugins import KINDS, Plugins
from router.config.problem import BadConfig, Problem, Problems
from router.config.secrets import read_file
from router.config.specials import condition, plugin, secret
from router.config.walk import BAD, Special, Walk
from router.journal import Journal
from router.match import Condition, Vocabulary
from router.plugin import Decoder, Secret

T = TypeVar("T")

LOST = "\ud800"
"""Stands for a value that cannot be read; no type takes it."""

_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9_][A-Za-z0-9_-]*) *:(?P<value>[^\n#]*[^\s#])?.*$", re.MULTILINE)


class Glimpse(msgspec.Struct, frozen=True):
    """Where a config's daemon is: its state folder, where the admin API listens, and the token.

    None for what cannot be read, and `problems` says why; what is not there has its default. `unread` says that there
    was no file to be read.
    """

    state: str | None
    listen: str | None
    token: Secret | None
    problems: tuple[Problem, ...] = ()
    unread: bool = False


def glimpse(path: Path, environ: Mapping[str, str]) -> Glimpse:
    """Return what a config says of where its daemon is."""
    try:
        content = read_file(path, BYTES)
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
        return Glimpse(None, None, None, (Problem(str(path), 1, 1, "", problem),), unread=True)
    root, found = _tree(content.decode("utf-8-sig", "replace"), str(path))
    problems = Problems(str(path), root)
    walk = Walk(problems, environ, {Secret: secret(path.parent)})
    state = _field(walk, root, "state", str, "state")
    admin = _field(walk, root, "admin", Admin, Admin())
    listen, token = (admin.listen, admin.token) if admin else (None, None)
    node = root.get("admin")
    if admin is None and isinstance(node, MapNode):
        listen = _field(walk, node, "listen", str, Admin().listen, ("admin",))
    return Glimpse(state, listen, token, found or _all(problems))


def _field(walk: Walk, node: MapNode, key: str, kind: type[T], default: T, path: tuple[str, ...] = ()) -> T | None:
    """Return the value of a key; None if it has a mistake."""
    found = node.get(key)
    if found is None:
        return default
    value: Any = walk.value(kind, found, (*path, key))
    return None if value is BAD else value


def _all(problems: Problems) -> tuple[Problem, ...]:
    try:
        problems.raise_any()
    except BadConfig as error:
        return error.problems
    return ()


def _tree(text: str, name: str) -> tuple[MapNode, tuple[Problem, ...]]:
    """Return the tree of a text, as much of it as is YAML, and what is not."""
    try:
        return read(text), ()
    except BadText as error:
        problem = Problem(name, error.mark.line, error.mark.column, "", error.problem, error.hint)
    return MapNode(Mark(1, 1), tuple(_blocks(text))), (problem,)


def _blocks(text: str, line: int = 0) -> Iterator[tuple[Scalar, Node]]:
    """Yield the entries of a mapping that can be read alone; of the others what can be read in them, or `LOST`.

    The text begins in a line of the file, the first of which is 0.
    """
    keys = list(_KEY.finditer(text))
    indent = min((len(key["indent"]) for key in keys), default=0)
    keys = [key for key in keys if len(key["indent"]) == indent]
    ends = [*(key.start() for key in keys), len(text)][1:]
    for key, end in zip(keys, ends, strict=True):
        here = line + text.count("\n", 0, key.start())
        try:
            yield from read("\n" * here + text[key.start() : end]).entries
        except BadText:
            mark = Mark(here + 1, indent + 1)
            below = () if key["value"] else tuple(_blocks(text[key.end() : end], here))
            yield (
                Scalar(mark, key["key"], plain=True),
                MapNode(mark, below) if below else Scalar(mark, LOST, plain=False),
            )


def salvage(path: Path | None, environ: Mapping[str, str], state: Path | None = None) -> Config | None:
    """Return what can be read of a config, without sources, as far as a journal is read by it.

    `state` says where the journal is instead. A subscription that has a mistake is left out, and so is a department
    whose accounts have one. None if nothing leads to the journal.
    """
    try:
        text = read_file(path, BYTES).decode("utf-8-sig", "replace") if path else ""
    except OSError:
        if state is None:
            return None
        text = ""
    folder = path.parent if path else Path()
    root, _ = _tree(text, str(path or ""))
    return _Salvage(root, folder, environ).config(state)


class _Salvage:
    """Converts parts of a config, each for itself."""

    def __init__(self, root: MapNode, folder: Path, environ: Mapping[str, str]) -> None:
        self._root = root
        self._folder = folder
        special: dict[type, Special] = {Secret: secret(folder)}
        problems = Problems("", root)
        self._walk = Walk(problems, environ, special, meanings(folder, None), folder)
        folders: Any = self._value("plugins", tuple[str, ...]) or ()
        finder = Plugins([one for name in folders if (one := folder / name).is_dir()])
        special |= {kind: plugin(kind, finder, DEFAULT_TYPES.get(kind, "")) for kind in KINDS}
        self._decoder = self._value("decoder", Decoder) or self._default(Decoder)
        vocabulary = Vocabulary(self._decoder, keys(root.get("sources")))
        special[Condition] = condition(vocabulary)
        self._walk = Walk(problems, environ, special, meanings(folder, vocabulary), folder)

    def config(self, state: Path | None) -> Config | None:
        said = self._root.get("journal")
        journal = self._value("journal", Journal)
        if journal is None and said is not None and _type_of(said) not in {"", DEFAULT_TYPES[Journal]}:
            return None
        name = "state" if self._root.get("state") is None else self._value("state", str)
        if state is None and name is None:
            return None
        return Config(
            state=str(state or self._folder / name),
            journal=journal or self._default(Journal),
            decoder=self._decoder,
            sources={},
            departments=dict(self._departments()),
        )

    def _departments(self) -> Iterator[tuple[str, Department]]:
        node = self._root.get("departments")
        for key, value in node.entries if isinstance(node, MapNode) else ():
            if not isinstance(value, MapNode):
                continue
            path = ("departments", key.text)
            others = tuple(entry for entry in value.entries if entry[0].text != "subscriptions")
            made: Any = self._walk.value(Department, MapNode(value.mark, others), path)
            if made is not BAD:
                yield key.text, replace(made, subscriptions=dict(self._subscriptions(value, path)))

    def _subscriptions(self, node: MapNode, path: tuple[str, ...]) -> Iterator[tuple[str, Subscription]]:
        found = node.get("subscriptions")
        for key, value in found.entries if isinstance(found, MapNode) else ():
            made: Any = self._walk.value(Subscription, value, (*path, "subscriptions", key.text))
            if made is not BAD:
                yield key.text, made

    def _value(self, key: str, kind: Any) -> Any:
        """Return the value of a key; None if it is not there, or has a mistake."""
        node = self._root.get(key)
        value: Any = BAD if node is None else self._walk.value(kind, node, (key,))
        return None if value is BAD else value

    def _default(self, kind: Any) -> Any:
        return self._walk.value(kind, MapNode(Mark(1, 1), ()), ())


def _type_of(node: Node) -> str:
    named = node.get("type") if isinstance(node, MapNode) else None
    return named.text if isinstance(named, Scalar) else ""

"""The mappings with a syntax of their own: plugins (`type:` names the class), secrets in files, and patterns."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any, Protocol

import msgspec

from router.config.nodes import MapNode
from router.config.plugins import KINDS
from router.config.secrets import read_secret
from router.config.walk import BAD, Special, Walk
from router.errors import ConfigError
from router.match import BadPattern, Path, Vocabulary, parse
from router.meaning import InputPath
from router.plugin import Decoder, Plugin
from router.proof import check_decoder


class Finder(Protocol):
    """Finds plugin classes."""

    def find(self, kind: type[Plugin], name: str) -> type[Plugin]:
        """Return the class; raises `ConfigError`."""
        ...


class SecretFile(msgspec.Struct, frozen=True):
    """A secret that is kept in a file: a path, relative to the folder of the config."""

    file: InputPath


def plugin(kind: type[Plugin], finder: Finder, default: str = "") -> Special:
    """Return what makes plugins of a kind; `default` is the type where none is named."""

    def make(walk: Walk, node: MapNode, path: Path) -> Any:
        since = walk.hidden
        name: Any = default
        if named := node.get("type"):
            name = walk.value(str, named, (*path, "type"))
        elif not default:
            walk.problems.add(path, "`type` is missing", f"add `type:`, the name of the {KINDS[kind]}")
            name = BAD
        if name is BAD:
            return BAD
        try:
            cls = finder.find(kind, name)
        except ConfigError as error:
            walk.problems.add((*path, "type"), walk.masked(since, error.problem), walk.masked(since, error.hint))
            return BAD
        made = walk.struct(cls, node, path, {"type": name})
        try:
            if isinstance(made, Decoder):
                check_decoder(made)
        except ConfigError as error:
            walk.problems.add(path, error.problem, error.hint)
            return BAD
        return made

    return make


def secret(folder: FilePath) -> Special:
    """Return what reads secrets from files; one line end after the secret is no part of it."""

    def make(walk: Walk, node: MapNode, path: Path) -> Any:
        since = walk.hidden
        described = walk.struct(SecretFile, node, path, {})
        if described is BAD:
            return BAD
        file = folder / described.file
        try:
            value = read_secret(file)
        except ValueError as error:
            problem = f"the secret cannot be read: {error}"
            walk.problems.add((*path, "file"), problem, walk.masked(since, f"it is looked for at {file}"))
            return BAD
        walk.hide(value)
        return value

    return make


def condition(vocabulary: Vocabulary | None) -> Special:
    """Return what makes conditions; without a decoder, whose problems are known by then, patterns are not looked at."""

    def make(walk: Walk, node: MapNode, path: Path) -> Any:
        since = walk.hidden
        pattern: Any = walk.texts(node, path)
        if pattern is BAD or vocabulary is None:
            return BAD
        try:
            return parse(pattern, vocabulary, path)
        except BadPattern as error:
            for mistake in error.mistakes:
                problem, hint = walk.masked(since, mistake.problem), walk.masked(since, mistake.hint)
                walk.problems.add(mistake.path, problem, hint)
            return BAD

    return make

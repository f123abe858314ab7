"""What texts of a config stand for (`router.meaning`): names are looked at, and paths get their one base.

Names behind steps may be those that the steps add; where a step does not say which, nothing is said of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any

from router.config.walk import BAD, Meant, Walk
from router.match import Path, Vocabulary, names_in
from router.meaning import Meaning
from router.plugin import Step


def meanings(folder: FilePath, vocabulary: Vocabulary | None) -> Mapping[Meaning, Meant]:
    """Return what is done about each meaning; without a vocabulary, names are not looked at."""
    found: dict[Meaning, Meant] = {Meaning.INPUT: _readable(folder), Meaning.OUTPUT: _based(folder)}
    if vocabulary is not None:
        found[Meaning.FIELD] = _named(vocabulary, lambda text: (text,))
        found[Meaning.TEMPLATE] = _named(vocabulary, names_in)
    return found


def _based(folder: FilePath) -> Meant:
    """Return what makes paths absolute: relative ones begin in the folder of the config file."""

    def based(_: Walk, text: str, meant: frozenset[Meaning], path: Path) -> Any:  # noqa: ARG001
        braces = Meaning.TEMPLATE in meant and not FilePath(text).is_absolute()
        begin = str(folder.absolute())
        return str(FilePath(begin.replace("{", "{{").replace("}", "}}") if braces else begin) / text)

    return based


def _readable(folder: FilePath) -> Meant:
    """Return what makes paths absolute and refuses what nobody could read to its end: pipes, sockets and devices."""
    based = _based(folder)

    def readable(walk: Walk, text: str, meant: frozenset[Meaning], path: Path) -> Any:
        found = based(walk, text, meant, path)
        try:
            mode = os.stat(found).st_mode  # noqa: PTH116 - it is a text
        except (OSError, ValueError):
            return found  # its owner says what that means
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return found
        walk.problems.add(path, "is no file, but a pipe, a socket or a device", "a file is read as a whole")
        return BAD

    return readable


def _named(vocabulary: Vocabulary, names: Callable[[str], Any]) -> Meant:
    """Return what refuses names that no event can have."""

    def named(walk: Walk, text: str, _: frozenset[Meaning], path: Path) -> Any:
        added = _added(walk, path)
        if added is None:
            return text
        wrong = [name for name in names(text) if not vocabulary.knows(name) and name not in added]
        for name in wrong:
            problem = walk.masked(0, f"unknown field `{name}`")
            walk.problems.add(path, problem, walk.masked(0, vocabulary.likely(name)))
        return BAD if wrong else text

    return named


def _added(walk: Walk, path: Path) -> frozenset[str] | None:
    """Return the names that the steps add that come before a place; None if that is not known."""
    if len(path) < 5 or path[0] != "departments":  # noqa: PLR2004 - departments.NAME.subscriptions.NAME.KEY
        return frozenset()
    place = (*path[:4], "steps")
    steps: Any = walk.built.get(place)
    if path[:5] == place:
        steps = [walk.built.get((*place, index)) for index in range(int(path[5]))]
    elif place not in walk.built and place in walk.begun:
        return None
    added: set[str] = set()
    for step in steps or ():
        names = step.added() if isinstance(step, Step) else None
        if names is None:
            return None
        added.update(names)
    return frozenset(added)

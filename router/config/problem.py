"""What is wrong in a config, each with its place: collected until all is known, then raised at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath

import msgspec

from router.config.nodes import MapNode, Mark, Node, Scalar, keys_of, locate
from router.errors import RouterError
from router.match import Path
from router.terminal import harmless


class Problem(msgspec.Struct, frozen=True, order=True):
    """One mistake. `line` and `column` count from 1; `place` is the key's path; `hint` is the likely fix, if any."""

    file: str
    line: int
    column: int
    place: str
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        """Return one line for people, of the form that editors can jump to."""
        place = f"{self.place}: " if self.place else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {place}{self.problem}{hint}"


MOST = 200
"""Mistakes that are listed at most."""


class BadConfig(RouterError):
    """A config with mistakes: all of them, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Problems:
    """Collects the problems of one file and finds their lines; however many there are, each costs the same."""

    def __init__(self, file: str, root: Node) -> None:
        self._file = file
        self._root = root
        self._found: set[Problem] = set()
        self._below: set[Path] = set()
        self._at: set[Path] = set()
        self._keys: dict[int, Mapping[str, tuple[Scalar, Node]]] = {}
        self.files: set[FilePath] = set()
        """PEM files that were read, or were to be."""

    def add(self, path: Path, problem: str, hint: str = "", mark: Mark | None = None) -> None:
        """Note a problem of what the path leads to; without a mark, the place is looked up."""
        at = mark or locate(self._root, path, self._keys_of)
        self._found.add(Problem(self._file, at.line, at.column, _line(shown(path)), _line(problem), _line(hint)))
        self._below.update(path[:end] for end in range(len(path) + 1))
        self._at.update((path, path[:-1]))

    @property
    def many(self) -> bool:
        """Whether there are more than anybody reads: then a hint that takes long is not worth it."""
        return len(self._found) > MOST

    def below(self, path: Path) -> bool:
        """Say whether there is a problem of this place or of one inside it."""
        return path in self._below

    def at(self, path: Path) -> bool:
        """Say whether there is a problem of this place or of a key right in it."""
        return path in self._at

    def raise_any(self) -> None:
        """Raise `BadConfig` if there is any problem: with the first ones, and how many more there are."""
        if not self._found:
            return
        found = sorted(self._found)
        if self.many:
            last = found[MOST - 1]
            more = f"and {len(found) - MOST:,} mistakes more"
            found = [*found[:MOST], Problem(self._file, last.line, last.column, "", more)]
        raise BadConfig(tuple(found))

    def _keys_of(self, node: MapNode) -> Mapping[str, tuple[Scalar, Node]]:
        known = self._keys.get(id(node))
        if known is None:
            known = self._keys[id(node)] = keys_of(node)
        return known


def shown(path: Path) -> str:
    """Write a path as people do: `departments.sales.steps[0].key`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _line(text: str) -> str:
    """Return the text on one line, with nothing in it that a terminal would act on."""
    return harmless(" ".join(text.split()))


def path_of(place: str) -> Path:
    """Read a path as `shown` writes it."""
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", place)
    return tuple(int(index) if index else key for index, key in parts)

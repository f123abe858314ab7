"""Loads a config: reads the file, finds the plugins, converts, and checks; every mistake is raised at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from router.config.checks import (
    check_accounts,
    check_admin,
    check_departments,
    check_expectations,
    check_listeners,
    check_renames,
    check_tests,
    check_workers,
)
from router.config.meanings import meanings
from router.config.model import Config
from router.config.nodes import BYTES, BadText, MapNode, Mark, Node, Scalar, read
from router.config.places import check_places
from router.config.plugins import KINDS, EntryPoints, Plugins, installed
from router.config.problem import BadConfig, Problem, Problems
from router.config.secrets import read_file
from router.config.specials import condition, plugin, secret
from router.config.walk import BAD, Special, Walk
from router.journal import Journal
from router.match import Condition, Vocabulary
from router.pem import PemFile
from router.plugin import Decoder, Plugin, Secret

DEFAULT_TYPES: Mapping[type[Plugin], str] = {Journal: "sqlite", Decoder: "directmail"}
"""What a plugin is that names no type."""


def load(path: Path, environ: Mapping[str, str], pem_files: set[Path] | None = None) -> Config:
    """Load a config file, in UTF-8. `environ` has the values for `${NAME}`. Raises `BadConfig`.

    `pem_files` will have those that it names, also where they cannot be read; without a readable text, those of before.
    """
    try:
        text = read_file(path, BYTES).decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(path, 1, f"the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, error.object.count(b"\n", 0, error.start) + 1, "this line is no UTF-8") from error
    return loads(text, str(path), path.parent, environ, pem_files=pem_files)


def loads(
    text: str,
    name: str,
    folder: Path,
    environ: Mapping[str, str],
    entry_points: EntryPoints = installed,
    pem_files: set[Path] | None = None,
) -> Config:
    """Load a config from its text. `name` is for the errors, `folder` is where relative paths begin."""
    try:
        root = read(text)
    except BadText as error:
        raise BadConfig((Problem(name, error.mark.line, error.mark.column, "", error.problem, error.hint),)) from error
    problems = Problems(name, root)
    file = folder / Path(name).name if (folder / Path(name).name).is_file() else None
    config = _convert(_with_defaults(root), folder, file, environ, entry_points, problems)
    if pem_files is not None:
        pem_files.clear()
        pem_files.update(problems.files)
        if trusted := PemFile.system():
            pem_files.add(trusted.path)
    problems.raise_any()
    assert isinstance(config, Config)
    return config


def _convert(
    root: MapNode,
    folder: Path,
    file: Path | None,
    environ: Mapping[str, str],
    entry_points: EntryPoints,
    problems: Problems,
) -> object:
    """Convert in the order in which one needs the other: folders of plugins, the decoder, everything else."""
    types = {field.name: field.type for field in msgspec.structs.fields(Config)}
    special: dict[type, Special] = {Secret: secret(folder)}
    paths = meanings(folder, None)

    def field(key: str) -> Any:
        node = root.get(key)
        walk = Walk(problems, environ, special, paths, folder)
        return () if node is None else walk.value(types[key], node, (key,))

    folders = field("plugins")
    finder = Plugins(_existing(() if folders is BAD else folders, folder, problems), entry_points)
    special |= {kind: plugin(kind, finder, DEFAULT_TYPES.get(kind, "")) for kind in KINDS}
    decoder = field("decoder")
    vocabulary = Vocabulary(decoder, keys(root.get("sources"))) if isinstance(decoder, Decoder) else None
    special[Condition] = condition(vocabulary)
    walk = Walk(problems, environ, special, meanings(folder, vocabulary), folder)
    config = walk.struct(Config, root, (), {"plugins": folders, "decoder": decoder})
    departments = root.get("departments")
    if isinstance(departments, MapNode):
        check_departments([key.text for key, _ in departments.entries], walk.built, problems)
    check_listeners(walk.built, problems)
    check_workers(walk.built, problems)
    check_admin(walk.built, problems)
    if not problems.below(("departments",)):
        check_renames(walk.built, problems)
    if not problems.below(("departments",)) and not problems.below(("sources",)):
        check_tests(walk.built, problems)
    if isinstance(decoder, Decoder) and vocabulary is not None:
        check_accounts(walk.built, decoder.account, vocabulary, problems)
        check_expectations(walk.built, vocabulary, problems)
    check_places(file, walk.paths[("state",)].path if ("state",) in walk.paths else "", walk.paths, problems)
    return config


def _existing(folders: tuple[str, ...], folder: Path, problems: Problems) -> list[Path]:
    """Return the folders with drop-ins; one that does not exist is a mistake."""
    paths = [folder / name for name in folders]
    for index, path in enumerate(paths):
        if not path.is_dir():
            problems.add(("plugins", index), "there is no such folder", f"it is looked for at {path}")
    return paths


def keys(node: Node | None) -> list[str]:
    """Return the keys of a mapping; none of anything else."""
    return [key.text for key, _ in node.entries] if isinstance(node, MapNode) else []


def _with_defaults(root: MapNode) -> MapNode:
    """Add the keys whose default is a plugin, which has to be found like any other."""
    missing: list[tuple[Scalar, Node]] = [
        (Scalar(root.mark, key, plain=True), MapNode(root.mark, ()))
        for key in ("journal", "decoder")
        if root.get(key) is None
    ]
    return MapNode(Mark(root.mark.line, root.mark.column), (*root.entries, *missing))


def _unreadable(path: Path, line: int, problem: str) -> BadConfig:
    return BadConfig((Problem(str(path), line, 1, "", problem),))

"""Official SDKs of other languages: programs that carry out every operation of theirs, built once into `.cache/sdks`.

Each prints a line for an operation: `ok NAME`, or `FAIL NAME: why`.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

RECIPES = Path(__file__).parent / "sdks"
CACHE = Path(__file__).parents[2] / ".cache" / "sdks"
FETCH = 600.0
"""Seconds that fetching and building one may take."""


class Sdk(NamedTuple):
    """One SDK: the programs it needs, how it is built into a folder, and what runs it there."""

    needs: tuple[str, ...]
    build: Callable[[Path, Path], Sequence[Sequence[str]]]
    run: Callable[[Path], Sequence[str]]


def _java(recipe: Path, folder: Path) -> Sequence[Sequence[str]]:
    jars = f"{folder}/jars"
    return (
        ["mvn", "-q", "-B", "-f", f"{recipe}/pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"],
        ["javac", "-nowarn", "-cp", f"{jars}/*", "-d", f"{folder}/classes", f"{recipe}/EveryOperation.java"],
    )


def _go(_recipe: Path, folder: Path) -> Sequence[Sequence[str]]:
    return (["go", "build", "-o", f"{folder}/every_operation", "."],)


def _node(recipe: Path, folder: Path) -> Sequence[Sequence[str]]:
    return (
        ["cp", f"{recipe}/package.json", f"{recipe}/every_operation.js", str(folder)],
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)],
    )


SDKS = {
    "java": Sdk(
        ("java", "javac", "mvn"), _java, lambda at: ["java", "-cp", f"{at}/classes:{at}/jars/*", "EveryOperation"]
    ),
    "go": Sdk(("go",), _go, lambda at: [f"{at}/every_operation"]),
    "node": Sdk(("node", "npm"), _node, lambda at: ["node", f"{at}/every_operation.js"]),
}


def missing(language: str) -> str:
    """Say what keeps a language's program from running here; empty when nothing does."""
    lacking = [name for name in SDKS[language].needs if shutil.which(name) is None]
    return f"the {language} SDK needs {' and '.join(lacking)}" if lacking else ""


def command(language: str, url: str) -> Sequence[str]:
    """Return what carries out a language's operations against the service at `url`; built first, if it was not."""
    return [*SDKS[language].run(_built(language)), url]


def _built(language: str) -> Path:
    recipe = RECIPES / language
    files = sorted(path for path in recipe.rglob("*") if path.is_file())
    folder = CACHE / f"{language}-{sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:12]}"
    if not folder.exists():
        fresh = CACHE / f"{language}.{uuid.uuid4().hex}"  # then renamed: another run may be building too
        fresh.mkdir(parents=True)
        for step in SDKS[language].build(recipe, fresh):
            subprocess.run(step, cwd=recipe, check=True, timeout=FETCH, stdout=subprocess.DEVNULL)
        try:
            fresh.rename(folder)
        except OSError:
            shutil.rmtree(fresh)
    return folder

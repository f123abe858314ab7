"""What is compared: a program that takes results by HTTP and writes them to files, all or what filters leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rounds import WORK

INSTALLED = WORK / "peers"
"""Where `install.py` puts what it can get."""
PATH = "/n"


class Load(NamedTuple):
    """`filters` filters lead to a file each, of which the first `matching` match; 0: one file gets all as it comes."""

    connections: int
    filters: int
    matching: int

    def region(self, index: int) -> str:
        """Return the region that a filter wants."""
        return "cn-hangzhou" if index < self.matching else f"elsewhere-{index}"

    @property
    def files(self) -> int:
        """How many files get every result."""
        return self.matching if self.filters else 1


class Product(NamedTuple):
    """`prepare` writes what the program needs into a folder, and returns the command; its files are `FOLDER/0.out` ...

    `program` is its path, None where it is not installed; `durable` says what is durable when it has answered;
    `version` is found in what it says to `--version`.
    """

    name: str
    durable: str
    program: Callable[[], Path | None]
    prepare: Callable[[Path, Path, int, Load], Sequence[str]]
    version: str = r"v?(\d+\.\d+\.\d+)"
    content_type: str = "text/plain;charset=utf-8"


def out(folder: Path, index: int) -> Path:
    """Return the file of a filter."""
    return folder / f"{index}.out"


def written(folder: Path, name: str, config: Any) -> str:
    """Write a config, as JSON, which is YAML; return its path."""
    path = folder / name
    path.write_text(json.dumps(config, indent=1))
    return str(path)


def found(name: str, installed: str = "") -> Callable[[], Path | None]:
    """Look for a program: where `install.py` put it, then on the PATH."""

    def program() -> Path | None:
        own = INSTALLED / (installed or name)
        if own.exists():
            return own
        path = shutil.which(name)
        return Path(path) if path else None

    return program

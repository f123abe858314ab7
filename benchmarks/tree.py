"""A revision of the router that can be run: its files, and the environment that makes Python take these."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ROOT / "benchmarks" / "inside"
"""Scripts that run with the code of the measured tree: they import `router` and nothing from here."""
_WRITTEN = (":!benchmarks/results", ":!benchmarks/README.md")
"""What a run with --write changes itself."""


class Tree(NamedTuple):
    """`site` holds the entry points of this tree, which `importlib.metadata` finds before the installed ones."""

    name: str
    root: Path
    site: Path

    def environment(self) -> dict[str, str]:
        """Return the variables under which Python imports `router` and `router_plugins` from this tree."""
        path = [self.site, self.root, self.root / "plugins"]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}

    def python(self, *arguments: str | Path) -> Sequence[str]:
        """Return the command that runs Python in this tree; `-P` keeps the working folder out of the imports."""
        return [sys.executable, "-P", *map(str, arguments)]


def git(*arguments: str) -> str:
    """Return what git says; raises `CalledProcessError`."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def described(revision: str = "") -> str:
    """Return the short name of a revision, or of the files as they are."""
    try:
        name = git("rev-parse", "--short", revision or "HEAD")
        if revision or not git("status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN):
            return name
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}-dirty"


@contextmanager
def working_tree() -> Generator[Tree]:
    """Yield the files as they are."""
    with _site(ROOT) as site:
        yield Tree(described(), ROOT, site)


@contextmanager
def checked_out(revision: str) -> Generator[Tree]:
    """Yield a revision, checked out beside the working tree; raises SystemExit for what git does not know."""
    with TemporaryDirectory(prefix="router-") as folder:
        root = Path(folder) / "tree"
        try:
            git("worktree", "add", "--detach", str(root), revision)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"cannot check out {revision}: {error.stderr.strip()}") from error
        try:
            with _site(root) as site:
                yield Tree(described(revision), root, site)
        finally:
            git("worktree", "remove", "--force", str(root))


@contextmanager
def _site(root: Path) -> Generator[Path]:
    """Write the entry points of the tree's pyproject as an installation has them."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines: list[str] = []
    for group, entries in project.get("entry-points", {}).items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in entries.items())]
    with TemporaryDirectory(prefix="router-site-") as folder:
        name = project["name"]
        info = Path(folder) / f"{name.replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
        yield Path(folder)

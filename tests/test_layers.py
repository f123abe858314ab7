"""Imports point one way: each layer knows only those before it, and the engine knows no plugin."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = [
    {
        "bell",
        "ending",
        "errors",
        "event",
        "frozen",
        "hint",
        "last_error",
        "latency",
        "lines",
        "listeners",
        "meaning",
        "names",
        "pem",
        "outlet",
        "terminal",
        "threads",
        "units",
        "values",
        "worker",
    },
    {"plugin"},
    {"journal", "match", "proof", "steps"},
    {"intake", "fronts", "spare", "routed", "scan", "dispatch", "verify"},
    {"window", "rerun", "books", "work", "agenda", "retry", "breaker", "valve", "settlement", "preparation"},
    {"tally", "opening", "doubt", "expiry", "reckoning", "admission", "revival", "replaying", "delivery"},
    {"config", "admin"},
    {"beginning", "running", "supply", "letters", "replays", "figures", "rehearsal"},
    {"trial", "shadow", "explain", "recount", "roster", "reload", "service"},
    {"cli"},
]
"""The packages and modules of `router`, from the bottom up; within one layer, imports may go across but not round."""

BESIDE = {"__init__", "__main__", "testing"}
"""Faces of the whole, in no layer."""

OUTSIDE = {"aiohttp", "aiokafka", "asyncio", "uvloop", "httptools"}
"""What knows asyncio or the network: only plugins, `router.admin` and `router.cli` may import it."""


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(part: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if part in names)


@pytest.mark.parametrize("path", files("router"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_engine_imports_only_what_lies_below(path: Path) -> None:
    part = path.relative_to(ROOT / "router").parts[0].removesuffix(".py")
    found = [name.split(".") for name in imports(path)]
    assert not [n for n in found if n[0] == "router_plugins"], "the engine must not know a plugin"
    if part not in {"admin", "cli"}:
        assert not [n for n in found if n[0] in OUTSIDE], "asyncio and the network stay in plugins, admin and cli"
    if part in BESIDE:
        return
    known = set().union(*LAYERS)
    above = [
        ".".join(n)
        for n in found
        if n[0] == "router" and len(n) > 1 and n[1] in known and layer_of(n[1]) > layer_of(part)
    ]
    assert not above


@pytest.mark.parametrize("path", files("plugins/router_plugins"), ids=lambda p: str(p.relative_to(ROOT)))
def test_plugins_import_only_the_public_face(path: Path) -> None:
    """Commands may also use what commands are made of."""
    allowed = {"router", "router.lines", "router.units", "router.testing"}
    if path.name == "command.py" or "demo" in path.parts:
        allowed |= {"router.cli", "router.cli.endings", "router.cli.logs", "router.cli.tables", "router.config"}
    ours = {name for name in imports(path) if name.split(".")[0] == "router"}
    modules = {
        name
        for name in ours
        if (ROOT / Path(*name.split("."))).with_suffix(".py").exists() or (ROOT / Path(*name.split("."))).is_dir()
    }
    assert modules <= allowed


def test_the_layers_name_every_module() -> None:
    parts = {p.relative_to(ROOT / "router").parts[0].removesuffix(".py") for p in files("router")}
    assert parts == set().union(*LAYERS) | BESIDE


def test_no_module_of_a_layer_imports_round() -> None:
    """Within a layer, too, there is an order."""
    edges: dict[str, set[str]] = {}
    for path in files("router"):
        part = path.relative_to(ROOT / "router").parts[0].removesuffix(".py")
        edges.setdefault(part, set()).update(
            n.split(".")[1] for n in imports(path) if n.startswith("router.") and n.split(".")[1] != part
        )
    done: set[str] = set()

    def visit(part: str, above: tuple[str, ...]) -> None:
        assert part not in above, f"imports go round: {' -> '.join((*above, part))}"
        if part not in done:
            for below in edges.get(part, ()):
                visit(below, (*above, part))
            done.add(part)

    for part in sorted(set(edges) - BESIDE):
        visit(part, ())

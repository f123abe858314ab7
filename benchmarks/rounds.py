"""Rounds: every case once, then again; of several revisions alternately, so that all see the same machine."""

from __future__ import annotations

import shutil
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.question import Benchmark, Ground
from benchmarks.tree import ROOT, Tree

WORK = ROOT / ".cache" / "benchmarks"
"""Where states and files are made: beside the code, as /tmp may be in memory and would make fsync free."""

Rounds = dict[str, list[float]]
"""The figures of one case, one value a round, by their names."""
Measured = dict[str, dict[str, Rounds]]
"""By the name of the tree, by the name of the case."""


def measure(
    benchmark: Benchmark,
    options: Namespace,
    trees: Sequence[Tree],
    *,
    tell: Callable[[str], None],
    watch: Callable[[int], AbstractContextManager[object]] = nullcontext,
) -> Measured:
    """Run all rounds; `tell` is given a line for each."""
    WORK.mkdir(parents=True, exist_ok=True)
    cases = chosen(benchmark.cases(options), options.case)
    found: Measured = {tree.name: {name: {} for name in cases} for tree in trees}
    with TemporaryDirectory(prefix="kept-", dir=WORK) as kept:
        for turn in range(options.rounds):
            for name, case in cases.items():
                # The first of a pair sees a colder machine: take turns.
                for tree in trees if turn % 2 == 0 else trees[::-1]:
                    began = time.monotonic()
                    ground = Ground(_fresh(Path(kept), "round"), _own(Path(kept), tree), tree, watch)
                    figures = benchmark.measure(case, ground)
                    for column, value in figures.items():
                        found[tree.name][name].setdefault(column, []).append(value)
                    tell(_line(turn, tree.name, name, figures, time.monotonic() - began))
    return found


def chosen(cases: Mapping[str, Any], case: str) -> Mapping[str, Any]:
    """Return the case of that name, or those whose names hold it, or one of several texts between bars."""
    if case in cases:
        return {case: cases[case]}
    found = {name: one for name, one in cases.items() if any(part in name for part in case.split("|"))}
    if not found:
        raise SystemExit(f"no case has {case!r} in its name: {', '.join(cases)}")
    return found


def _fresh(kept: Path, name: str) -> Path:
    folder = kept / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _own(kept: Path, tree: Tree) -> Path:
    folder = kept / f"tree-{tree.name}"
    folder.mkdir(exist_ok=True)
    return folder


def _line(turn: int, tree: str, case: str, figures: Mapping[str, float], seconds: float) -> str:
    shown = ", ".join(f"{name} {value:,.6g}" for name, value in figures.items())
    return f"round {turn + 1}, {tree}, {case}: {shown} ({seconds:.0f} s)"

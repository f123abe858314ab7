"""What a benchmark is: a question, its cases, and how one round of one case is measured.

Each file here that asks something holds one `BENCHMARK`. Everything else (rounds, alternating revisions, the
folder, median and range, tables, results) is the same for all and is elsewhere.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.tree import Tree


class Column(NamedTuple):
    """A figure of the answer: its name with its unit, the digits that are shown, and whether rounds add up.

    Most figures are shown as median and range; counts of what went wrong (`total`) are added up over the rounds.
    """

    name: str
    digits: int = 0
    total: bool = False


LEDGER = (Column("lost", total=True), Column("twice", total=True))
"""Answered results that did not arrive where they should, and copies beyond the first."""


class Ground(NamedTuple):
    """What one round stands on.

    `folder` is fresh and goes away after the round; `kept` stays for all rounds of this tree, for states that take
    long to make. `watch` is given the pid of the process that is measured, as soon as it is ready.
    """

    folder: Path
    kept: Path
    tree: Tree
    watch: Callable[[int], AbstractContextManager[object]] = nullcontext


class Benchmark(NamedTuple):
    """`measure` takes one of the values of `cases`, and returns figures by the names of `columns`.

    `how` says in a few lines what is done and what is counted; the README shows it. `tiny` are the arguments of its
    smoke test, which should take a few seconds. `notes` are more lines for below the table, such as versions.
    """

    question: str
    how: str
    columns: Sequence[Column]
    arguments: Callable[[ArgumentParser], None]
    cases: Callable[[Namespace], Mapping[str, Any]]
    measure: Callable[[Any, Ground], Mapping[str, float]]
    tiny: str
    notes: Callable[[], Sequence[str]] = tuple

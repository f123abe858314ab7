"""What the duplicate window costs: memory, time an event, and the start of a journal with ten million ids."""

from __future__ import annotations

import json
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.question import Benchmark, Column, Ground
from benchmarks.tree import INSIDE


class Case(NamedTuple):
    name: str
    ids: int


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--ids", type=int, default=10_000_000)


def cases(options: Namespace) -> Mapping[str, Case]:
    names = {
        "window": "the window",
        "small": "with 10,000 ids, groups of 64",
        "set": "a Python set, to compare",
        "start": "opening a journal",
    }
    return {text: Case(name, options.ids) for name, text in names.items()}


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    command = ground.tree.python(INSIDE / "seen.py", case.name, str(case.ids))
    environment = ground.tree.environment() | {"TMPDIR": str(ground.folder)}
    said = subprocess.run(command, env=environment, cwd=ground.folder, capture_output=True, check=True).stdout
    figures: dict[str, float] = json.loads(said)
    return figures


BENCHMARK = Benchmark(
    question="What does the duplicate window cost, in memory, time and at the start?",
    how=(
        "A process of its own each round. Ids are added in groups of 128, as commits do, until all are remembered and "
        "a fifth more have come; then new ones are looked up. Sealing runs in a thread; with few ids it is the import "
        "of numpy. The journal that is opened has rows with as many ids inside the window: at first nothing but the "
        "ids, later with what was sealed and stored."
    ),
    columns=(
        Column("MiB", 1),
        Column("MiB at most", 1),
        Column("longest add ms", 1),
        Column("longest seal ms", 1),
        Column("us to add an id", 2),
        Column("us to seal an id", 2),
        Column("us to look one up", 2),
        Column("s from ids alone", 2),
        Column("s until all is stored", 2),
        Column("s with what is stored", 2),
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--ids 2000",
)

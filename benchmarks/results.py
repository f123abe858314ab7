"""Results kept: a JSON file for each benchmark, from which the README's tables are made, so that none is mistyped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.question import Benchmark, Column
from benchmarks.rounds import Rounds
from benchmarks.tables import table
from benchmarks.tree import ROOT

FOLDER = ROOT / "benchmarks" / "results"
README = ROOT / "benchmarks" / "README.md"
_PLACE = re.compile(r"<!-- result (\S+) -->\n.*?<!-- end -->", re.DOTALL)


class Result(msgspec.Struct, frozen=True):
    """One run of a benchmark: what it asked, where it ran, and every round's figures."""

    question: str
    how: str
    machine: Sequence[str]
    columns: Sequence[Column]
    cases: Mapping[str, Rounds]
    notes: Sequence[str]


def save(name: str, benchmark: Benchmark, machine: Sequence[str], cases: Mapping[str, Rounds]) -> None:
    """Keep a result in place of the last one."""
    FOLDER.mkdir(exist_ok=True)
    result = Result(benchmark.question, benchmark.how, machine, benchmark.columns, cases, benchmark.notes())
    path = FOLDER / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def kept() -> dict[str, Result]:
    """Return all results by the names of their benchmarks."""
    paths = sorted(FOLDER.glob("*.json"))
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=Result) for path in paths}


def rendered(text: str, results: Mapping[str, Result]) -> str:
    """Return the README with its tables as the results have them, and places for those that have none yet."""
    missing = [name for name in results if f"<!-- result {name} -->" not in text]
    for name in missing:
        text = f"{text.rstrip()}\n\n<!-- result {name} -->\n<!-- end -->\n"
    return _PLACE.sub(lambda place: _section(place[1], results.get(place[1]), place[0]), text)


def refresh(readme: Path = README) -> None:
    """Write the tables into the README."""
    readme.write_text(rendered(readme.read_text(), kept()))


def _section(name: str, result: Result | None, before: str) -> str:
    if result is None:
        return before
    lines = [f"<!-- result {name} -->", f"## {result.question}", "", result.how, ""]
    lines += table(result.columns, result.cases)
    lines += ["", *(f"{line}  " for line in [*result.notes, *result.machine])]
    return "\n".join([*lines, "<!-- end -->"])

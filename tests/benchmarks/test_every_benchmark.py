"""Every benchmark runs, with tiny sizes, so that none of them rots."""

from __future__ import annotations

import math
import shlex

import pytest
from servers.kafka_broker import missing

from benchmarks.__main__ import found, parser
from benchmarks.rounds import measure
from benchmarks.tree import Tree

BENCHMARKS = found()


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_gives_figures_and_loses_nothing(name: str, tree: Tree) -> None:
    if name == "kafka" and (reason := missing()):
        pytest.skip(reason)
    benchmark = BENCHMARKS[name]
    options = parser(BENCHMARKS).parse_args([name, "--rounds", "1", *shlex.split(benchmark.tiny)])
    lines: list[str] = []
    cases = measure(benchmark, options, [tree], tell=lines.append)[tree.name]
    assert len(lines) == len(cases)
    for rounds in cases.values():
        assert rounds.get("lost", [0]) == [0]
        assert rounds.get("twice", [0]) == [0]
        assert all(math.isfinite(value) for values in rounds.values() for value in values)
    assert {column.name for column in benchmark.columns} == {column for rounds in cases.values() for column in rounds}

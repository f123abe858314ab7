"""Whether the number of subscriptions matters: the same ten match, among 20, 100 and 1,000."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from benchmarks.ledger import numbers_in, reconcile
from benchmarks.load import closed
from benchmarks.messages import plain
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import PATH, router, to_file


class Case(NamedTuple):
    """`matching` of all `configured` subscriptions want every result; the others want none."""

    configured: int
    matching: int
    connections: int
    seconds: float


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=4.0, help="of load a round")
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--configured", default="20,100,1000")
    parser.add_argument("--matching", type=int, default=10)


def cases(options: Namespace) -> Mapping[str, Case]:
    counts = [int(number) for number in options.configured.split(",")]
    return {f"{n:,} subscriptions": Case(n, options.matching, options.connections, options.seconds) for n in counts}


def subscriptions(folder: Path, configured: int, matching: int) -> dict[str, Any]:
    """Return subscriptions to files: the first want what comes, by region, the rest want other regions."""
    regions = ["cn-hangzhou"] * matching + [f"elsewhere-{i}" for i in range(matching, configured)]
    return {f"s{i}": to_file(folder / f"{i}.jsonl", match={"region": region}) for i, region in enumerate(regions)}


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    out = ground.folder / "out"
    with router(ground, subscriptions(out, case.configured, case.matching)) as daemon:
        before = daemon.process.cpu_seconds()
        began = monotonic()
        answers = closed(daemon.push, plain(PATH), connections=case.connections, seconds=case.seconds)
        daemon.wait_settled()
        took = monotonic() - began
        used = daemon.process.cpu_seconds() - before
    taken = len(answers.numbers)
    ledger = reconcile(answers.numbers, [numbers_in(out / f"{i}.jsonl") for i in range(case.matching)])
    return {
        "results/s in": answers.rate,
        "results/s through": taken / took,
        "lines/s": ledger.lines / took,
        "p99 ms": answers.milliseconds(0.99),
        "CPU us a result": used / taken * 1e6,
        **ledger.figures(),
    }


BENCHMARK = Benchmark(
    question="Does the number of subscriptions matter, and how many lines a second are written?",
    how=(
        "As in `intake`, with ten subscriptions that want every result, each with a file of its own, among others that "
        "want regions which do not occur. `in` are the answers a second while the load runs; `through` is the whole "
        "work, from the first request until all files have all results."
    ),
    columns=(
        Column("results/s in"),
        Column("results/s through"),
        Column("lines/s"),
        Column("p99 ms", 1),
        Column("CPU us a result", 1),
        *LEDGER,
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.3 --connections 4 --configured 12",
)

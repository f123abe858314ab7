"""Whether many subscriptions that each get a little cost more than few that get a lot: files, and webhooks."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from array import array
from collections.abc import Mapping
from time import monotonic
from typing import Any, Literal, NamedTuple

from benchmarks.arrivals import watched, web_servers
from benchmarks.ledger import Ledger, numbers_in, reconcile
from benchmarks.load import Answers, closed, open_loop, quantile
from benchmarks.messages import account_of, spread
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import PATH, Router, router, to_file

EACH = 10
"""Subscriptions that want one result, whatever the number of all."""


class Case(NamedTuple):
    """`active` subscriptions, of which ten want each account's results."""

    sink: Literal["file", "webhook"]
    active: int
    connections: int
    seconds: float

    @property
    def accounts(self) -> int:
        return max(1, self.active // EACH)


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=4.0, help="of load a round")
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--files", default="20,100,1000")
    parser.add_argument("--webhooks", default="10,100")


def cases(options: Namespace) -> Mapping[str, Case]:
    kinds: tuple[tuple[Literal["file", "webhook"], str], ...] = (("file", options.files), ("webhook", options.webhooks))
    return {
        f"{int(number):,} {sink}s": Case(sink, int(number), options.connections, options.seconds)
        for sink, numbers in kinds
        for number in numbers.split(",")
        if number
    }


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    return to_files(case, ground) if case.sink == "file" else to_webhooks(case, ground)


def wants(case: Case, index: int) -> Mapping[str, Any]:
    """Return the condition of a subscription: one account's results."""
    return {"match": {"account": f"{account_of(index, case.accounts)}@shop.example.com"}}


def to_files(case: Case, ground: Ground) -> Mapping[str, float]:
    """Measure the lines a second under full load, then arrivals at half of that in a router of its own."""
    out = ground.folder / "out"
    files = {f"s{i}": to_file(out / f"{i}.jsonl", **wants(case, i)) for i in range(case.active)}
    with router(ground, files, state=ground.folder / "first") as daemon:
        answers, took, used = loaded(case, daemon)
    got = [numbers_in(out / f"{i}.jsonl") for i in range(case.active)]
    first = {f"s{i}": to_file(out / f"half-{i}.jsonl", **wants(case, i)) for i in range(case.active)}
    with watched(ground, out / "half-0.jsonl") as arrived, router(ground, first) as daemon:
        half = len(answers.numbers) / took / 2
        later = open_loop(daemon.push, spread(PATH, case.accounts), rate=half, seconds=case.seconds)
        daemon.wait_settled()
    seen = arrived.first()
    waits = array("d", [seen[n] - at for n, at in zip(later.numbers, later.times, strict=True) if n in seen])
    again = compared(case, later, [numbers_in(out / f"half-{i}.jsonl") for i in range(case.active)])
    return figures(case, answers, took, used, got, again) | {"arrival p99 ms": quantile(waits, 0.99) * 1000}


def to_webhooks(case: Case, ground: Ground) -> Mapping[str, float]:
    """Measure the POSTs a second under full load."""
    with web_servers(ground, case.active) as servers:
        hooks = {f"s{i}": {"to": {"type": "webhook", "url": url}, **wants(case, i)} for i, url in enumerate(servers)}
        with router(ground, hooks) as daemon:
            answers, took, used = loaded(case, daemon)
    got = [arrived.numbers() for arrived in servers.values()]
    waits = array("d")
    for index, arrived in enumerate(servers.values()):
        seen = arrived.first()
        pairs = zip(answers.numbers, answers.times, strict=True)
        waits.extend(seen[n] - at for n, at in pairs if n % case.accounts == index % case.accounts and n in seen)
    return figures(case, answers, took, used, got) | {"arrival p99 ms": quantile(waits, 0.99) * 1000}


def loaded(case: Case, daemon: Router) -> tuple[Answers, float, float]:
    """Return the answers, the seconds until everything is delivered, and the CPU seconds that it took."""
    before, began = daemon.process.cpu_seconds(), monotonic()
    request = spread(PATH, case.accounts)
    answers = closed(daemon.push, request, connections=case.connections, seconds=case.seconds)
    daemon.wait_settled()
    return answers, monotonic() - began, daemon.process.cpu_seconds() - before


def compared(case: Case, answers: Answers, got: list[list[int]]) -> Ledger:
    """Compare what was answered of each account with what its ten subscriptions have."""
    parts = [
        reconcile([n for n in answers.numbers if n % case.accounts == account], got[account :: case.accounts])
        for account in range(case.accounts)
    ]
    return Ledger(*(sum(part[at] for part in parts) for at in range(len(Ledger._fields))))


def figures(
    case: Case, answers: Answers, took: float, used: float, got: list[list[int]], again: Ledger | None = None
) -> dict[str, float]:
    ledger = compared(case, answers, got)
    return {
        "results/s in": answers.rate,
        "lines/s": ledger.lines / took,
        "CPU us a line": used / ledger.lines * 1e6,
        "lost": ledger.lost + (again.lost if again else 0),
        "twice": ledger.twice + (again.twice if again else 0),
    }


BENCHMARK = Benchmark(
    question="What do many subscriptions cost that each get a little?",
    how=(
        "As in `routes`, with subscriptions of which each wants one account's results, and ten want each account's: "
        "so every result is written ten times, whatever the number of subscriptions is, and each gets ten of so many. "
        "`lines/s` is the whole work, from the first request until all have all. Then, in a new router, files are "
        "sent half of that, each result at its time, and its arrival in the first file is counted from its answer; "
        "webhooks' arrivals are those under full load."
    ),
    columns=(
        Column("results/s in"),
        Column("lines/s"),
        Column("CPU us a line", 2),
        Column("arrival p99 ms", 1),
        *LEDGER,
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.3 --connections 4 --files 20 --webhooks 20",
)

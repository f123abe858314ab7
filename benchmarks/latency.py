"""How long a push waits for its answer, and how much later its result is where it should be, at half of capacity."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from array import array
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any, Literal, NamedTuple

from benchmarks.arrivals import Arrivals, watched, web_servers
from benchmarks.ledger import reconcile
from benchmarks.load import Answers, closed, open_loop, quantile
from benchmarks.messages import plain
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import PATH, router, to_file


class Case(NamedTuple):
    sink: Literal["file", "webhook"]
    seconds: float
    rate: float


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=10.0, help="of load a round")
    parser.add_argument("--rate", type=float, default=0.0, help="results a second; 0: half of what was found first")


def cases(options: Namespace) -> Mapping[str, Case]:
    return {
        "to a file": Case("file", options.seconds, options.rate),
        "to a webhook": Case("webhook", options.seconds, options.rate),
    }


def capacity(ground: Ground, subscriptions: Mapping[str, Any], seconds: float) -> float:
    """Return how many results a second go all the way, sent as fast as they are answered."""
    with router(ground, subscriptions, state=ground.folder / "first") as daemon:
        began = monotonic()
        answers = closed(daemon.push, plain(PATH), connections=128, seconds=seconds, first=10**9)
        daemon.wait_settled()
        return len(answers.numbers) / (monotonic() - began)


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    with destination(case, ground) as (subscription, arrived):
        rate = case.rate or capacity(ground, subscription, case.seconds / 4) / 2
        with router(ground, subscription) as daemon:
            answers = open_loop(daemon.push, plain(PATH), rate=rate, seconds=case.seconds)
            daemon.wait_settled()
    return figures(answers, arrived, rate)


@contextmanager
def destination(case: Case, ground: Ground) -> Generator[tuple[dict[str, Any], Arrivals]]:
    """Yield a subscription that wants everything, and what arrives where it sends it."""
    if case.sink == "file":
        out = ground.folder / "all.jsonl"
        with watched(ground, out) as arrived:
            yield {"all": to_file(out)}, arrived
        return
    with web_servers(ground, 1) as servers:
        url, arrived = next(iter(servers.items()))
        yield {"all": {"to": {"type": "webhook", "url": url}}}, arrived


def figures(answers: Answers, arrived: Arrivals, rate: float) -> Mapping[str, float]:
    first = arrived.first()
    later = array("d", [first[n] - at for n, at in zip(answers.numbers, answers.times, strict=True) if n in first])
    return {
        "sent/s": rate,
        "answer p50 ms": answers.milliseconds(0.5),
        "answer p99 ms": answers.milliseconds(0.99),
        "answer max ms": answers.milliseconds(1.0),
        "arrival p50 ms": quantile(later, 0.5) * 1000,
        "arrival p99 ms": quantile(later, 0.99) * 1000,
        "refused": answers.refused.total(),
        **reconcile(answers.numbers, [arrived.numbers()]).figures(),
    }


BENCHMARK = Benchmark(
    question="At half of capacity, how long does an answer take, and when is the result where it should be?",
    how=(
        "First the capacity of the router with this one destination is found: results a second that go all the way "
        "when they are sent as fast as they are answered. Then results are sent at half of that, each at its own fixed "
        "time, whether or not earlier ones are answered; an answer's time counts from when its request was due. "
        "Arrival is counted from the answer to when the web server has the whole request, or to when the line is seen "
        "in the file, which is looked at every millisecond. All on one clock; load, web server and that look share one "
        "core."
    ),
    columns=(
        Column("sent/s"),
        Column("answer p50 ms", 1),
        Column("answer p99 ms", 1),
        Column("answer max ms", 1),
        Column("arrival p50 ms", 1),
        Column("arrival p99 ms", 1),
        Column("refused", total=True),
        *LEDGER,
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.4",
)

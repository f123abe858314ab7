"""How many webhook POSTs a second one core sends: a journalled backlog, one event a request, to ten destinations."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.arrivals import Arrivals, web_servers
from benchmarks.backlog import copied, state_with
from benchmarks.ledger import reconcile
from benchmarks.load import closed
from benchmarks.messages import plain
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import router

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Case(NamedTuple):
    """`signed` is None for the receivers alone, which the load asks then."""

    events: int
    destinations: int
    delay: float
    signed: bool | None


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=20_000, help="for each destination")
    parser.add_argument("--destinations", type=int, default=10)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds that slow destinations take to answer")


def cases(options: Namespace) -> Mapping[str, Case]:
    events, many, delay = options.events, options.destinations, options.delay
    return {
        f"{many} destinations": Case(events, many, 0.0, signed=True),
        f"{many} destinations, unsigned": Case(events, many, 0.0, signed=False),
        f"{many} that take {delay * 1000:.0f} ms": Case(events, many, delay, signed=True),
        "receivers alone": Case(events, 1, 0.0, signed=None),
    }


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    if case.signed is None:
        return alone(case, ground)
    with web_servers(ground, case.destinations, delay=case.delay) as servers:
        secret = {"secret": SECRET} if case.signed else {}
        subscriptions: dict[str, Any] = {
            f"to{i}": {"to": {"type": "webhook", "url": url, **secret}} for i, url in enumerate(servers)
        }
        copied(state_with(ground, f"state-{case.destinations}", subscriptions, case.events), ground.folder)
        with router(ground, subscriptions) as daemon:
            daemon.wait_settled(pause=0.1)
            used = daemon.process.cpu_seconds()
    return figures(list(servers.values()), case.events, used)


def figures(arrived: Sequence[Arrivals], events: int, used: float) -> Mapping[str, float]:
    """Count from the first arrival anywhere to the last; the CPU is that of the whole process, with its start."""
    times = [time for one in arrived for _, time in one.pairs()]
    return {
        "POST/s": len(times) / (max(times) - min(times)),
        "CPU us a POST": used / len(times) * 1e6,
        **reconcile(range(1, events + 1), [one.numbers() for one in arrived]).figures(),
    }


def alone(case: Case, ground: Ground) -> Mapping[str, float]:
    """Return what the receivers take when the load asks one of them; both are on the same core then."""
    with web_servers(ground, 1) as servers:
        port = int(next(iter(servers)).rpartition(":")[2].partition("/")[0])
        answers = closed(("127.0.0.1", port), plain("/in"), connections=128, seconds=60, most=case.events)
    ledger = reconcile(answers.numbers, [arrived.numbers() for arrived in servers.values()])
    return {"POST/s": answers.rate, **ledger.figures()}


BENCHMARK = Benchmark(
    question="How many webhook POSTs a second does one core send?",
    how=(
        "The journal is filled first; then the router starts on it, and sends one event a request, signed after "
        "Standard Webhooks, to ten destinations, web servers in one process on the other core. Counted from the first "
        "arrival to the last. CPU is the router's, with its start. `receivers alone`: one of those web servers, asked "
        "by the load of the other benchmarks on the same core."
    ),
    columns=(Column("POST/s"), Column("CPU us a POST", 1), *LEDGER),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--events 300 --destinations 2 --case 'that take|alone'",
)

"""How fast the push intake is: durable results a second, time of an answer, CPU of a result."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.ledger import numbers_in, reconcile
from benchmarks.load import Answers, closed
from benchmarks.messages import Request, SignedPushes, plain
from benchmarks.process import SERVER_CORE, free_port, running, wait_listening
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.rounds import WORK
from benchmarks.router import PATH, router, to_file
from benchmarks.tree import INSIDE

NOTHING = -1


class Case(NamedTuple):
    """`signed` is how many signed pushes there are; 0 for pushes that are not signed, with no check.

    `NOTHING` stands for a server with nothing behind it, to see what the load can do.
    """

    connections: int
    seconds: float
    signed: int


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=4.0, help="of load a round")
    parser.add_argument("--connections", default="128,16")
    parser.add_argument("--signed", type=int, default=120_000, help="pushes to sign beforehand; 0: leave that case out")


def cases(options: Namespace) -> Mapping[str, Case]:
    counts = [int(number) for number in options.connections.split(",")]
    found = {f"{n} connections": Case(n, options.seconds, 0) for n in counts}
    found["load alone"] = Case(counts[0], options.seconds, NOTHING)
    if options.signed:
        found |= {f"{n} connections, signatures checked": Case(n, options.seconds, options.signed) for n in counts}
    return found


def bare(case: Case, ground: Ground) -> Mapping[str, float]:
    """Return what the load does against a server that only answers."""
    port, log = free_port(), ground.folder / "bare.log"
    command = ground.tree.python(INSIDE / "bare.py", str(port))
    with running(command, core=SERVER_CORE, log=log) as server:
        wait_listening(server, port, log)
        answers = closed(("127.0.0.1", port), plain(PATH), connections=case.connections, seconds=case.seconds)
    return figures(answers)


def figures(answers: Answers) -> Mapping[str, float]:
    return {
        "results/s": answers.rate,
        "p50 ms": answers.milliseconds(0.5),
        "p99 ms": answers.milliseconds(0.99),
        "load's CPU us": answers.cpu_seconds / len(answers.numbers) * 1e6,
        "refused": answers.refused.total(),
    }


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    if case.signed == NOTHING:
        return bare(case, ground)
    out = ground.folder / "all.jsonl"
    source: dict[str, object] = {}
    request: Request = plain(PATH)
    if case.signed:
        pushes = SignedPushes(WORK / "signed", PATH)
        request = pushes.request(case.signed)
        source = {"verify": True, "certificate": str(pushes.certificate)}
    with router(ground, {"all": to_file(out)}, source=source) as daemon:
        before = daemon.process.cpu_seconds()
        answers = closed(
            daemon.push,
            request,
            connections=case.connections,
            seconds=case.seconds,
            most=case.signed or 10**10,
        )
        daemon.wait_settled()
        used = daemon.process.cpu_seconds() - before
    ledger = reconcile(answers.numbers, [numbers_in(out)])
    return {
        **figures(answers),
        "CPU us a result": used / len(answers.numbers) * 1e6,
        **ledger.figures(),
    }


BENCHMARK = Benchmark(
    question="How many results a second does the push intake make durable, and how long does an answer take?",
    how=(
        "One result a POST, each with its own env_id, as fast as the connections are answered; one subscription writes "
        "all of them to a file. An answer means that the result is in the journal and fsynced. The router is on one "
        "core with all its threads, the load on another; `load alone` is that load against a server that only answers. "
        "CPU is the router's, until the file has everything. Signatures: RSA with 2,048 bits, the certificate pinned, "
        "every push signed for itself beforehand."
    ),
    columns=(
        Column("results/s"),
        Column("p50 ms", 1),
        Column("p99 ms", 1),
        Column("CPU us a result", 1),
        Column("load's CPU us", 1),
        Column("refused", total=True),
        *LEDGER,
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.3 --connections 4 --signed 200",
)

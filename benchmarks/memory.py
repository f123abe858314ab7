"""Memory at rest, with a backlog and under overload; and how long the start takes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from time import sleep
from typing import Any, NamedTuple

from benchmarks.backlog import state_with
from benchmarks.load import closed
from benchmarks.messages import Request, plain, sized
from benchmarks.process import free_port
from benchmarks.question import Benchmark, Column, Ground
from benchmarks.router import PATH, Router, router

LARGEST = 64 * 1024
"""Bytes of the largest message that MNS takes."""


class Case(NamedTuple):
    """`pending` events wait for a dead webhook; `connections` push results of `size` bytes (0: as they are)."""

    pending: int = 0
    connections: int = 0
    size: int = 0
    most: int = 10**9
    seconds: float = 5.0


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=5.0, help="of rest, or of load")
    parser.add_argument("--pending", default="1000000,10000000")
    parser.add_argument("--connections", type=int, default=1000, help="of the overload")
    parser.add_argument("--large", type=int, default=20_000, help="messages of the largest size")


def cases(options: Namespace) -> Mapping[str, Case]:
    seconds, many = options.seconds, options.connections
    waiting = [int(number) for number in options.pending.split(",")]
    return {
        "at rest, empty": Case(seconds=seconds),
        **{f"{count:,} pending": Case(pending=count, seconds=seconds) for count in waiting},
        f"overload, {many:,} connections": Case(connections=many, seconds=seconds),
        f"overload, {many:,} connections, 64 KiB each": Case(0, many, LARGEST, options.large, seconds),
    }


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    nobody = f"http://127.0.0.1:{free_port()}/"
    subscription: dict[str, Any] = {"dead": {"to": {"type": "webhook", "url": nobody}}}
    state = state_with(ground, f"state-{case.pending}", subscription, case.pending) if case.pending else None
    with router(ground, subscription, state=state) as daemon:
        refused = load(case, daemon) if case.connections else 0
        sleep(case.seconds)
        pending = daemon.pending()
        if pending < case.pending:
            raise RuntimeError(f"only {pending:,} of {case.pending:,} events are pending")
        return {
            "MiB": daemon.process.mebibytes(),
            "peak MiB": daemon.process.mebibytes("VmHWM"),
            "s to listening": daemon.start_seconds,
            "refused": refused,
        }


def load(case: Case, daemon: Router) -> int:
    """Push over all connections at once; return how many results were refused."""
    request: Request = sized(PATH, case.size) if case.size else plain(PATH)
    answers = closed(
        daemon.push, request, connections=case.connections, seconds=case.seconds, most=case.most, first=10**9
    )
    return answers.refused.total()


BENCHMARK = Benchmark(
    question="How much memory does the router need, and how long does it take to start?",
    how=(
        "Resident memory of the process some seconds after the start or the load, and its peak, with one subscription "
        "to a webhook that nobody answers. Pending events were journalled before the start. Overload: so many "
        "connections push as fast as they are answered. The start is timed from the process's start to its listening."
    ),
    columns=(Column("MiB"), Column("peak MiB"), Column("s to listening", 2), Column("refused", total=True)),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.2 --pending 2000 --connections 8 --large 50 --case 'pending|64'",
)

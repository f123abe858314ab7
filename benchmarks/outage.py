"""What a department's outage costs the others: a million events pending for a destination that is down."""

from __future__ import annotations

import socket
from argparse import ArgumentParser, Namespace
from array import array
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.backlog import copied, state_with
from benchmarks.load import closed, open_loop, quantile
from benchmarks.messages import plain
from benchmarks.process import free_port
from benchmarks.question import Benchmark, Column, Ground
from benchmarks.router import PATH, router
from benchmarks.tree import INSIDE


class Case(NamedTuple):
    """`down` says how: `refuses` or `silent`, or nothing for a department whose destination works.

    So many `events` are there from the start, pending if it is down, and `rate` results a second come in; 0: as many
    as are answered, until `growth` more are pending.
    """

    down: str
    events: int
    rate: float
    seconds: float
    growth: int


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=10.0, help="of load a round, at a fixed rate")
    parser.add_argument("--events", type=int, default=1_000_000, help="that are pending")
    parser.add_argument("--rate", type=float, default=1000.0, help="of results")


def cases(options: Namespace) -> Mapping[str, Case]:
    n, rate, seconds = options.events, options.rate, options.seconds
    return {
        f"{rate:g}/s, none down": Case("", n, rate, seconds, 0),
        f"{rate:g}/s, one refuses": Case("refuses", n, rate, seconds, 0),
        f"{rate:g}/s, one silent": Case("silent", n, rate, seconds, 0),
        f"{n:,} come in, none down": Case("", 0, 0.0, 3600.0, n),
        f"{n:,} come in, one refuses": Case("refuses", 0, 0.0, 3600.0, n),
        f"{n:,} come in, one silent": Case("silent", 0, 0.0, 3600.0, n),
    }


def subscriptions(case: Case, folder: Path, silent: int) -> dict[str, Mapping[str, Any]]:
    """One notes when it gets what comes in; the other's destination is down, or takes everything."""
    port = {"refuses": free_port(), "silent": silent}.get(case.down)
    to = {"type": "webhook", "url": f"http://127.0.0.1:{port}/"} if port else watch(folder / "down.times")
    return {"up": {"to": watch(folder / "up.times")}, "down": {"to": to}}


def watch(path: Path) -> dict[str, str]:
    return {"type": "stopwatch", "path": str(path)}


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    with socket.create_server(("127.0.0.1", 0)) if case.down == "silent" else nullcontext() as silent:
        wanted = subscriptions(case, ground.folder, silent.getsockname()[1] if silent else 0)
        top = {"grace": 1, "plugins": [str(INSIDE / "plugins")]}
        # Made with only the one that will have them before it; what is new to the journal begins at its end.
        before_it = {"down" if case.down else "nobody": wanted["down"]}
        kept = state_with(ground, f"state-{case.down}-{case.events}", before_it, case.events, top=top)
        state = copied(kept, ground.folder)
        with router(ground, wanted, state=state, top=top) as daemon:
            push = partial(closed, daemon.push, plain(PATH), connections=128)
            push(seconds=2.0, first=5 * 10**9)
            daemon.wait_settled("up")
            before = daemon.process.mebibytes()
            if case.growth:
                answers = closed(
                    daemon.push, plain(PATH), connections=128, seconds=case.seconds, first=10**9, most=case.growth
                )
            else:
                answers = open_loop(daemon.push, plain(PATH), rate=case.rate, seconds=case.seconds, first=10**9)
            daemon.wait_settled("up")
            after, pending = daemon.process.mebibytes(), daemon.pending("down")
    times = array("d")
    times.frombytes((ground.folder / "up.times").read_bytes())
    times = times[-len(answers.numbers) :]
    return {
        "results/s": answers.rate,
        "answer p99 ms": answers.milliseconds(0.99),
        "others' delivery p50 ms": quantile(times, 0.5) * 1000,
        "others' delivery p99 ms": quantile(times, 0.99) * 1000,
        "MiB before": before,
        "MiB after": after,
        "pending": pending,
    }


BENCHMARK = Benchmark(
    question="Does a department's outage, with a million events pending, cost the others memory or time?",
    how=(
        "Two subscriptions want everything. The destination of one notes how long after its arrival each result is "
        "delivered; that of the other refuses connections or never answers, or works, for comparison. Either a million "
        "results are journalled from the start, and others come in at a fixed rate, or a million come in as fast as "
        "128 connections are answered, and become pending. Memory is the resident set, after two seconds of load and "
        "at the end; the duplicate window is in it. The router is on one core with all its threads."
    ),
    columns=(
        Column("results/s"),
        Column("answer p99 ms", 1),
        Column("others' delivery p50 ms", 1),
        Column("others' delivery p99 ms", 1),
        Column("MiB before"),
        Column("MiB after"),
        Column("pending"),
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.4 --events 500 --rate 200 --case 'in, one silent'",
)

"""How fast a backlog goes out to files: from the journal, and from a text."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from benchmarks.backlog import copied, state_with
from benchmarks.ledger import numbers_in, reconcile
from benchmarks.messages import body
from benchmarks.process import wait_until
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import Router, router
from benchmarks.routes import subscriptions


class Case(NamedTuple):
    """`configured` subscriptions, of which `matching` want everything; the events are in the journal or in a text."""

    events: int
    configured: int
    matching: int
    text: bool = False


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=2_000_000, help="journalled, for one subscription")
    parser.add_argument("--many", type=int, default=300_000, help="journalled, for 20 subscriptions of which 10 match")
    parser.add_argument("--text", type=int, default=300_000, help="lines of text")


def cases(options: Namespace) -> Mapping[str, Case]:
    return {
        "journal to 1 file": Case(options.events, 1, 1),
        "journal to 20 filters, 10 match": Case(options.many, 20, 10),
        "text to 1 file": Case(options.text, 1, 1, text=True),
        "text to 20 filters, 10 match": Case(options.text, 20, 10, text=True),
    }


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    out = ground.kept / f"out-{case.configured}"  # the marks of files are in the state, so their paths stay
    wanted = subscriptions(out, case.configured, case.matching)
    state, sources = ground.folder / "state", dict[str, Any]()
    if case.text:
        sources["text"] = {"type": "file", "path": str(written(ground.folder / "backlog.txt", case.events))}
    else:
        copied(state_with(ground, f"state-{case.configured}", wanted, case.events), ground.folder)
    with router(ground, wanted, sources=sources, state=state) as daemon:
        before, began, start = daemon.process.cpu_seconds(), monotonic(), left(daemon, case)
        wait_until(lambda: not left(daemon, case), "the backlog is drained", seconds=900, pause=0.1)
        took = monotonic() - began
        used = daemon.process.cpu_seconds() - before
        peak = daemon.process.mebibytes("VmHWM")
    files = [out / f"{i}.jsonl" for i in range(case.matching)]
    ledger = reconcile(range(1, case.events + 1), [numbers_in(path) for path in files])
    for path in files:
        path.unlink()
    return {
        "events/s": start / took,
        "lines/s": start / took * case.matching,
        "CPU us an event": used / max(start, 1) * 1e6,  # few events may be gone before anyone looks
        "peak MiB": peak,
        **ledger.figures(),
    }


def left(daemon: Router, case: Case) -> float:
    """Return the events that the subscriptions have yet to settle, on average."""
    status = daemon.status()
    unread = case.events - status["sources"]["text"]["received"] if case.text else 0
    pending: int = sum(one["pending"] for one in status["subscriptions"].values())
    return unread + pending / case.configured


def written(path: Path, count: int) -> Path:
    """Write so many results as text, one a line."""
    with path.open("wb") as file:
        file.writelines(body(number) + b"\n" for number in range(1, count + 1))
    return path


BENCHMARK = Benchmark(
    question="How fast does a backlog go out to files?",
    how=(
        "From the journal: it is filled before the start, through the router's own decoder and journal; then the "
        "router starts, and what is still pending when it answers is timed until nothing is. From a text: the router "
        "starts with a `file` source on it, so each result is decoded, journalled with an fsync, and delivered."
    ),
    columns=(
        Column("events/s"),
        Column("lines/s"),
        Column("CPU us an event", 1),
        Column("peak MiB"),
        *LEDGER,
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--many 500 --text 500 --case filters",
)

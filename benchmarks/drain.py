"""How fast a backlog goes out: from the journal to files, and text through the decoder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from time import monotonic
from typing import NamedTuple

from benchmarks.backlog import copied, state_with
from benchmarks.ledger import numbers_in, reconcile
from benchmarks.messages import body
from benchmarks.process import SERVER_CORE, running, wait_until
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import router
from benchmarks.routes import subscriptions

TEXT = 0


class Case(NamedTuple):
    """`configured` subscriptions, of which `matching` want everything; none stands for a text that is decoded."""

    events: int
    configured: int
    matching: int


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=2_000_000, help="journalled, for one subscription")
    parser.add_argument("--many", type=int, default=300_000, help="journalled, for 20 subscriptions of which 10 match")
    parser.add_argument("--text", type=int, default=500_000, help="lines of text")


def cases(options: Namespace) -> Mapping[str, Case]:
    return {
        "journal to 1 file": Case(options.events, 1, 1),
        "journal to 20 filters, 10 match": Case(options.many, 20, 10),
        "text through `router decode`": Case(options.text, TEXT, 1),
    }


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    # Once there is a `file` source, a text backlog goes through it to the same subscriptions, and not only this way.
    if case.configured == TEXT:
        return decoded(case, ground)
    out = ground.kept / f"out-{case.configured}"  # the marks of files are in the state, so their paths stay
    wanted = subscriptions(out, case.configured, case.matching)
    state = copied(state_with(ground, f"state-{case.configured}", wanted, case.events), ground.folder)
    with router(ground, wanted, state=state) as daemon:
        before, began, start = daemon.process.cpu_seconds(), monotonic(), daemon.pending()
        daemon.wait_settled(pause=0.1)
        took = monotonic() - began
        used = daemon.process.cpu_seconds() - before
        peak = daemon.process.mebibytes("VmHWM")
    drained = start / case.configured
    files = [out / f"{i}.jsonl" for i in range(case.matching)]
    ledger = reconcile(range(1, case.events + 1), [numbers_in(path) for path in files])
    for path in files:
        path.unlink()
    return {
        "events/s": drained / took,
        "lines/s": drained / took * case.matching,
        "CPU us an event": used / drained * 1e6,
        "peak MiB": peak,
        **ledger.figures(),
    }


def decoded(case: Case, ground: Ground) -> Mapping[str, float]:
    """Measure the decoder's command, start and all."""
    text, out = ground.folder / "backlog.txt", ground.folder / "out.jsonl"
    with text.open("wb") as file:
        file.writelines(body(number) + b"\n" for number in range(1, case.events + 1))
    command = ground.tree.python("-m", "router", "decode", text)
    began = monotonic()
    with running(command, core=SERVER_CORE, log=out, environment=ground.tree.environment()) as process:
        wait_until(lambda: process.ended, "all is decoded", seconds=600)
        took = monotonic() - began
    ledger = reconcile(range(1, case.events + 1), [numbers_in(out)])
    return {"events/s": case.events / took, "lines/s": ledger.lines / took, **ledger.figures()}


BENCHMARK = Benchmark(
    question="How fast does a backlog go out, from the journal to files?",
    how=(
        "A journal is filled before the start, through the router's own decoder and journal; then the router starts, "
        "and what is still pending when it answers is timed until nothing is pending. The text is not yet a source: it "
        "goes through `router decode`, which neither journals nor routes; its time includes the start of the command."
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
    tiny="--events 3000 --many 500 --text 500",
)

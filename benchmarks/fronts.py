"""How far front processes go: the ceiling of the engine behind them, and what they give on two cores."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.intake import figures
from benchmarks.ledger import numbers_in, reconcile
from benchmarks.load import closed
from benchmarks.messages import Request, SignedPushes, body, plain
from benchmarks.process import LOAD_CORE, SERVER_CORE, cpu_seconds, wait_until
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.rounds import WORK
from benchmarks.router import PATH, Router, Subscriptions, to_file
from benchmarks.router import router as running_router
from benchmarks.tree import INSIDE


class Ceiling(NamedTuple):
    """Batches of `size` events, of which `out` are unanswered at any time, to so many files."""

    seconds: float
    size: int
    out: int
    files: int


class Cores(NamedTuple):
    """Pushes to a router with so many fronts, of which `signed` were signed beforehand; 0: unsigned, not checked."""

    seconds: float
    fronts: int
    signed: int


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=4.0, help="of load a round")
    parser.add_argument(
        "--signed", type=int, default=120_000, help="pushes to sign beforehand; 0: leave these cases out"
    )


def cases(options: Namespace) -> Mapping[str, Ceiling | Cores]:
    ceilings = {
        "ceiling, 1 file": Ceiling(options.seconds, 128, 128, 1),
        "ceiling, a file, small batches": Ceiling(options.seconds, 16, 128, 1),
        "ceiling, no subscription": Ceiling(options.seconds, 128, 128, 0),
    }
    cores = {f"two cores, {name}": Cores(options.seconds, fronts, 0) for fronts, name in enumerate(_FRONTS)}
    if options.signed:
        cores |= {
            f"two cores, signatures checked, {name}": Cores(options.seconds, fronts, options.signed)
            for fronts, name in enumerate(_FRONTS)
        }
    return {**ceilings, **cores}


_FRONTS = ("no front", "1 front", "2 fronts")


def measure(case: Ceiling | Cores, ground: Ground) -> Mapping[str, float]:
    return ceiling(case, ground) if isinstance(case, Ceiling) else two_cores(case, ground)


def ceiling(case: Ceiling, ground: Ground) -> Mapping[str, float]:
    """Let a simulated front send what it has ready made; nothing but the engine works on its core."""
    out, answer = ground.folder / "all.jsonl", ground.folder / "sent.json"
    subscriptions: Subscriptions = {"all": to_file(out)} if case.files else {}
    (ground.folder / "text").write_text(body(0).decode().replace("0000000000", "##########"))
    numbers = map(str, (LOAD_CORE, case.seconds, case.size, case.out))
    front = ground.tree.python(INSIDE / "simulated_front.py", ground.folder, *numbers)
    command: list[str | Path] = [INSIDE / "engine.py", ground.folder / "router.yaml", *front]
    with running_router(ground, subscriptions, source={"workers": 1}, command=command) as daemon:
        wait_ready(daemon)
        before = daemon.process.cpu_seconds()
        (ground.folder / "go").touch()
        wait_until(answer.exists, "all batches are answered", seconds=case.seconds + 60)
        daemon.wait_settled()
        used = daemon.process.cpu_seconds() - before
        mebibytes = daemon.process.mebibytes("VmHWM")
    sent = json.loads(answer.read_text())
    ledger = reconcile(range(1, sent["events"] + 1), [numbers_in(out)] * case.files)
    return {
        "results/s": sent["events"] / sent["seconds"],
        "engine's CPU us": used / sent["events"] * 1e6,
        "load's CPU us": sent["cpu"] / sent["events"] * 1e6,
        "peak MiB": mebibytes,
        **ledger.figures(),
    }


def two_cores(case: Cores, ground: Ground) -> Mapping[str, float]:
    """Post to the router, which may use both cores; the load has the second one, and shares it."""
    out = ground.folder / "all.jsonl"
    source: dict[str, object] = {"workers": case.fronts} if case.fronts else {}
    request: Request = plain(PATH)
    if case.signed:
        pushes = SignedPushes(WORK / "signed", PATH)
        request = pushes.request(case.signed)
        source |= {"verify": True, "certificate": str(pushes.certificate)}
    with running_router(ground, {"all": to_file(out)}, source=source) as daemon:
        fronts = wait_ready(daemon)
        for pid in (daemon.process.pid, *fronts):
            set_free(pid)
        before = daemon.process.cpu_seconds(), sum(map(cpu_seconds, fronts))
        answers = closed(daemon.push, request, connections=128, seconds=case.seconds, most=case.signed or 10**10)
        daemon.wait_settled()
        engine, behind = daemon.process.cpu_seconds() - before[0], sum(map(cpu_seconds, fronts)) - before[1]
    ledger = reconcile(answers.numbers, [numbers_in(out)])
    return {
        **figures(answers),
        "engine's CPU us": engine / len(answers.numbers) * 1e6,
        "fronts' CPU us": behind / len(answers.numbers) * 1e6,
        **ledger.figures(),
    }


def wait_ready(daemon: Router) -> Sequence[int]:
    """Wait until the source is ready, and return the pids of its fronts."""
    wait_until(lambda: daemon.status()["sources"]["push"]["ready"], "the source is ready")
    return [one["pid"] for one in daemon.status()["sources"]["push"].get("workers", ())]


def set_free(pid: int) -> None:
    """Let all threads of a process run on both cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {SERVER_CORE, LOAD_CORE})


BENCHMARK = Benchmark(
    question="How many results a second can the engine take from front processes, and what do they give on two cores?",
    how=(
        "Ceiling: the daemon with all its threads on one core; on the other a process that speaks as a front does and "
        "has its batches ready made, decoded and with their JSON, each event with its own id: 128 batches are "
        "unanswered at any time, of 128 events each, small ones of 16. An answer means in the journal and fsynced. Two "
        "cores: pushes over 128 connections as in `intake`, signatures of 2,048 bits with the certificate pinned; the "
        "daemon and its fronts may run on both cores, the load runs on the second and shares it with them. All goes to "
        "one file. CPU is until that has all."
    ),
    columns=(
        Column("results/s"),
        Column("p50 ms", 1),
        Column("p99 ms", 1),
        Column("engine's CPU us", 2),
        Column("fronts' CPU us", 1),
        Column("load's CPU us", 1),
        Column("peak MiB"),
        Column("refused", total=True),
        *LEDGER,
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.3 --signed 0 --case 1",
)

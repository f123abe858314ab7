"""What subscriptions that are far behind cost the others, and the intake."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from time import sleep
from typing import Any, Literal, NamedTuple

from benchmarks.backlog import copied, state_with
from benchmarks.ledger import numbers_in, reconcile
from benchmarks.load import closed
from benchmarks.messages import plain
from benchmarks.process import free_port
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import PATH, router, to_file
from benchmarks.routes import subscriptions

How = Literal["", "slow", "dead", "draining"]


class Case(NamedTuple):
    """`others` keep up, `matching` of them want everything; `lagging` more are `behind` events back, and `how`.

    The journal is made for `most` that lag, and serves all cases.
    """

    others: int
    matching: int
    lagging: int
    how: How
    behind: int
    seconds: float
    pause: float
    most: int


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=5.0, help="of load a round")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds from the start to the load")
    parser.add_argument("--behind", type=int, default=1_000_000)
    parser.add_argument("--others", type=int, default=180)
    parser.add_argument("--lagging", type=int, default=20)


def cases(options: Namespace) -> Mapping[str, Case]:
    rest = options.behind, options.seconds, options.pause, options.lagging

    def few(lagging: int, how: How) -> Case:
        return Case(1, 1, lagging, how, *rest)

    def many(lagging: int, how: How) -> Case:
        return Case(options.others, min(10, options.others), lagging, how, *rest)

    return {
        "1 alone": few(0, ""),
        "1, and 1 slow": few(1, "slow"),
        "1, and 1 draining": few(1, "draining"),
        f"{options.others} alone": many(0, ""),
        f"{options.others}, and {options.lagging} slow": many(options.lagging, "slow"),
        f"{options.others}, and {options.lagging} dead": many(options.lagging, "dead"),
        f"{options.others}, and {options.lagging} draining": many(options.lagging, "draining"),
    }


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    out = ground.folder / "out"
    behind = {f"behind{i}": lagging(ground, case.how, i) for i in range(case.lagging)}
    # Made with only those that may lag, wherever they lead; the others are new to the journal, and begin at its end.
    all_behind = {f"behind{i}": lagging(ground, "", i) for i in range(case.most)}
    state = copied(state_with(ground, "state", all_behind, case.behind), ground.folder)
    keeping_up = subscriptions(out, case.others, case.matching)
    with router(ground, keeping_up | behind, state=state) as daemon:
        sleep(case.pause)  # those that lag fill their windows first, once
        before = daemon.process.cpu_seconds()
        answers = closed(daemon.push, plain(PATH), connections=128, seconds=case.seconds, first=10**9)
        daemon.wait_settled(*keeping_up)
        used = daemon.process.cpu_seconds() - before
        still = daemon.pending(*behind) / case.lagging if case.lagging else 0.0
    files = [out / f"{i}.jsonl" for i in range(case.matching)]
    return {
        "results/s": answers.rate,
        "p50 ms": answers.milliseconds(0.5),
        "p99 ms": answers.milliseconds(0.99),
        "CPU us a result": used / len(answers.numbers) * 1e6,
        "still behind": still,
        **reconcile(answers.numbers, [numbers_in(path) for path in files]).figures(),
    }


def lagging(ground: Ground, how: How, index: int) -> dict[str, Any]:
    """Return a subscription that wants everything and does not keep up."""
    if how == "dead":
        return {"to": {"type": "webhook", "url": f"http://127.0.0.1:{free_port()}/"}}
    slow = {"delivery": {"rate": 50}} if how == "slow" else {}
    return to_file(ground.kept / f"behind{index}.jsonl", **slow)


BENCHMARK = Benchmark(
    question="What do subscriptions that are a million events behind cost the others and the intake?",
    how=(
        "The journal holds a million events (`--behind`). Some keep up and write what is pushed to files, over 128 "
        "connections as fast as it is answered, from three seconds after the start; others begin at the first event. "
        "`slow` ones write 50 events a second to a file, `dead` ones have a webhook that nobody answers, `draining` "
        "ones write as fast as they are let. Alone: the same journal, without those."
    ),
    columns=(
        Column("results/s"),
        Column("p50 ms", 1),
        Column("p99 ms", 1),
        Column("CPU us a result", 1),
        Column("still behind"),
        *LEDGER,
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.3 --behind 1000 --others 3 --lagging 2 --pause 0 --case slow",
)

"""How fast a backlog in an MNS queue is drained: received by long polls, stored with an fsync, filed, deleted."""

from __future__ import annotations

import json
import re
import urllib.request
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from time import monotonic
from typing import Any, NamedTuple

from benchmarks.process import LOAD_CORE, free_port, running, wait_listening, wait_until
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import router, to_file

QUEUE = "acs:mns:cn-hangzhou:1234567890123456:queues/results"
_ID = re.compile(rb'^\{"id":"(\w+)"', re.MULTILINE)


class Case(NamedTuple):
    messages: int
    pollers: int


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--pollers", default="2,8")


def cases(options: Namespace) -> Mapping[str, Case]:
    counts = [int(number) for number in options.pollers.split(",")]
    return {f"{pollers} pollers": Case(options.messages, pollers) for pollers in counts}


def ask(url: str, method: str = "GET", order: object = None) -> Any:
    body = None if order is None else json.dumps(order).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    port, log, out = free_port(), ground.folder / "emulator.log", ground.folder / "all.jsonl"
    command = ground.tree.python("-m", "router", "emulator", "--listen", f"127.0.0.1:{port}", "--rule-delay", "0")
    with running(command, core=LOAD_CORE, log=log, environment=ground.tree.environment()) as emulator:
        wait_listening(emulator, port, log)
        url = f"http://127.0.0.1:{port}"
        fill(url, case.messages)
        queue = {"type": "mns_queue", "endpoint": url, "queue": "results", "pollers": case.pollers}
        keys = {"access_key_id": "testAccessKeyId", "access_key_secret": "testAccessKeySecret"}
        used = emulator.cpu_seconds()
        with router(ground, {"all": to_file(out)}, sources={"queue": queue | keys}) as daemon:
            wait_until(lambda: deleted(url) > 0, "the first message is deleted", pause=0.01)
            first, began, before = deleted(url), monotonic(), daemon.process.cpu_seconds()
            wait_until(lambda: deleted(url) == case.messages, "the queue is empty", seconds=3600, pause=0.1)
            seconds = monotonic() - began
            busy = daemon.process.cpu_seconds() - before
            used = emulator.cpu_seconds() - used
            peak = daemon.process.mebibytes("VmHWM")
            daemon.wait_settled()
    ids = _ID.findall(out.read_bytes())
    return {
        "messages/s": (case.messages - first) / seconds,
        "CPU us a message": busy / (case.messages - first) * 1e6,
        "emulator's CPU us": used / case.messages * 1e6,
        "router's core %": busy / seconds * 100,
        "emulator's core %": used / seconds * 100,
        "peak MiB": peak,
        "lost": case.messages - len(set(ids)),
        "twice": len(ids) - len(set(ids)),
    }


def fill(url: str, messages: int) -> None:
    """Let a campaign fill the queue."""
    ask(f"{url}/emulator/queues", "POST", {"name": "results"})
    types = ["Deliver:SendSuccessfully", "Deliver:SendFailed"]
    ask(f"{url}/emulator/rules", "POST", {"name": "all", "types": types, "endpoints": [QUEUE]})
    ask(f"{url}/emulator/campaigns", "POST", {"results": messages})
    wait_until(
        lambda: ask(f"{url}/emulator/campaigns/c1")["finished"], "the campaign is finished", seconds=3600, pause=0.2
    )


def deleted(url: str) -> int:
    """Return how many messages of the campaign were deleted."""
    return int(ask(f"{url}/emulator/campaigns/c1")["deleted"])


BENCHMARK = Benchmark(
    question="How fast is a backlog in an MNS queue drained, and what bounds it?",
    how=(
        "A campaign fills a queue of the emulator, on the core of the load; then the router starts, receives by long "
        "polls, stores with an fsync, writes to a file, and deletes in batches. From the first message that is deleted "
        "to the last. Which of the two sides is busy says what bounds it: the share of a core that each had."
    ),
    columns=(
        Column("messages/s"),
        Column("CPU us a message", 1),
        Column("emulator's CPU us", 1),
        Column("router's core %"),
        Column("emulator's core %"),
        Column("peak MiB"),
        *LEDGER,
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--messages 500 --pollers 2",
)

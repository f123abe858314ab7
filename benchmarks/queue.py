"""How fast a backlog in an MNS queue is drained: received by long polls, stored with an fsync, filed, deleted.

The emulator runs on core 1 and the daemon on core 0; which of the two is busy says what bounds it. It is over when
every message is deleted; that all of them are in the subscription's file is checked.

    python benchmarks/queue.py [--messages 1000000] [--rounds 3] [--pollers 2,4,8] [--profile]

`--profile` runs both sides under cProfile (one round of 100,000 messages) and prints where each spends its time.
"""

from __future__ import annotations

import argparse
import json
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from machine import describe, spread

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
QUEUE = "acs:mns:cn-hangzhou:1234567890123456:queues/results"


class Drained(NamedTuple):
    """Messages a second, and the CPU microseconds a message of both sides."""

    rate: float
    daemon: float
    emulator: float
    missing: int


def ask(url: str, method: str = "GET", order: object = None) -> Any:
    body = None if order is None else json.dumps(order).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def cpu_seconds(pid: int) -> float:
    """Return what a process has used of its core, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def running(core: int, profile: Path | None, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `router` on one core."""
    watched = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
    command = ["taskset", "-c", str(core), sys.executable, *watched, "-m", "router", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def config(folder: Path, endpoint: str, pollers: int) -> Path:
    path = folder / "router.yaml"
    path.write_text(f"""
state: {folder}/state
admin: {{listen: 127.0.0.1:0}}
sources:
  queue: {{type: mns_queue, endpoint: "{endpoint}", queue: results, pollers: {pollers},
          access_key_id: testAccessKeyId, access_key_secret: testAccessKeySecret}}
departments:
  a: {{accounts: ["*"], subscriptions: {{all: {{to: {{type: file, path: {folder}/all.jsonl}}}}}}}}
""")
    return path


def fill(url: str, messages: int) -> None:
    """Let a campaign fill the queue."""
    ask(f"{url}/emulator/queues", "POST", {"name": "results"})
    types = ["Deliver:SendSuccessfully", "Deliver:SendFailed"]
    ask(f"{url}/emulator/rules", "POST", {"name": "all", "types": types, "endpoints": [QUEUE]})
    ask(f"{url}/emulator/campaigns", "POST", {"results": messages})
    while not ask(f"{url}/emulator/campaigns/c1")["finished"]:
        time.sleep(1)


def once(messages: int, pollers: int, profiles: Sequence[Path | None] = (None, None)) -> Drained:
    folder = Path(tempfile.mkdtemp(prefix="bench-queue-", dir=HERE))
    arguments = ("emulator", "--listen", "127.0.0.1:0", "--rule-delay", "0")
    try:
        with running(1, profiles[0], *arguments) as emulator:
            assert emulator.stdout
            url = emulator.stdout.readline().split()[-1]
            fill(url, messages)
            used = cpu_seconds(emulator.pid)
            command = ("run", "--log-level", "error", str(config(folder, url, pollers)))
            with running(0, profiles[1], *command) as daemon:
                while not ask(f"{url}/emulator/campaigns/c1")["deleted"]:
                    time.sleep(0.01)
                started, began, done = time.monotonic(), cpu_seconds(daemon.pid), 0
                while done < messages:
                    time.sleep(0.1)
                    done = ask(f"{url}/emulator/campaigns/c1")["deleted"]
                seconds = time.monotonic() - started
                busy = cpu_seconds(daemon.pid) - began, cpu_seconds(emulator.pid) - used
        lines = (folder / "all.jsonl").read_bytes().count(b"\n")
        return Drained(messages / seconds, busy[0] / messages * 1e6, busy[1] / messages * 1e6, messages - lines)
    finally:
        shutil.rmtree(folder)


def profile() -> None:
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        both = [Path(folder) / "emulator.prof", Path(folder) / "daemon.prof"]
        once(100_000, 4, both)
        for path in both:
            print(path.stem)
            pstats.Stats(str(path)).sort_stats("tottime").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pollers", default="2,4,8")
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    print(describe())
    if chosen.profile:
        profile()
        return
    counts = [int(n) for n in chosen.pollers.split(",")]
    rows: dict[int, list[Drained]] = {n: [] for n in counts}
    for _ in range(chosen.rounds):
        for n in counts:
            rows[n].append(once(chosen.messages, n))
    print("pollers | messages/s | daemon us/message | emulator us/message | deleted but not in the file")
    for n, found in rows.items():
        rates, daemon, emulator, missing = zip(*found, strict=True)
        print(f"{n:7} | {spread(rates)} | {spread(daemon)} | {spread(emulator)} | {sum(missing)}")


if __name__ == "__main__":
    main()

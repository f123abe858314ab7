"""How many webhook POSTs a second one core sends: a journalled backlog, one event a request, to ten destinations.

The daemon runs on core 0, the receivers on core 1. The journal is filled first; the daemon is then started on it, and
measured between the first and the last request. Every id is counted at every receiver. With `--against REV`, the
daemon of another revision takes its turn with this one's, round by round. `--limit` says what the receivers can
take at most, with wrk on core 0.

    python benchmarks/webhooks.py [--events 20000] [--rounds 5] [--against REV] [--unsigned] [--delay 0] [--limit]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
from machine import describe, spread

from router.config import load
from router.config.plan import subscriptions
from router.event import Event, Message
from router.intake import event_of
from router.journal import FIRST, Progress

HERE = Path(__file__).parent
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GROUP = 128
TICKS = os.sysconf("SC_CLK_TCK")


class Round(NamedTuple):
    """One backlog delivered: POSTs a second, CPU of the daemon in us a POST, and ids that did not or did often come."""

    rate: float
    cpu: float
    missing: int
    repeated: int


class Receivers:
    """The receivers' process; see `receivers.py`."""

    def __init__(self, ports: int) -> None:
        command = ["taskset", "-c", "1", sys.executable, str(HERE / "receivers.py"), "--ports", str(ports)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports: list[int] = self._read()

    def order(self, what: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def counts(self) -> list[int]:
        self.order("count")
        return self._read()

    def ids(self, folder: Path) -> list[list[str]]:
        """Return the ids that came to each port, and forget them."""
        self.order(str(folder))
        assert self.process.stdout
        self.process.stdout.readline()
        return [(folder / f"{number}.ids").read_text().split() for number in range(len(self.ports))]

    def _read(self) -> list[int]:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]


@contextmanager
def running_receivers(ports: int) -> Iterator[Receivers]:
    receivers = Receivers(ports)
    try:
        yield receivers
    finally:
        receivers.process.terminate()
        receivers.process.wait()


def config(folder: Path, ports: Sequence[int], *, signed: bool) -> Path:
    """Write a config with one webhook a port, and a source that nobody uses."""
    secret = f", secret: {SECRET}" if signed else ""
    lines = [
        f"state: {folder}/state",
        "admin: {listen: 127.0.0.1:0}",
        "sources: {push: {type: mns_push, listen: 127.0.0.1:0, path: /n, verify: false}}",
        'departments:\n  a:\n    accounts: ["*"]\n    subscriptions:',
    ]
    lines += [f"      to{port}: {{to: {{type: webhook, url: http://127.0.0.1:{port}/in{secret}}}}}" for port in ports]
    path = folder / "router.yaml"
    path.write_text("\n".join(lines))
    return path


def result(number: int) -> bytes:
    return (
        f"env_id={number}&msg_id=77041400{number}&account=news@shop.example.com&from=news@shop.example.com"
        f"&rcpt=r{number}@example.net&recv_time=2026-03-01 09:00:00&end_time=2026-03-01 09:00:01&status=0"
        "&event=deliver&region=cn-hangzhou&err_code=250&err_msg=250 Send Mail OK"
    ).encode()


def fill(path: Path, events: int) -> set[str]:
    """Journal so many events that nobody has got yet; return their ids."""
    loaded = load(path, os.environ)

    def made(number: int) -> Event:
        return event_of(loaded.decoder, Message(result(number), time.time()), "push")

    async def filled() -> set[str]:
        ids: set[str] = set()
        opened = loaded.journal.open(Path(loaded.state), lambda m, s, n: event_of(loaded.decoder, m, s, n))
        async with opened as partition:
            for planned in subscriptions(loaded):
                partition.commit(planned.name, Progress(position=FIRST, since=FIRST, pattern=planned.pattern))
            for first in range(0, events, GROUP):
                batch = [made(number) for number in range(first, min(first + GROUP, events))]
                ids.update(event.id for event in batch)
                await partition.append(batch)
        return ids

    return anyio.run(filled)


@contextmanager
def daemon(path: Path, code: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon of a checkout on core 0."""
    command = ["taskset", "-c", "0", sys.executable, "-m", "router", "run", "--log-level", "error", str(path)]
    paths = os.pathsep.join([str(code), str(code / "plugins")])
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, cwd=path.parent)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def once(code: Path, receivers: Receivers, chosen: argparse.Namespace) -> Round:
    """Deliver one backlog."""
    folder = Path(tempfile.mkdtemp(prefix="bench-webhooks-", dir=HERE))
    total = chosen.events * len(receivers.ports)
    try:
        path = config(folder, receivers.ports, signed=not chosen.unsigned)
        ids = fill(path, chosen.events)
        with daemon(path, code) as process:
            samples: list[tuple[float, float, int]] = []
            while not samples or samples[-1][2] < total:
                time.sleep(0.05)
                count = sum(receivers.counts())
                if count:
                    samples.append((time.monotonic(), cpu(process.pid), count))
                if process.poll() is not None or (samples and time.monotonic() - samples[0][0] > chosen.patience):
                    raise SystemExit(f"{count} of {total} came")
        seconds, spent, posts = (last - first for first, last in zip(samples[0], samples[-1], strict=True))
        came = [Counter(some) for some in receivers.ids(folder)]
        missing = sum(len(ids - set(some)) for some in came)
        return Round(posts / seconds, spent / posts * 1e6, missing, sum(some.total() - len(some) for some in came))
    finally:
        shutil.rmtree(folder)


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Have another revision in a worktree of its own."""
    folder = Path(tempfile.mkdtemp(prefix="bench-webhooks-", dir=HERE))
    git = ["git", "-C", str(HERE), "worktree"]
    subprocess.run([*git, "add", "-q", "--detach", str(folder / "code"), revision], check=True)
    try:
        yield folder / "code"
    finally:
        subprocess.run([*git, "remove", "--force", str(folder / "code")], check=True)
        shutil.rmtree(folder)


def limit(receivers: Receivers, folder: Path) -> float:
    """Return how many requests a second the receivers answer when wrk asks one of them."""
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\nwrk.body = string.rep("x", 400)\n'
        + "".join(f'wrk.headers["{name}"] = "{"x" * 40}"\n' for name in ("Webhook-Id", "Webhook-Signature", "Accept"))
    )
    url = f"http://127.0.0.1:{receivers.ports[0]}/in"
    command = ["taskset", "-c", "0", "wrk", "-t1", "-c128", "-d5s", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    receivers.ids(folder)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--destinations", type=int, default=10)
    parser.add_argument("--against", help="another revision, measured in turn")
    parser.add_argument("--unsigned", action="store_true", help="without a secret")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each answer takes")
    parser.add_argument("--patience", type=float, default=300.0)
    parser.add_argument("--limit", action="store_true")
    chosen = parser.parse_args()
    print(describe())
    with running_receivers(chosen.destinations) as receivers, tempfile.TemporaryDirectory() as folder:
        if chosen.limit:
            print(f"the receivers' own limit: {spread([limit(receivers, Path(folder)) for _ in range(3)])} requests/s")
        receivers.order(str(chosen.delay))
        with checkout(chosen.against or "HEAD") as other:
            codes = {"this": HERE.parent} | ({chosen.against: other} if chosen.against else {})
            rounds: dict[str, list[Round]] = {name: [] for name in codes}
            for _ in range(chosen.rounds):
                for name, code in codes.items():
                    rounds[name].append(once(code, receivers, chosen))
    print("revision | POST/s | CPU us a POST | missing | repeated")
    for name, found in rounds.items():
        rates, cpus, missing, repeated = zip(*found, strict=True)
        print(f"{name:8} | {spread(rates)} | {spread(cpus, 1)} | {sum(missing)} | {sum(repeated)}")


if __name__ == "__main__":
    main()

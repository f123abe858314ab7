"""How many results a second the push intake stores and fans out, by the number of subscriptions of which one matches.

The daemon runs on core 0, wrk on core 1: one legacy result per POST, each with its own env_id, signatures not checked.
Every answered result is counted in the file of the subscription that matches. Needs wrk on the PATH.

    python benchmarks/intake.py [--seconds 5] [--rounds 3] [--connections 128] [--subscriptions 1,10,100]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import describe, spread

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def config(folder: Path, push: int, admin: int, subscriptions: int) -> Path:
    """Write a config with one subscription that wants all, and others that want other regions."""
    lines = [
        f"state: {folder}/state",
        f"admin: {{listen: 127.0.0.1:{admin}}}",
        f"sources: {{push: {{type: mns_push, listen: 127.0.0.1:{push}, path: /n, verify: false}}}}",
        'departments:\n  a:\n    accounts: ["*"]\n    subscriptions:',
        f"      all: {{to: {{type: file, path: {folder}/all.jsonl}}}}",
    ]
    lines += [
        f"      other{i}: {{match: {{region: elsewhere-{i}}}, to: {{type: file, path: {folder}/{i}.jsonl}}}}"
        for i in range(1, subscriptions)
    ]
    path = folder / "router.yaml"
    path.write_text("\n".join(lines))
    return path


@contextmanager
def daemon(path: Path, push: int) -> Iterator[None]:
    command = ["taskset", "-c", "0", sys.executable, "-m", "router", "run", "--log-level", "error", str(path)]
    process = subprocess.Popen(command)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", push), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def status(admin: int) -> dict[str, dict[str, dict[str, int]]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/status") as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def once(subscriptions: int, connections: int, seconds: int) -> tuple[float, float, float, int]:
    """Return results stored a second, p50 and p99 of the answer in ms, and how many did not reach the file."""
    folder = Path(tempfile.mkdtemp(prefix="bench-intake-", dir=HERE))
    push, admin = free_port(), free_port()
    try:
        with daemon(config(folder, push, admin, subscriptions), push):
            command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
            command += ["-s", str(HERE / "load.lua"), f"http://127.0.0.1:{push}/n", "--", "1"]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            while status(admin)["subscriptions"]["a/all"]["pending"]:
                time.sleep(0.1)
            stored = status(admin)["sources"]["push"]["received"]
        lines = (folder / "all.jsonl").read_bytes().count(b"\n")
        if "Non-2xx" in said:
            raise SystemExit(said)
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])  # type: ignore[index]
        return rate, latency(said, "50%"), latency(said, "99%"), stored - lines
    finally:
        shutil.rmtree(folder)


def latency(said: str, share: str) -> float:
    number, unit = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", said).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--subscriptions", default="1,10,100")
    chosen = parser.parse_args()
    print(describe())
    counts = [int(n) for n in chosen.subscriptions.split(",")]
    rows: dict[int, list[tuple[float, float, float, int]]] = {n: [] for n in counts}
    for _ in range(chosen.rounds):
        for n in counts:
            rows[n].append(once(n, chosen.connections, chosen.seconds))
    print("subscriptions | results/s | p50 ms | p99 ms | answered but not in the file")
    for n, found in rows.items():
        rates, p50, p99, lost = zip(*found, strict=True)
        print(f"{n:13} | {spread(rates)} | {spread(p50, 1)} | {spread(p99, 1)} | {sum(lost)}")


if __name__ == "__main__":
    main()

"""How others do on the same loads, with the same ledger."""

from __future__ import annotations

import re
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

from benchmarks.ledger import numbers_in, reconcile
from benchmarks.load import closed
from benchmarks.messages import plain
from benchmarks.peers import benthos, fluent_bit, logprep, vector
from benchmarks.peers.product import PATH, Load, Product, out
from benchmarks.process import SERVER_CORE, Process, free_port, running, wait_listening
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import router, to_file

PRODUCTS = (benthos.PRODUCT, logprep.PRODUCT, vector.MEMORY, vector.DISK, fluent_bit.MEMORY, fluent_bit.DISK)
QUIET = 3.0
"""Seconds without a new byte after which a product is taken to be done."""


class Case(NamedTuple):
    """`product` is None for the router."""

    product: Product | None
    load: Load
    seconds: float


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=4.0, help="of load a round")
    parser.add_argument("--connections", default="128,16")
    parser.add_argument("--filters", default="20,100")
    parser.add_argument("--only", default="", help="names of products, separated by commas; default: all there are")


def cases(options: Namespace) -> Mapping[str, Case]:
    """Return the router and every product that is installed, for each load."""
    connections = [int(n) for n in options.connections.split(",")]
    loads = {f"1 file, {n} connections": Load(n, 0, 0) for n in connections}
    loads |= {f"{n} filters, 10 match": Load(connections[0], n, 10) for n in map(int, options.filters.split(","))}
    products: dict[str, Product | None] = {"router": None}
    products |= {product.name: product for product in PRODUCTS if product.program()}
    only = options.only.split(",") if options.only else products
    return {
        f"{text}: {name}": Case(product, load, options.seconds)
        for text, load in loads.items()
        for name, product in products.items()
        if name in only
    }


@contextmanager
def started(case: Case, ground: Ground) -> Generator[tuple[Process, tuple[str, int]]]:
    """Run what the case is about; yield its process and where it takes results."""
    load, folder = case.load, ground.folder
    if case.product is None:
        with router(ground, subscriptions(load, folder)) as daemon:
            yield daemon.process, daemon.push
        return
    program = case.product.program()
    assert program
    port, log = free_port(), folder / "product.log"
    command = case.product.prepare(program, folder, port, load)
    with running(command, core=SERVER_CORE, log=log) as process:
        wait_listening(process, port, log)
        with ground.watch(process.pid):
            yield process, ("127.0.0.1", port)


def subscriptions(load: Load, folder: Path) -> dict[str, Any]:
    """Return the router's subscriptions for a load."""
    if not load.filters:
        return {"all": to_file(out(folder, 0))}
    return {f"s{i}": to_file(out(folder, i), match={"region": load.region(i)}) for i in range(load.filters)}


def wait_written(paths: list[Path], lines: int) -> float:
    """Wait until the files have their lines, or do not grow any more; return when the last byte came."""
    size, last = -1, monotonic()
    while monotonic() - last < QUIET:
        now = sum(path.stat().st_size for path in paths if path.exists())
        if now != size:
            size, last = now, monotonic()
        elif sum(_lines(path) for path in paths) >= lines:
            break
        sleep(0.05)
    return last


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    content_type = case.product.content_type if case.product else "text/plain;charset=utf-8"
    paths = [out(ground.folder, i) for i in range(case.load.files)]
    with started(case, ground) as (process, address):
        before, began = process.cpu_seconds(), monotonic()
        request = plain(PATH, content_type)
        answers = closed(address, request, connections=case.load.connections, seconds=case.seconds)
        took = wait_written(paths, len(answers.numbers) * len(paths)) - began
        used = process.cpu_seconds() - before
        peak = process.mebibytes("VmHWM")
    ledger = reconcile(answers.numbers, [numbers_in(path) for path in paths])
    arrived = ledger.lines / len(paths)
    return {
        "results/s in": answers.rate,
        "results/s through": arrived / max(took, answers.elapsed),
        "lines/s": ledger.lines / max(took, answers.elapsed),
        "p99 ms": answers.milliseconds(0.99),
        "CPU us a result": used / arrived * 1e6,
        "peak MiB": peak,
        "refused": answers.refused.total(),
        **ledger.figures(),
    }


def versions() -> list[str]:
    """Return what each product that is here says of its version, and which are not here."""
    said = ["router: an answered result is in the journal, fsynced"]
    for product in PRODUCTS:
        program = product.program()
        if program is None:
            said.append(f"{product.name}: not installed, not measured")
            continue
        words = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(product.version, words)
        said.append(f"{product.name} {version[1] if version else '?'}: an answered result is {product.durable}")
    return said


BENCHMARK = Benchmark(
    question="How do other programs do on the same loads?",
    how=(
        "The same requests, cores, folder and ledger for all, each on one core with all its threads and processes, "
        "`in` as answered, `through` as written to all files. One file: the results as they come, where the router "
        "writes them decoded, as JSON. Filters: by region, each with a file of its own. CPU and memory are those of "
        "all processes of a program. What is durable at the answer differs, and is said below."
    ),
    columns=(
        Column("results/s in"),
        Column("results/s through"),
        Column("lines/s"),
        Column("p99 ms", 1),
        Column("CPU us a result", 1),
        Column("peak MiB"),
        Column("refused", total=True),
        *LEDGER,
    ),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.3 --connections 4 --filters 12 --only router",
    notes=versions,
)

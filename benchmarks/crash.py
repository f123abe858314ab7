"""What is lost when the process is killed under full load: each program, its answers against its files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from threading import Timer
from time import sleep

from benchmarks import peers
from benchmarks.ledger import numbers_in, reconcile
from benchmarks.load import closed
from benchmarks.messages import TEXT, plain
from benchmarks.peers import Case, started, wait_written
from benchmarks.peers.product import PATH, out
from benchmarks.question import LEDGER, Benchmark, Column, Ground


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=2.0, help="of load before the kill")
    parser.add_argument("--connections", default="128")
    parser.add_argument("--filters", default="20")
    parser.add_argument("--only", default="", help="names of products, separated by commas; default: all there are")


def cases(options: Namespace) -> Mapping[str, Case]:
    return peers.cases(options)


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    paths = [out(ground.folder, i) for i in range(case.load.files)]
    content_type = case.product.content_type if case.product else TEXT
    with started(case, ground) as (process, address):
        Timer(case.seconds, process.kill).start()
        request = plain(PATH, content_type)
        answers = closed(
            address,
            request,
            connections=case.load.connections,
            seconds=10 * case.seconds + 10,
            until_gone=True,
        )
        process.wait_ended()
    before = reconcile(answers.numbers, [numbers_in(path) for path in paths])
    with started(case, ground):
        sleep(1.0)  # it may have something to read back before it writes
        wait_written(paths, len(answers.numbers) * len(paths))
    ledger = reconcile(answers.numbers, [numbers_in(path) for path in paths])
    return {
        "answered": len(answers.numbers),
        "not in the files at the kill": before.lost,
        **ledger.figures(),
    }


BENCHMARK = Benchmark(
    question="What is lost when the process is killed under full load?",
    how=(
        "kill -9 while 128 connections push as fast as they are answered; then the program is started again on what "
        "it left behind, and is given time until its files do not grow any more. With filters each result belongs into "
        "ten files, and each of them counts. A process is killed, not the machine: what was in the page cache "
        "survives, so this says nothing of a power cut."
    ),
    columns=(Column("answered"), Column("not in the files at the kill"), *LEDGER),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--seconds 0.5 --connections 8 --filters 12 --only router",
    notes=peers.versions,
)

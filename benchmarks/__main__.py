"""The command: `python -m benchmarks` lists the questions; with a name it answers one of them."""

from __future__ import annotations

import importlib
import os
import pkgutil
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

import benchmarks
from benchmarks.machine import describe
from benchmarks.process import LOAD_CORE
from benchmarks.question import Benchmark
from benchmarks.rounds import WORK, measure
from benchmarks.tables import changes, table
from benchmarks.tree import checked_out, working_tree


def found() -> Mapping[str, Benchmark]:
    """Return every benchmark here by its module's name."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    return {name: module.BENCHMARK for name, module in modules.items() if hasattr(module, "BENCHMARK")}


def parser(known: Mapping[str, Benchmark]) -> ArgumentParser:
    top = ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    commands = top.add_subparsers(dest="command")
    for name, benchmark in known.items():
        one = commands.add_parser(name, help=benchmark.question, description=benchmark.how)
        _common(one)
        benchmark.arguments(one)
    compare = commands.add_parser("compare", help="measure a revision and the files as they are, alternately")
    compare.add_argument("revision")
    compare.add_argument("--bench", choices=list(known), default="intake")
    _common(compare)
    return top


def _common(one: ArgumentParser) -> None:
    one.add_argument("--rounds", type=int, default=3)
    one.add_argument("--case", default="", help="only cases whose names hold this")


def say(line: str) -> None:
    print(line, flush=True)


def answer(benchmark: Benchmark, options: Namespace) -> None:
    with working_tree() as tree:
        measured = measure(benchmark, options, [tree], tell=say)
    for line in ["", *table(benchmark.columns, measured[tree.name])]:
        say(line)


def compare(benchmark: Benchmark, options: Namespace) -> None:
    with checked_out(options.revision) as old, working_tree() as here:
        new = here._replace(name=f"{here.name} (here)")
        measured = measure(benchmark, options, [old, new], tell=say)
    for line in ["", *changes(benchmark.columns, measured)]:
        say(line)


def main() -> None:
    known = found()
    options, rest = parser(known).parse_known_args()
    if not options.command:
        for name, benchmark in known.items():
            say(f"{name:10} {benchmark.question}")
        return
    if options.command == "compare":
        own = ArgumentParser(prog=f"python -m benchmarks compare {options.revision} --bench {options.bench}")
        known[options.bench].arguments(own)
        own.parse_args(rest, options)
    elif rest:
        parser(known).error(f"unknown: {' '.join(rest)}")
    os.sched_setaffinity(0, {LOAD_CORE})
    WORK.mkdir(parents=True, exist_ok=True)
    for line in describe(WORK):
        say(line)
    if options.command == "compare":
        compare(known[options.bench], options)
    else:
        answer(known[options.command], options)


if __name__ == "__main__":
    main()

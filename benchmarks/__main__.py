"""The command: `python -m benchmarks` lists the questions; with a name it answers one of them."""

from __future__ import annotations

import importlib
import os
import pkgutil
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence

import benchmarks
from benchmarks import plot, results
from benchmarks.machine import describe
from benchmarks.process import LOAD_CORE
from benchmarks.profiles import TOOLS
from benchmarks.question import Benchmark
from benchmarks.rounds import WORK, chosen, measure
from benchmarks.tables import changes, table
from benchmarks.tree import checked_out, working_tree

PROFILES = WORK / "profiles"
ALL = "all"


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
        _common(one, write=True)
        benchmark.arguments(one)
    every = commands.add_parser(ALL, help="answer all questions, as their defaults have it")
    every.add_argument("--except", nargs="*", default=[], choices=list(known), dest="left_out")
    _common(every, write=True)
    compare = commands.add_parser("compare", help="measure a revision and the files as they are, alternately")
    compare.add_argument("revision")
    compare.add_argument("--bench", choices=list(known), default="intake")
    _common(compare, write=False)
    profile = commands.add_parser("profile", help="run a benchmark once under a profiler")
    profile.add_argument("bench", choices=list(known))
    profile.add_argument("--tool", choices=list(TOOLS), default="py-spy")
    _common(profile, write=False)
    commands.add_parser("tables", help="make the README's tables and the plot from the kept results again")
    return top


def _common(one: ArgumentParser, *, write: bool) -> None:
    one.add_argument("--rounds", type=int, default=3)
    one.add_argument("--case", default="", help="only cases whose names hold this; or THIS|THAT")
    if write:
        one.add_argument("--write", action="store_true", help="keep the result, and put it into the README")


def say(line: str) -> None:
    print(line, flush=True)


def say_all(lines: Sequence[str]) -> None:
    for line in lines:
        say(line)


def answer(name: str, benchmark: Benchmark, options: Namespace) -> None:
    """Measure the files as they are."""
    machine = describe(WORK)
    say_all([benchmark.question, *machine])
    with working_tree() as tree:
        cases = measure(benchmark, options, [tree], tell=say)[tree.name]
    say_all(["", *table(benchmark.columns, cases), *benchmark.notes(), ""])
    if options.write:
        results.save(name, benchmark, machine, cases)
        refresh()


def refresh() -> None:
    results.refresh()
    plot.draw(results.kept())


def answer_all(known: Mapping[str, Benchmark], options: Namespace) -> None:
    for name, benchmark in known.items():
        if name in options.left_out:
            continue
        try:
            answer(name, benchmark, own_options(benchmark, f"{ALL}: {name}", [], options))
        except SystemExit as error:  # what it needs is not here
            say(f"{name}: not answered: {error}")


def compare(benchmark: Benchmark, options: Namespace) -> None:
    say_all(describe(WORK))
    with checked_out(options.revision) as old, working_tree() as here:
        new = here._replace(name=f"{here.name} (here)")
        measured = measure(benchmark, options, [old, new], tell=say)
    say_all(["", *changes(benchmark.columns, measured)])


def profile(benchmark: Benchmark, options: Namespace) -> None:
    """Run one round of the first case that is asked for, and say where the time went."""
    say_all(describe(WORK))
    PROFILES.mkdir(parents=True, exist_ok=True)
    options.case, options.rounds = next(iter(chosen(benchmark.cases(options), options.case))), 1
    with working_tree() as tree:
        measure(benchmark, options, [tree], tell=say, watch=lambda pid: TOOLS[options.tool](pid, PROFILES))
    say_all(["", f"{PROFILES}:", (PROFILES / "profile.txt").read_text()])


def own_options(benchmark: Benchmark, name: str, words: Sequence[str], options: Namespace) -> Namespace:
    """Add the benchmark's own options, from words or by their defaults, to what is common to all."""
    own = ArgumentParser(prog=f"python -m benchmarks {name}")
    benchmark.arguments(own)
    return own.parse_args(words, Namespace(**vars(options)))


def main() -> None:
    known = found()
    options, rest = parser(known).parse_known_args()
    if not options.command:
        say_all([f"{name:10} {benchmark.question}" for name, benchmark in known.items()])
        return
    WORK.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, {LOAD_CORE})
    commands: dict[str, Callable[[Benchmark, Namespace], None]] = {"compare": compare, "profile": profile}
    if options.command in commands:
        benchmark = known[options.bench]
        commands[options.command](benchmark, own_options(benchmark, f"{options.command} ...", rest, options))
    elif rest:
        parser(known).error(f"unknown: {' '.join(rest)}")
    elif options.command == ALL:
        answer_all(known, options)
    elif options.command == "tables":
        refresh()
    else:
        answer(options.command, known[options.command], options)


if __name__ == "__main__":
    main()

"""`router test`: a config's own tests, and two configs compared on recorded traffic."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import Progress

from router.cli import tables
from router.cli.ask import Json
from router.cli.selection import moment
from router.config import load
from router.shadow import Difference, compare
from router.trial import Verdict, try_all


def trial(
    config: Annotated[Path, typer.Argument(help="The YAML file.", metavar="CONFIG")],
    shadow: Annotated[
        Path | None, typer.Option(help="Compare with this older config, on what the journal of CONFIG has.")
    ] = None,
    since: Annotated[str, typer.Option(help="With --shadow, what was stored since: a time, or 2h ago.")] = "",
    as_json: Json = False,
) -> None:
    """Run the `tests:` of a config, or compare two configs on recorded traffic; nothing is delivered.

    Exit code 1 if a test fails. The daemon does not tell the config that it runs by, for it may hold secrets: keep the
    old file, or take it from your version control.

    Example: router test config/full.yaml
    """
    loaded = load(config, os.environ)
    if shadow is None:
        if since:
            raise typer.BadParameter("--since goes with --shadow")
        _tell(verdicts := try_all(loaded), as_json=as_json)
        if any(one.problems for one in verdicts):
            raise typer.Exit(1)
        return
    with Progress(disable=not sys.stderr.isatty(), console=tables.errors(), transient=True) as shown:
        bar = shown.add_task("reading", total=None)
        differences = compare(
            load(shadow, os.environ),
            loaded,
            since=moment(since, loaded.decoder.zone()) if since else None,
            pulse=lambda done, every: shown.update(bar, completed=done, total=every),
        )
    _tell_differences(differences, as_json=as_json)


def _tell(verdicts: list[Verdict], *, as_json: bool) -> None:
    if as_json:
        tables.say_json(msgspec.json.encode(verdicts))
        return
    for one in verdicts:
        tables.say(f"{'FAILED' if one.problems else 'ok'}: {one.name}")
        for problem in one.problems:
            tables.say(f"    {problem}")
    failed = sum(bool(one.problems) for one in verdicts)
    tables.say(f"{len(verdicts)} tests, {failed} failed" if verdicts else "no tests (see `tests:` in config/full.yaml)")


def _tell_differences(differences: list[Difference], *, as_json: bool) -> None:
    if as_json:
        tables.say_json(msgspec.json.encode(differences))
        return
    table = tables.table("subscription", "both", "changed", "only old", "only new", "such as")
    for one in differences:
        some = "; ".join(f"{kind.replace('_', ' ')}: {', '.join(ids[:1])}" for kind, ids in one.samples.items())
        table.add_row(one.subscription, str(one.both), str(one.changed), str(one.only_old), str(one.only_new), some)
    tables.show(table)
    tables.say("`router explain CONFIG ID` shows an event whole")

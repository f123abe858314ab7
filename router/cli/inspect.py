"""`router status` and `router verify`: how the daemon is, and whether its books balance."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from router.admin.status import Status
from router.cli import tables
from router.cli.ask import ask
from router.config import Admin, load
from router.recount import recount

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def status(
    config: Annotated[
        Path | None, typer.Argument(help="The YAML file; names the admin address.", metavar="[CONFIG]")
    ] = None,
    admin: Annotated[str, typer.Option(help="HOST:PORT of the admin API, instead of a config.")] = "127.0.0.1:9464",
    as_json: Json = False,
) -> None:
    """Show sources, journal and subscriptions of the running daemon.

    Example: router status config/minimal.yaml
    """
    body = ask(load(config, os.environ).admin if config else Admin(listen=admin), "GET", "/status")
    if as_json:
        print(body.decode())
        return
    now = msgspec.json.decode(body, type=Status)
    console = tables.console()
    _print_sources(console, now)
    columns = ("journalled", "delivered", "filtered", "parked", "dead", "pending", "in_flight")
    table = tables.table("subscription", *columns, "state", "feed", "last error")
    for name, sub in now.subscriptions.items():
        numbers = [str(getattr(sub, column)) for column in columns]
        state = sub.state if sub.state != "active" or sub.breaker == "closed" else f"breaker {sub.breaker}"
        state = f"{state}, draining" if sub.draining else state
        table.add_row(
            name, *numbers, state, "memory" if sub.live else "journal", _past(sub.last_error[:60], sub.last_error_at)
        )
    console.print(table)
    if now.orphans:
        table = tables.table("not in the config", "pending", "parked", "dead")
        for name, orphan in now.orphans.items():
            table.add_row(name, str(orphan.pending), str(orphan.parked), str(orphan.dead))
        console.print(table)


def _print_sources(console: Console, now: Status) -> None:
    journal = now.journal
    lost = f"; {journal.lost} LOST (see `router journal check`)" if journal.lost else ""
    trouble = f" CANNOT BE WRITTEN: {journal.failing}" if journal.failing else " FULL" if journal.full else ""
    console.print(
        f"{'ready' if now.ready else 'stopping' if now.stopping else 'NOT READY'}; journal: {journal.head - 1} events, "
        f"{journal.duplicates} duplicates dropped, {journal.bytes / 2**20:.1f} MiB"
        f"{trouble}{lost}; {now.undecodable} undecodable",
        highlight=False,
    )
    table = tables.table("source", "ready", "workers", "received", "counts", "last error")
    for name, source in now.sources.items():
        counts = " ".join(f"{k}={v}" for k, v in sorted(source.counts.items()))
        ready = "yes" if source.ready else "no"
        workers = f"{sum(one.ready for one in source.workers)}/{len(source.workers)}" if source.workers else "-"
        table.add_row(
            name, ready, workers, str(source.received), counts, _past(source.last_error, source.last_error_at)
        )
    console.print(table)


def _past(error: str, at: float) -> str:
    """Say what went wrong, and when."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z {error}" if error else ""


def verify(
    config: Annotated[Path, typer.Argument(help="The YAML file.", metavar="CONFIG")],
    as_json: Json = False,
) -> None:
    """Recompute the balance of every subscription from the journal; exit code 1 if one does not balance.

    Those that the state knows and the config does not are shown, too, with what they hold. Works while the daemon runs
    and while it does not.

    Example: router verify config/minimal.yaml
    """
    balances = recount(load(config, os.environ))
    if as_json:
        print(msgspec.json.encode({"ok": not any(b.problem for b in balances), "subscriptions": balances}).decode())
    else:
        columns = ("journalled", "delivered", "filtered", "parked", "dead", "pending", "recounted")
        table = tables.table("subscription", *columns, "balance")
        for balance in balances:
            numbers = ["-" if (n := getattr(balance, column)) is None else str(n) for column in columns]
            table.add_row(balance.name, *numbers, balance.problem or ("not in the config" if balance.orphan else "ok"))
        tables.console().print(table)
        for balance in balances:
            for line in balance.offenders:
                print(f"{balance.name}: {line}")
    if any(balance.problem for balance in balances):
        raise typer.Exit(1)

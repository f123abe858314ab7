"""`router status` and `router verify`: how the daemon is, and whether its books balance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from router.admin.status import Status
from router.cli import tables
from router.cli.ask import NoDaemon, ask, ask_for, read
from router.cli.books import books
from router.cli.options import taking
from router.cli.whereabouts import HERE, NotNamed, Place, place_of
from router.config import BadConfig
from router.recount import recount
from router.verify import Balance

PATIENCE = 3600.0
"""Seconds that a daemon may take to recount its journal."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@taking(place=place_of)
def status(place: Place, as_json: Json = False) -> None:
    """Show sources, journal and subscriptions of the running daemon; without CONFIG, of one at 127.0.0.1:9464.

    Example: router status config/minimal.yaml
    """
    reach = (place if place.named else HERE).reach()
    body = ask(reach, "GET", "/status")
    now = read(Status, reach, body)
    if as_json:
        tables.say_json(body)
        return
    _print_sources(now)
    columns = ("journalled", "delivered", "filtered", "parked", "dead", "pending", "in_flight")
    table = tables.table("subscription", *columns, "state", "feed", "last error")
    for name, sub in now.subscriptions.items():
        numbers = [str(getattr(sub, column)) for column in columns]
        state = sub.state if sub.state != "active" or sub.breaker == "closed" else f"breaker {sub.breaker}"
        state = f"{state}, draining" if sub.draining else state
        table.add_row(
            name, *numbers, state, "memory" if sub.live else "journal", _past(sub.last_error[:60], sub.last_error_at)
        )
    tables.show(table)
    if now.orphans:
        table = tables.table("not in the config", "pending", "parked", "dead")
        for name, orphan in now.orphans.items():
            table.add_row(name, str(orphan.pending), str(orphan.parked), str(orphan.dead))
        tables.show(table)


def _print_sources(now: Status) -> None:
    journal = now.journal
    lost = f"; {journal.lost} LOST (see `router journal check`)" if journal.lost else ""
    trouble = f" CANNOT BE WRITTEN: {journal.failing}" if journal.failing else " FULL" if journal.full else ""
    tables.say(
        f"{'ready' if now.ready else 'stopping' if now.stopping else 'NOT READY'}; journal: {journal.head - 1} events, "
        f"{journal.duplicates} duplicates dropped, {journal.bytes / 2**20:.1f} MiB"
        f"{trouble}{lost}; {now.undecodable} undecodable"
    )
    table = tables.table("source", "ready", "workers", "received", "counts", "last error")
    for name, source in now.sources.items():
        counts = " ".join(f"{k}={v}" for k, v in sorted(source.counts.items()))
        ready = "yes" if source.ready else "no"
        workers = f"{sum(one.ready for one in source.workers)}/{len(source.workers)}" if source.workers else "-"
        table.add_row(
            name, ready, workers, str(source.received), counts, _past(source.last_error, source.last_error_at)
        )
    tables.show(table)


def _past(error: str, at: float) -> str:
    """Say what went wrong, and when."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z {error}" if error else ""


@taking(place=place_of)
def verify(place: Place, as_json: Json = False) -> None:
    """Recompute the balance of every subscription from the journal; exit code 1 if one does not balance.

    Those that the state knows and the config does not are shown, too, with what they hold. Works while the daemon runs
    and while it does not. A config with a mistake is left to the daemon, which recounts by the one that it runs by.

    Example: router verify config/minimal.yaml
    """
    balances = _balances(place)
    if as_json:
        found = {"ok": not any(b.problem for b in balances), "subscriptions": balances}
        tables.say_json(msgspec.json.encode(found))
    else:
        columns = ("journalled", "delivered", "filtered", "parked", "dead", "pending", "recounted")
        table = tables.table("subscription", *columns, "balance")
        for balance in balances:
            numbers = ["-" if (n := getattr(balance, column)) is None else str(n) for column in columns]
            table.add_row(balance.name, *numbers, balance.problem or ("not in the config" if balance.orphan else "ok"))
        tables.show(table)
        for balance in balances:
            for line in balance.offenders:
                tables.say(f"{balance.name}: {line}")
    if any(balance.problem for balance in balances):
        raise typer.Exit(1)


def _balances(place: Place) -> list[Balance]:
    """Recount by the config, or, where it cannot be loaded, have the daemon recount by its own."""
    try:
        return recount(place.load())
    except (BadConfig, NotNamed) as error:
        try:
            return ask_for(list[Balance], place.reach(), "/verify", seconds=PATIENCE)
        except (NoDaemon, BadConfig):
            return recount(books(place, error))

"""`router dead`, `pause`, `resume` and `reload`: what an operator does to a running daemon."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from router.admin.controls import Done, Letter, Order, ReloadOrder
from router.cli import tables
from router.cli.ask import ConfigFile, Subscription, address_of, ask
from router.journal import Kind

OnlyKind = Annotated[Kind | None, typer.Option("--kind", help="Only those given up on for this cause.")]

dead = typer.Typer(no_args_is_help=True, help="List, replay or discard the events that a subscription gave up on.")


@dead.command("list")
def dead_list(
    config: ConfigFile,
    subscription: Subscription,
    after: Annotated[int, typer.Option(help="Only those behind this position.")] = 0,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines with the whole events.")] = False,
) -> None:
    """List dead letters: why, after how many tries, since when.

    Example: router dead list config/full.yaml sales/resend
    """
    body = ask(address_of(config), "GET", f"/dead/{quote(subscription)}?after={after}&limit={limit}")
    letters = msgspec.json.decode(body, type=list[Letter])
    if as_json:
        for letter in letters:
            print(msgspec.json.encode(letter).decode())
        return
    table = tables.table("position", "event", "kind", "status", "attempts", "last try", "reason")
    for letter in letters:
        last = datetime.fromtimestamp(letter.last_try, UTC)
        event = msgspec.json.decode(letter.event)["id"]
        numbers = (str(letter.position), event, letter.kind, str(letter.status or "-"), str(letter.attempts))
        table.add_row(*numbers, f"{last:%Y-%m-%d %H:%M:%S}Z", letter.reason[:80])
    tables.console().print(table)


@dead.command("replay")
def dead_replay(
    config: ConfigFile,
    subscription: Subscription,
    kind: OnlyKind = None,
    per_second: Annotated[float, typer.Option(min=0.001, help="How many become due in a second.")] = 100.0,
) -> None:
    """Try dead letters again, with all their tries before them; `router status` shows them as parked meanwhile.

    It goes on after a restart of the daemon, and events keep their ids.

    Example: router dead replay config/full.yaml sales/resend --kind refused --per-second 10
    """
    _do(config, f"/dead/{quote(subscription)}/replay", Order(kind, per_second))


@dead.command("discard")
def dead_discard(config: ConfigFile, subscription: Subscription, kind: OnlyKind = None) -> None:
    """Forget dead letters; the subscription's count of them stays.

    Example: router dead discard config/full.yaml sales/resend --kind exhausted
    """
    _do(config, f"/dead/{quote(subscription)}/discard", Order(kind))


def pause(config: ConfigFile, subscription: Subscription) -> None:
    """Stop delivering to a subscription; its events wait in the journal, also over a restart.

    Example: router pause config/full.yaml sales/resend
    """
    _do(config, f"/pause/{quote(subscription)}", {})


def resume(config: ConfigFile, subscription: Subscription) -> None:
    """Deliver again to a subscription that was paused, or whose destination said that it was gone (410).

    Example: router resume config/full.yaml sales/resend
    """
    _do(config, f"/resume/{quote(subscription)}", {})


def reload(
    config: ConfigFile,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would change.")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Drop what removed subscriptions have not delivered.")] = False,
) -> None:
    """Make the running daemon read its config again; a mistake in it changes nothing.

    Example: router reload config/full.yaml --plan
    """
    _do(config, "/reload", ReloadOrder(drop=drop, plan=plan))


def _do(config: ConfigFile, path: str, order: object) -> None:
    answer = ask(address_of(config), "POST", path, order)
    print(msgspec.json.decode(answer, type=Done).text)

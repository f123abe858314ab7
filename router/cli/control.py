"""`router pause`, `resume` and `reload`: what an operator does to a running daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from router.admin.controls import Done, ReloadOrder
from router.cli.ask import ConfigFile, Json, Subscription, admin_of, ask
from router.config.quantity import seconds


def pause(config: ConfigFile, subscription: Subscription, as_json: Json = False) -> None:
    """Stop delivering to a subscription; its events wait in the journal, also over a restart.

    Example: router pause config/full.yaml sales/resend
    """
    order(config, f"/pause/{quote(subscription)}", {}, as_json=as_json)


def resume(config: ConfigFile, subscription: Subscription, as_json: Json = False) -> None:
    """Deliver again to a subscription that was paused or is held, or whose destination said that it was gone (410).

    What waits for the breaker, or since the destination asked for it, is tried at once; what is parked has its time.
    Example: router resume config/full.yaml sales/resend
    """
    order(config, f"/resume/{quote(subscription)}", {}, as_json=as_json)


def reload(
    config: ConfigFile,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would change.")] = False,
    drain: Annotated[
        str,
        typer.Option(help="Let removed subscriptions deliver what they have, for so long.", metavar="TIME"),
    ] = "",
    drop: Annotated[bool, typer.Option("--drop", help="Drop what removed subscriptions have not delivered.")] = False,
    as_json: Json = False,
) -> None:
    """Make the running daemon read its config again; a mistake in it changes nothing.

    Example: router reload config/full.yaml --drain 10m
    """
    if drain and drop:
        raise typer.BadParameter("--drain delivers what --drop drops: give one of them")
    order(config, "/reload", ReloadOrder(drop=drop, plan=plan, drain=_seconds(drain)), as_json=as_json)


def _seconds(text: str) -> float:
    try:
        return seconds(text) if text else 0.0
    except ValueError as error:
        raise typer.BadParameter(f"--drain {text}: {error} (such as 10m)") from error


def order(config: Path, path: str, wanted: object, *, as_json: bool) -> None:
    """Have the daemon do something, and print what it says."""
    answer = ask(admin_of(config), "POST", path, wanted)
    print(answer.decode() if as_json else msgspec.json.decode(answer, type=Done).text)

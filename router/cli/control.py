"""`router pause`, `resume`, `reload` and `forget-subscription`: what an operator does to a running daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from router.admin.controls import Done, ReloadOrder
from router.cli.ask import ConfigFile, Json, NoDaemon, Subscription, admin_of, ask
from router.config import load
from router.config.plan import subscriptions
from router.config.quantity import seconds
from router.errors import RouterError

PATIENCE = 3600.0
"""Seconds that a reload may take: as long as the `grace` of what it stops."""


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


def forget_subscription(config: ConfigFile, subscription: Subscription, as_json: Json = False) -> None:
    """Drop all that is kept of a subscription that is no longer in the config: its events and dead letters.

    Asks the daemon, or does it in the journal while none runs. `router status` and `router verify` show what there is.

    Example: router forget-subscription config/full.yaml sales/old
    """
    loaded = load(config, os.environ)
    try:
        answer = ask(loaded.admin, "POST", f"/forget/{quote(subscription)}", {})
    except NoDaemon:
        if subscription in {planned.name for planned in subscriptions(loaded)}:
            raise RouterError(f"{subscription} is in the config: take it out, then it can be forgotten") from None
        loaded.journal.forget(Path(loaded.state), subscription)
        answer = msgspec.json.encode(Done(f"{subscription} is forgotten"))
    _print(answer, as_json=as_json)


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

    A subscription that is removed has the `grace` to deliver what it has, if it keeps up; otherwise, and if it has dead
    letters, the reload is refused. With --drain it goes on for so long, and what is left then is kept, and shown by
    `router status`; --drop destroys it. `rename:` in the config takes all to another name.

    Example: router reload config/full.yaml --drain 10m
    """
    if drain and drop:
        raise typer.BadParameter("--drain delivers what --drop drops: give one of them")
    wanted = ReloadOrder(drop=drop, plan=plan, drain=_seconds(drain))
    _print(ask(admin_of(config), "POST", "/reload", wanted, seconds=PATIENCE), as_json=as_json)


def _seconds(text: str) -> float:
    try:
        return seconds(text) if text else 0.0
    except ValueError as error:
        raise typer.BadParameter(f"--drain {text}: {error} (such as 10m)") from error


def order(config: Path, path: str, wanted: object, *, as_json: bool) -> None:
    """Have the daemon do something, and print what it says."""
    _print(ask(admin_of(config), "POST", path, wanted), as_json=as_json)


def _print(answer: bytes, *, as_json: bool) -> None:
    print(answer.decode() if as_json else msgspec.json.decode(answer, type=Done).text)

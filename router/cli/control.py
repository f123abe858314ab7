"""`router pause`, `resume`, `reload` and `forget-subscription`: what an operator does to a running daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from router.admin.controls import Done, ReloadOrder
from router.cli import tables
from router.cli.ask import Json, NoDaemon, Subscription, ask, named, read
from router.cli.options import taking
from router.cli.whereabouts import Place, Reach, place_of
from router.config.plan import subscriptions
from router.config.quantity import seconds
from router.errors import RouterError

PATIENCE = 3600.0
"""Seconds that a reload may take: as long as the `grace` of what it stops."""


@taking(place=place_of)
def pause(place: Place, subscription: Subscription, as_json: Json = False) -> None:
    """Stop delivering to a subscription; its events wait in the journal, also over a restart.

    Example: router pause config/full.yaml sales/resend
    """
    reach = place.reach()
    order(reach, named(reach, "pause", subscription), {}, as_json=as_json)


@taking(place=place_of)
def resume(place: Place, subscription: Subscription, as_json: Json = False) -> None:
    """Deliver again to a subscription that was paused or is held, or whose destination said that it was gone (410).

    What waits for the breaker, or since the destination asked for it, is tried at once; what is parked has its time.
    Example: router resume config/full.yaml sales/resend
    """
    reach = place.reach()
    order(reach, named(reach, "resume", subscription), {}, as_json=as_json)


@taking(place=place_of)
def forget_subscription(place: Place, subscription: Subscription, as_json: Json = False) -> None:
    """Drop all that is kept of a subscription that is no longer in the config: its events and dead letters.

    Asks the daemon, or does it in the journal while none runs. `router status` and `router verify` show what there is.

    Example: router forget-subscription config/full.yaml sales/old
    """
    reach = place.reach()
    try:
        order(reach, named(reach, "forget", subscription), {}, as_json=as_json)
    except NoDaemon:
        loaded = place.load()
        if subscription in {planned.name for planned in subscriptions(loaded)}:
            raise RouterError(f"{subscription} is in the config: take it out, then it can be forgotten") from None
        loaded.journal.forget(Path(loaded.state), subscription)
        _print(Done(f"{subscription} is forgotten"), as_json=as_json)


@taking(place=place_of)
def reload(
    place: Place,
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
    reach = place.reach(silent=True)  # the daemon says what is wrong, if that is in its file
    _print(read(Done, reach, ask(reach, "POST", "/reload", wanted, seconds=PATIENCE)), as_json=as_json)


def _seconds(text: str) -> float:
    try:
        return seconds(text) if text else 0.0
    except ValueError as error:
        raise typer.BadParameter(f"--drain {text}: {error} (such as 10m)") from error


def order(reach: Reach, path: str, wanted: object, *, as_json: bool) -> None:
    """Have the daemon do something, and print what it says."""
    _print(read(Done, reach, ask(reach, "POST", path, wanted)), as_json=as_json)


def _print(done: Done, *, as_json: bool) -> None:
    if as_json:
        tables.say_json(msgspec.json.encode(done))
        return
    for line in done.text.split("\n"):
        tables.say(line)

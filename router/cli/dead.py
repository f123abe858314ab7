"""`router dead`: the events that a subscription gave up on."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
import typer

from router.admin.controls import Choice, Letter, Order
from router.admin.questions import LARGEST
from router.admin.status import Status
from router.cli import tables
from router.cli.ask import Json, Subscription, ask_for, named, read
from router.cli.control import order
from router.cli.options import taking
from router.cli.selection import when
from router.cli.whereabouts import Asking, Place, Reach, place_of
from router.config.nodes import BadText
from router.config.nodes import read as parse
from router.config.problem import BadConfig, Problems
from router.config.walk import Walk
from router.errors import RouterError
from router.journal import Kind


def choice_of(
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only those given up on for this cause.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only those given up on since: 2026-11-24T08:00Z, or 2h ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only those given up on before.")] = None,
    match: Annotated[
        str | None, typer.Option(help="Only those that match, as in a config: '{region: cn-hangzhou}'.")
    ] = None,
    position: Annotated[list[int] | None, typer.Option("--position", help="Only this one; may be given again.")] = None,
) -> Choice:
    """Say which dead letters a command is about."""
    return Choice(
        kind=kind,
        since=None if since is None else when(since),
        until=None if until is None else when(until),
        match=None if match is None else mapping(match),
        positions=None if position is None else frozenset(position),
    )


class Identified(msgspec.Struct, frozen=True):
    """What every event has."""

    id: str


dead = typer.Typer(
    no_args_is_help=True, help="List, show, replay or discard the events that a subscription gave up on."
)


@dead.command("list", cls=Asking)
@taking(place=place_of, choice=choice_of)
def dead_list(
    place: Place,
    subscription: Subscription,
    choice: Choice,
    after: Annotated[int, typer.Option(min=0, max=LARGEST, help="Only those behind this position.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines with the whole events.")] = False,
) -> None:
    """List dead letters: why, after how many tries, since when.

    Example: router dead list config/full.yaml sales/resend --kind refused --since 2h
    """
    query = urlencode({"after": after, "limit": limit, "choose": msgspec.json.encode(choice).decode()})
    reach = place.reach()
    letters = ask_for(list[Letter], reach, f"{named(reach, 'dead', subscription)}?{query}")
    if as_json:
        for letter in letters:
            tables.say_json(msgspec.json.encode(letter))
        return
    table = tables.table("position", "event", "kind", "status", "attempts", "last try", "reason")
    for letter in letters:
        last = datetime.fromtimestamp(letter.last_try, UTC)
        event = read(Identified, reach, letter.event).id
        numbers = (str(letter.position), event, letter.kind, str(letter.status or "-"), str(letter.attempts))
        table.add_row(*numbers, f"{last:%Y-%m-%d %H:%M:%S}Z", letter.reason[:80])
    tables.show(table)


@dead.command("show", cls=Asking)
@taking(place=place_of)
def dead_show(
    place: Place,
    subscription: Subscription,
    position: Annotated[int, typer.Argument(min=1, max=LARGEST, help="As `list` shows it.")],
) -> None:
    """Show a dead letter as JSON: the whole reason, and the event.

    Example: router dead show config/full.yaml sales/resend 4711
    """
    reach = place.reach()
    letter = ask_for(Letter, reach, f"{named(reach, 'dead', subscription)}/{position}")
    tables.say_json(msgspec.json.format(msgspec.json.encode(letter)))


@dead.command("replay", cls=Asking)
@taking(place=place_of, choice=choice_of)
def dead_replay(
    place: Place,
    subscription: Subscription,
    choice: Choice,
    per_second: Annotated[float, typer.Option(min=0.001, help="How many become due in a second.")] = 100.0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until none is parked, and show progress.")] = False,
    as_json: Json = False,
) -> None:
    """Try dead letters again, with all their tries before them; `router status` shows them as parked meanwhile.

    It goes on after a restart of the daemon, and events keep their ids.

    Example: router dead replay config/full.yaml sales/resend --kind refused --per-second 10
    """
    wanted = Order(choice=choice, per_second=per_second)
    reach = place.reach()
    order(reach, f"{named(reach, 'dead', subscription)}/replay", wanted, as_json=as_json)
    if wait:
        _wait_unparked(reach, subscription)


@dead.command("discard", cls=Asking)
@taking(place=place_of, choice=choice_of)
def dead_discard(
    place: Place,
    subscription: Subscription,
    choice: Choice,
    as_json: Json = False,
) -> None:
    """Forget dead letters; the subscription's count of them stays.

    Example: router dead discard config/full.yaml sales/resend --kind exhausted --until 30d
    """
    wanted = Order(choice=choice)
    reach = place.reach()
    order(reach, f"{named(reach, 'dead', subscription)}/discard", wanted, as_json=as_json)


def mapping(text: str) -> dict[str, Any]:
    """Return a match as plain data; its fields and values are checked by the daemon."""
    try:
        root = parse(text)
        problems = Problems("--match", root)
        plain: dict[str, Any] = Walk(problems, os.environ, {}).texts(root, ())
        problems.raise_any()
    except (BadText, BadConfig) as error:
        raise typer.BadParameter("; ".join(str(error).splitlines()), param_hint="--match") from error
    return plain


def _wait_unparked(reach: Reach, subscription: str) -> None:
    """Show how many are parked until none is."""
    while True:
        now = ask_for(Status, reach, "/status").subscriptions.get(subscription)
        if now is None:
            raise RouterError(f"{subscription} is no longer there")
        said = f"{now.parked} parked, {now.delivered} delivered, {now.dead} dead"
        end = "\n" if not now.parked or not sys.stderr.isatty() else "\r"
        print(said.ljust(60), file=sys.stderr, end=end, flush=True)
        if not now.parked:
            return
        time.sleep(1)

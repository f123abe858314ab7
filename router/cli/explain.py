"""`router explain`: what became of one mail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from router import explain as search
from router.admin.explanation import Explanation, Found
from router.cli import tables
from router.cli.ask import Json, NoDaemon, ask_for
from router.cli.books import books
from router.cli.options import taking
from router.cli.whereabouts import Place, place_of
from router.config import BadConfig
from router.terminal import quoted

PATIENCE = 600.0
"""Seconds that a search may take; ten million events take some ten."""


@taking(place=place_of)
def explain(
    place: Place,
    key: Annotated[str, typer.Argument(help="An event id, env_id, Message-ID, recipient, or any field's exact text.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Events at most, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """Say what became of a mail: its results, and the way of each through every subscription.

    Searches the whole journal, newest first; asks the daemon, or reads its journal while none runs. Exit code 1 if
    nothing is found.

    Example: router explain config/full.yaml someone@example.com
    """
    told = _told(place, key, limit)
    if as_json:
        tables.say_json(msgspec.json.encode(told))
    else:
        _print(told)
    if not told.found:
        raise typer.Exit(1)


def _told(place: Place, key: str, limit: int) -> Explanation:
    try:
        # half a character is in no field; it is sent as what it came from
        path = f"/explain?key={quote(key, safe='', errors='surrogateescape')}&limit={limit}"
        return ask_for(Explanation, place.reach(), path, seconds=PATIENCE)
    except (NoDaemon, BadConfig) as error:
        return search.explain(books(place, error), key, limit=limit)


def _print(told: Explanation) -> None:
    for found in told.found:
        tables.say(_headline(found))
        fields: dict[str, object] = msgspec.json.decode(found.event)
        said = (f"{name}={quoted(str(value))}" for name, value in fields.items() if value not in ("", None))
        tables.say_folded("  ".join(said))
        table = tables.table("subscription", "fate", "why")
        for way in found.ways:
            table.add_row(way.subscription, way.fate, way.text)
        tables.show(table)
    if told.more:
        tables.say("there are older ones, too (--limit)")
    if not told.found:
        kept = f"positions {told.tail} to {told.head - 1}" if told.head > told.tail else "nothing"
        text = f"nothing found: the journal keeps {kept}; it never came in, or is no longer kept (`retention`)"
        tables.say(text)


def _headline(found: Found) -> str:
    received = datetime.fromtimestamp(found.received, UTC)
    kept = "" if found.kept else " (no longer in the journal)"
    return f"position {found.position}, received {received:%Y-%m-%d %H:%M:%S}Z by {found.source}{kept}"

"""`router explain`: what became of one mail."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer
from rich.console import Console

from router import explain as search
from router.admin.explanation import Explanation, Found
from router.cli import tables
from router.cli.ask import ConfigFile, Json, NoDaemon, ask
from router.config import load

PATIENCE = 600.0
"""Seconds that a search may take; ten million events take some ten."""


def explain(
    config: ConfigFile,
    key: Annotated[str, typer.Argument(help="An event id, env_id, Message-ID, recipient, or any field's exact text.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Events at most, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """Say what became of a mail: its results, and the way of each through every subscription.

    Searches the whole journal, newest first; asks the daemon, or reads its journal while none runs. Exit code 1 if
    nothing is found.

    Example: router explain config/full.yaml someone@example.com
    """
    loaded = load(config, os.environ)
    try:
        path = f"/explain?key={quote(key, safe='')}&limit={limit}"
        told = msgspec.json.decode(ask(loaded.admin, "GET", path, seconds=PATIENCE), type=Explanation)
    except NoDaemon:
        told = search.explain(loaded, key, limit=limit)
    if as_json:
        print(msgspec.json.encode(told).decode())
    else:
        _print(tables.console(), told)
    if not told.found:
        raise typer.Exit(1)


def _print(console: Console, told: Explanation) -> None:
    for found in told.found:
        console.print(_headline(found), highlight=False, markup=False)
        fields: dict[str, object] = msgspec.json.decode(found.event)
        said = "  ".join(f"{name}={value}" for name, value in fields.items() if value not in {"", None})
        console.print(f"  {said}", highlight=False, markup=False)
        table = tables.table("subscription", "fate", "why")
        for way in found.ways:
            table.add_row(way.subscription, way.fate, tables.plain(way.text))
        console.print(table)
    if told.more:
        console.print("there are older ones, too (--limit)", highlight=False)
    if not told.found:
        kept = f"positions {told.tail} to {told.head - 1}" if told.head > told.tail else "nothing"
        text = f"nothing found: the journal keeps {kept}; it never came in, or is no longer kept (`retention`)"
        console.print(text, highlight=False, markup=False)


def _headline(found: Found) -> str:
    received = datetime.fromtimestamp(found.received, UTC)
    kept = "" if found.kept else " (no longer in the journal)"
    return f"position {found.position}, received {received:%Y-%m-%d %H:%M:%S}Z by {found.source}{kept}"

"""Ask an emulator that runs, over its JSON API, and print what it says."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router import RouterError, harmless, harmless_json

_REFUSED = 400


def ask(at: str, method: str, path: str, order: Mapping[str, Any] | None = None) -> Any:
    """Return the emulator's answer from JSON, None when it is empty; errors as `answer`."""
    with answer(at, method, path, order) as response:
        text = response.read()
    return json.loads(text) if text else None


@contextmanager
def answer(
    at: str, method: str, path: str, order: Mapping[str, Any] | None = None
) -> Generator[http.client.HTTPResponse]:
    """Ask the emulator at ADDRESS:PORT; raises `RouterError` when nobody answers there, or when it refuses."""
    host, _, port = at.rpartition(":")
    body = None if order is None else json.dumps(order)
    try:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=60)
    except ValueError as error:
        raise RouterError(f"--at {at} is no ADDRESS:PORT") from error
    try:
        connection.request(method, f"/emulator{path}", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        refusal = json.loads(response.read())["message"] if response.status >= _REFUSED else None
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        connection.close()
        raise RouterError(f"no emulator answers at {at}: {error}") from error
    try:
        if refusal is not None:
            raise RouterError(refusal)
        yield response
    finally:
        connection.close()


def show(value: Any) -> None:
    """Print JSON over several lines."""
    typer.echo(harmless_json(json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "replace")))


def lines(rows: Sequence[Any]) -> None:
    """Print one JSON object a line."""
    for row in rows:
        typer.echo(harmless_json(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")))


def table(rows: Sequence[Any], columns: Mapping[str, Callable[[Any], object]]) -> None:
    """Print these columns of the rows; texts of the wire are never read as markup."""
    if not rows:
        typer.echo("none")
        return
    table = Table()
    for name in columns:
        table.add_column(name, overflow="fold")  # a name that is cut off cannot be copied
    for row in rows:
        table.add_row(*(_cell(str(shown(row))) for shown in columns.values()))
    Console().print(table)


def _cell(text: str) -> Text:
    """Return a cell whose lines are ours, and nothing in them acts on the terminal."""
    return Text("\n".join(map(harmless, text.split("\n"))))

"""Asking a running daemon: address and token from a config, one question over the admin API, errors in one line."""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from router.config import Admin, load
from router.errors import RouterError

ConfigFile = Annotated[Path, typer.Argument(help="The YAML file; names the admin address.", metavar="CONFIG")]
Subscription = Annotated[str, typer.Argument(help="department/name", metavar="SUB")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

SECONDS = 60.0
"""Seconds that an answer may take."""


class NoDaemon(RouterError):
    """Nobody answers at the admin address."""


def admin_of(config: Path) -> Admin:
    """Return where the admin API of a config is, and its token."""
    return load(config, os.environ).admin


def ask(admin: Admin, method: str, path: str, order: object = None, seconds: float = SECONDS) -> bytes:
    """Return the answer's body; raises `NoDaemon`, or `RouterError` with what the daemon says."""
    host, _, port = admin.listen.rpartition(":")
    body = None if order is None else msgspec.json.encode(order)
    headers = {"Content-Type": "application/json"} if body else {}
    if admin.token is not None:
        headers["Authorization"] = f"Bearer {admin.token}"
    try:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=seconds)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = f"no daemon answers at {admin.listen}: {error} (is it running? see `admin: listen:`)"
        raise NoDaemon(text) from error
    if response.status >= http.client.BAD_REQUEST:
        raise RouterError(answer.decode(errors="replace").strip() or f"the daemon answered {response.status}")
    return answer

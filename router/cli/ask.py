"""Asking a running daemon: the address from a config, one question over the admin API, errors in one line."""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from router.config import load
from router.errors import RouterError

ConfigFile = Annotated[Path, typer.Argument(help="The YAML file; names the admin address.", metavar="CONFIG")]
Subscription = Annotated[str, typer.Argument(help="department/name", metavar="SUB")]


def address_of(config: Path) -> str:
    """Return the admin address that a config names."""
    return load(config, os.environ).admin.listen


def ask(address: str, method: str, path: str, order: object = None) -> bytes:
    """Return the answer's body; raises `RouterError` with what the daemon says, or if nobody answers."""
    host, _, port = address.rpartition(":")
    body = None if order is None else msgspec.json.encode(order)
    try:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RouterError(f"no daemon answers at {address}: {error} (is it running? see `admin: listen:`)") from error
    if response.status >= http.client.BAD_REQUEST:
        raise RouterError(answer.decode(errors="replace").strip() or f"the daemon answered {response.status}")
    return answer

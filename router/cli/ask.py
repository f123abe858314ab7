"""Asking a running daemon: one question over the admin API, errors in one line."""

from __future__ import annotations

import http.client
import re
from typing import Annotated, TypeVar
from urllib.parse import quote

import msgspec
import typer

from router.admin.questions import OF_CONFIG
from router.admin.status import Status
from router.cli.whereabouts import TOKEN, Reach
from router.errors import RouterError
from router.hint import unknown_subscription

Subscription = Annotated[str, typer.Argument(help="department/name", metavar="SUB")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

SECONDS = 60.0
"""Seconds that an answer may take."""
LONGEST = 4_000
"""Characters of an error that are shown."""

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*")


class NoDaemon(RouterError):
    """Nobody answers at the admin address."""


class ConfigRefused(RouterError):
    """The daemon says what is wrong with its config file."""


def ask(reach: Reach, method: str, path: str, order: object = None, seconds: float = SECONDS) -> bytes:
    """Return the answer's body; raises `NoDaemon`, `ConfigRefused`, or `RouterError` with what the daemon says."""
    status, answer, of_config = _exchange(reach, method, path, order, seconds)
    if status < http.client.BAD_REQUEST:
        return answer
    said = answer.decode(errors="replace").strip()[:LONGEST] or f"the daemon answered {status}"
    if of_config:
        raise ConfigRefused(said)
    hint = f" (put it into ${TOKEN})" if status == http.client.UNAUTHORIZED else ""
    raise RouterError(f"{said}{hint}")


def ask_for(kind: type[T], reach: Reach, path: str, seconds: float = SECONDS) -> T:
    """Return what a GET answers; raises as `ask` does."""
    return read(kind, reach, ask(reach, "GET", path, seconds=seconds))


def read(kind: type[T], reach: Reach, answer: bytes) -> T:
    """Return what an answer says; raises `RouterError` if no daemon like this one has made it."""
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        text = f"what answers at {reach} is no router's admin API, or one of another version: {error}"
        raise RouterError(text) from error


def named(reach: Reach, kind: str, subscription: str) -> str:
    """Return the path of a question about a subscription; raises `RouterError` if none can have such a name."""
    if not _NAME.fullmatch(subscription):
        known = ask_for(Status, reach, "/status")
        raise RouterError(unknown_subscription(subscription, [*known.subscriptions, *known.orphans]))
    return f"/{kind}/{quote(subscription)}"


def _exchange(reach: Reach, method: str, path: str, order: object, seconds: float) -> tuple[int, bytes, bool]:
    body = None if order is None else msgspec.json.encode(order)
    headers = {"Content-Type": "application/json"} if body else {}
    if reach.token is not None:
        headers["Authorization"] = f"Bearer {reach.token}"
    try:
        connection = http.client.HTTPConnection(reach.host, reach.port, timeout=seconds)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(), OF_CONFIG in response.headers
        finally:
            connection.close()
    except TimeoutError as error:
        raise NoDaemon(f"the daemon at {reach} does not answer within {seconds:g} s (it may hang)") from error
    except UnicodeEncodeError as error:
        raise RouterError(f"the token for {reach} has characters that no header can have") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = f"no daemon answers at {reach}: {error} (is it running? see `admin: listen:`)"
        raise NoDaemon(text) from error

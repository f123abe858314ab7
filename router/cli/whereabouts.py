"""Where the daemon is that a command is about: as its state folder notes it, or as its config or an option says.

A command needs no perfect config for that, nor one at all. What counts is, in this order: `--admin`; the note that the
daemon keeps in its state folder as long as it runs, which the config or `--state` leads to; the config's `admin:`. The
token is that of the environment, else it comes with the address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer
from typer.core import TyperCommand

from router.admin import note
from router.cli import tables
from router.config import Admin, BadConfig, Config, Problem, load
from router.config.lenient import Glimpse, glimpse
from router.errors import RouterError

TOKEN = "ROUTER_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
HIGHEST_PORT = 65_535
LOOPBACK = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound, but asked
"""Where a daemon is reached that listens everywhere."""

_SUBSCRIPTION = re.compile(r"[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*")


class Reach(msgspec.Struct, frozen=True):
    """A daemon's admin API: where it is asked, and with which token."""

    host: str
    port: int
    token: str | None = None

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def reach_of(address: str, token: str | None) -> Reach:
    """Return where `HOST:PORT` or `http://HOST:PORT` is; raises `RouterError`."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    plain = parts.scheme == "http" and parts.path in {"", "/"} and not (parts.query or parts.fragment or parts.username)
    if not plain or not port:
        raise RouterError(f"{address} is no address of an admin API (write HOST:PORT, such as 127.0.0.1:9464)")
    return Reach(LOOPBACK.get(host, host), port, os.environ.get(TOKEN) or token)


class NotNamed(RouterError):
    """No config was named, and it is needed."""


class Place:
    """Where a command was told to look."""

    def __init__(self, config: Path | None, admin: str = "", state: Path | None = None) -> None:
        self.config = config
        self._admin = admin
        self.state = state
        self._said = False

    @property
    def named(self) -> bool:
        """Whether anything was said."""
        return bool(self.config or self._admin or self.state)

    def reach(self, *, silent: bool = False) -> Reach:
        """Return where the daemon is asked; raises `BadConfig` or `RouterError` if nothing says so.

        Unless it is to be silent, a mistake in the config is mentioned, for it does not matter here.
        """
        self._said = self._said or silent
        seen = glimpse(self.config, os.environ) if self.config else None
        if self._admin:
            return reach_of(self._admin, self._token_for(self._admin, seen))
        for state in self.states(seen):
            if found := note.read(state):
                self.mention(seen.problems if seen else ())
                return reach_of(found.listen, found.token)
        if seen is None:
            where = f"no daemon has {self.state}" if self.state else "which daemon is meant?"
            raise RouterError(f"{where} (name its CONFIG, or --admin HOST:PORT, or the --state folder that it runs on)")
        if seen.unread or seen.listen is None:
            raise BadConfig(seen.problems)
        self.mention(seen.problems)
        return reach_of(seen.listen, seen.token)

    def mention(self, problems: Sequence[Problem]) -> None:
        """Say once that the config has a mistake, which does not keep a command from what it does."""
        if problems and not self._said:
            self._said = True
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            tables.tell(f"router: {problems[0]}{more}; this goes on without what has a mistake")

    def load(self) -> Config:
        """Load the config; raises `BadConfig`, or `RouterError` if none was named."""
        if self.config is None:
            raise NotNamed("this needs the CONFIG while no daemon answers (router COMMAND CONFIG ...)")
        return load(self.config, os.environ)

    def states(self, seen: Glimpse | None) -> list[Path]:
        """Return the folders that may be the state folder."""
        if self.state:
            return [self.state]
        if seen is None or self.config is None:
            return []
        return [self.config.parent / (seen.state or "state")]

    def _token_for(self, address: str, seen: Glimpse | None) -> str | None:
        """Return the token that is known of a daemon at an address that was named."""
        for state in self.states(seen):
            if (found := note.read(state)) and str(reach_of(found.listen, None)) == str(reach_of(address, None)):
                return found.token
        return seen.token if seen else None


HERE = Place(None, Admin().listen)
"""Where a daemon is that nobody told to be elsewhere."""


def place_of(
    config: Annotated[
        str, typer.Argument(help="The YAML file of the daemon; not needed with --admin or --state.", metavar="CONFIG")
    ] = "",
    admin: Annotated[
        str, typer.Option(help="Where its admin API is, HOST:PORT; the token is in $ROUTER_ADMIN_TOKEN.")
    ] = "",
    state: Annotated[
        Path | None, typer.Option(help="Its state folder, where it notes both as long as it runs.")
    ] = None,
) -> Place:
    """Say which daemon a command is about."""
    return Place(Path(config) if config else None, admin, state)


class Asking(TyperCommand):
    """A command whose first argument, the CONFIG, need not be there where an option says which daemon is meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put an empty CONFIG before the others where it is not there."""
        if self._lacks_config(ctx, args):
            args = ["", *args]
        return super().parse_args(ctx, args)

    def _lacks_config(self, ctx: Any, args: list[str]) -> bool:
        names = [one.name for one in self.params if one.param_type_name == "argument"]
        if names[:1] != ["config"] or len(names) == 1:
            return False
        given = self.make_parser(ctx).parse_args(list(args))[0]
        if not (given.get("admin") or given.get("state")):
            return False
        first, last = given.get("config"), given.get(names[-1])
        if last is not None:
            return False
        required = any(one.required for one in self.params if one.name == names[-1])
        return required or bool(first and _SUBSCRIPTION.fullmatch(first) and not Path(first).exists())

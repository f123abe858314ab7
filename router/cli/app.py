"""The commands put together, and how their errors end: one line each, and stable exit codes.

Exit codes: 0 done; 1 it failed; 2 wrong usage; 70 a plugin did not end with the daemon; 78 a bad config (sysexits.h).
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points, version
from typing import Annotated

import typer
from typer.exceptions import TyperException

from router.cli import control, dead, decode, doctor, explain, inspect, journal, replay, run, tables, trial
from router.cli.ask import ConfigRefused
from router.cli.endings import BAD_CONFIG, FAILED, leaves
from router.cli.logs import configure, secure_streams
from router.cli.streams import secure_output
from router.cli.whereabouts import Asking
from router.config import BadConfig
from router.errors import ConfigError, RouterError

OURS: dict[str, Callable[..., None] | typer.Typer] = {
    "dead": dead.dead,
    "explain": explain.explain,
    "pause": control.pause,
    "resume": control.resume,
    "replay": replay.replay,
    "test": trial.trial,
    "reload": control.reload,
    "forget-subscription": control.forget_subscription,
    "run": run.run,
    "check": run.check,
    "status": inspect.status,
    "verify": inspect.verify,
    "journal": journal.journal,
    "decode": decode.decode,
    "doctor": doctor.doctor,
}


def build(command: str) -> typer.Typer:
    """Return the application; the commands of plugins are loaded unless one of ours is asked for."""
    app = typer.Typer(
        name="router",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Route the delivery results of Alibaba Cloud DirectMail to the departments that want them.",
    )
    app.callback()(_options)
    for name, ours in OURS.items():
        _add(app, name, ours)
    if command not in OURS:
        for entry in sorted(entry_points(group="router.commands"), key=lambda e: e.name):
            _add(app, entry.name, entry.load())
    return app


def _add(app: typer.Typer, name: str, command: Callable[..., None] | typer.Typer) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name=name, cls=Asking)(command)


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        tables.say(f"router {version('directmail-router')} ({python}, {platform.platform()})")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is, and end."),
    ] = False,
) -> None:
    """Take what is said before the command."""


def main() -> None:
    """Run the command line."""
    secure_streams()
    secure_output()
    configure("info")
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run a command; return its exit code, when all that it printed is written."""
    code = 0
    try:
        code = build(arguments[0] if arguments else "")(arguments, prog_name="router", standalone_mode=False) or 0
        sys.stdout.flush()
    except* RouterError as group:
        code = _said(leaves(group))
    except* TyperException as group:
        code = _misused(leaves(group))
    except* (BrokenPipeError, typer.Abort):
        sys.stderr.close()  # the reader of our output has gone: nothing more to say, and nobody to say it to
        code = code or FAILED
    return code


def _said(errors: Sequence[BaseException]) -> int:
    """Say what went wrong, a line each; return the exit code for it."""
    for error in errors:
        first, *others = str(error).split("\n")
        tables.tell(f"router: {first}")
        for line in others:
            tables.tell(line if isinstance(error, BadConfig) else f"  {line}")  # an editor jumps to a mistake's line
    return BAD_CONFIG if any(isinstance(e, ConfigError | BadConfig | ConfigRefused) for e in errors) else FAILED


def _misused(errors: Sequence[BaseException]) -> int:
    """Say how a command cannot be used; return the exit code for it."""
    code = FAILED
    for error in errors:
        assert isinstance(error, TyperException)
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context else ""
        code = error.exit_code
        tables.tell(f"router: {error.format_message()}{hint}")
    return code

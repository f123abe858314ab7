"""The commands put together, and how their errors end: one line each, and stable exit codes.

Exit codes: 0 done; 1 it failed; 2 wrong usage; 70 a plugin did not end with the daemon; 78 a bad config (sysexits.h).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

import typer

from router.cli import control, dead, decode, doctor, explain, inspect, journal, replay, run, trial
from router.cli.endings import BAD_CONFIG, FAILED, leaves
from router.cli.logs import configure, secure_streams
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
        app.command(name=name)(command)


def main() -> None:
    """Run the command line."""
    secure_streams()
    configure("info")
    code = 0
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else "")()
    except* RouterError as group:
        code = _said(leaves(group))
    except* BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nothing more to say, and nobody to say it to
        code = code or FAILED
    sys.exit(code)


def _said(errors: Sequence[BaseException]) -> int:
    """Say what went wrong, a line each; return the exit code for it."""
    for error in errors:
        print(f"router: {error}", file=sys.stderr)
    return BAD_CONFIG if any(isinstance(e, ConfigError | BadConfig) for e in errors) else FAILED

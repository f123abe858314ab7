"""The command `router`; one file per group of commands, and those that plugins bring."""

from __future__ import annotations

import sys

from router.cli.early import remember

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


def main() -> None:
    """Run the command line; signals to a daemon that is starting wait until it can obey them."""
    if sys.argv[1:2] == ["run"]:
        remember()
    try:
        from router.cli.app import main as run  # noqa: PLC0415 - importing it takes half a second

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


__all__ = ["main"]

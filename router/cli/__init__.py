"""The command `router`; one file per group of commands, and those that plugins bring."""

from router.cli.app import main

__all__ = ["main"]

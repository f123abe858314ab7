"""How the commands print tables: plain rules, and wide enough where no terminal says how wide it is."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH = 160


def console() -> Console:
    """Return a console for standard output."""
    made = Console()
    return made if made.is_terminal else Console(width=_WIDTH)


def errors() -> Console:
    """Return a console for standard error."""
    return Console(stderr=True)


def table(name: str, *columns: str) -> Table:
    """Return an empty table whose first column, the name, is never cut."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column(name, no_wrap=True)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def plain(text: str) -> Text:
    """Return a cell that shows a text as it is: brackets in what others wrote are no markup."""
    return Text(text)

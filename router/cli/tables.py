"""How the commands print: tables, lines and JSON, in which no text of others acts on the terminal (`router.terminal`).

Nothing else of the commands writes to standard output, so that none of them can forget it. Tables have plain rules, and
are wide enough where no terminal says how wide it is.
"""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from router.terminal import harmless, harmless_json

_WIDTH = 160


class Rows(Table):
    """A table whose cells show texts as they are: brackets and colons in what others wrote are no markup."""

    def add_row(self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False) -> None:
        """Add a row; what is a text is made harmless."""
        shown = (Text(harmless(cell)) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*shown, style=style, end_section=end_section)


def console() -> Console:
    """Return a console for standard output."""
    made = Console()
    return made if made.is_terminal else Console(width=_WIDTH)


def errors() -> Console:
    """Return a console for standard error."""
    return Console(stderr=True)


def table(name: str, *columns: str) -> Rows:
    """Return an empty table whose first column, the name, is never cut."""
    made = Rows(box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column(name, no_wrap=True)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(made: Rows) -> None:
    """Print a table."""
    console().print(made)


def say(text: str) -> None:
    """Print one line."""
    print(harmless(text))


def say_folded(text: str, indent: int = 2) -> None:
    """Print a long line folded at the width of the console, all of it indented: nothing in it begins a row."""
    console().print(Padding(Text(harmless(text)), (0, 0, 0, indent)))


def tell(text: str) -> None:
    """Print a line to standard error."""
    print(harmless(text), file=sys.stderr, flush=True)


def say_json(document: bytes) -> None:
    """Print a JSON document, which has no line ends but its own."""
    sys.stdout.write(harmless_json(document).removesuffix("\n") + "\n")

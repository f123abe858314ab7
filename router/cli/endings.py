"""How commands end: their errors one by one, and stable exit codes.

Nothing is raised inside an `except*`, nor is there an exit: CPython 3.11.2, which is Debian 12's, wraps it into a group
there, and an exit in a group is a traceback and exit code 1.
"""

from __future__ import annotations

from typing import cast

BAD_CONFIG = 78
FAILED = 1


def leaves(error: BaseException) -> list[BaseException]:
    """Return the errors of a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [leaf for inner in group.exceptions for leaf in leaves(inner)]
    return [error]

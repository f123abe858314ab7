"""How commands end: their errors one by one, and stable exit codes.

Nothing is raised inside an `except*`, nor is there an exit: CPython 3.11.2, which is Debian 12's, wraps it into a group
there, and an exit in a group is a traceback and exit code 1.
"""

from __future__ import annotations

from router.errors import leaves

__all__ = ["BAD_CONFIG", "FAILED", "leaves"]

BAD_CONFIG = 78
FAILED = 1

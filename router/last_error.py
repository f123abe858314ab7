"""The last error of a part that goes on by itself, and since when; there is none as soon as it works again."""

from __future__ import annotations

import msgspec


class LastError(msgspec.Struct, frozen=True):
    """What went wrong last; `at` is in Unix seconds."""

    text: str
    at: float

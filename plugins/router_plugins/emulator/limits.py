"""Numbers that come as text, within their limits."""

from __future__ import annotations

import re

from router_plugins.emulator.errors import ServiceError

_DIGITS = re.compile("[0-9]{1,9}")


def whole_number(text: str, name: str, low: int, high: int, *, code: str = "InvalidArgument") -> int:
    """Return the number, or raise `code` naming it and its limits, both of which it may reach."""
    if _DIGITS.fullmatch(text) is None or not low <= int(text) <= high:
        raise ServiceError(code, f"{name} must be a number from {low} to {high}.")
    return int(text)

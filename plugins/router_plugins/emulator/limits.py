"""Numbers that come as text, within their limits."""

from __future__ import annotations

import re

from router_plugins.emulator.errors import ServiceError

_UNITS = {
    **dict.fromkeys(
        ("delayseconds", "visibilitytimeout", "pollingwaitseconds", "messageretentionperiod", "waitseconds"), " seconds"
    ),
    "maximummessagesize": " bytes",
}

_DIGITS = re.compile("[0-9]{1,9}")


def whole_number(text: str, name: str, low: int, high: int, *, in_query: bool = False) -> int:
    """Return the number, or raise `InvalidArgument`, or `InvalidQueryString`, naming it and its limits.

    It may reach both limits.
    """
    if _DIGITS.fullmatch(text) is not None and low <= int(text) <= high:
        return int(text)
    words = out_of_range(name, low, high)
    if in_query:
        raise ServiceError(
            "InvalidQueryString", f'Http request URL contains invalid querystring item "{name}". {words}'
        )
    raise ServiceError("InvalidArgument", words)


def out_of_range(name: str, low: int, high: int) -> str:
    """Say it in the words of the service."""
    return f"The value of {name} should between {low} and {high}{_UNITS.get(name.lower(), '')}."

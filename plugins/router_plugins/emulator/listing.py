"""Lists of queues, topics and subscriptions, a page at a time (PROTOCOL 1.2, 1.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from router_plugins.emulator import xml
from router_plugins.emulator.limits import whole_number

_MOST = 1000


def page(
    names: Iterable[str],
    headers: Mapping[str, str],
    entry: Callable[[str], xml.Node],
) -> xml.Nodes:
    """Write the entries that `x-mns-prefix`, `x-mns-marker` and `x-mns-ret-number` ask for.

    The marker is the first name of the next page, and is left out when there is none: an empty one breaks
    the Python SDK.
    """
    most = whole_number(headers.get("x-mns-ret-number", str(_MOST)), "x-mns-ret-number", 1, _MOST)
    prefix, marker = headers.get("x-mns-prefix", ""), headers.get("x-mns-marker", "")
    wanted = sorted(name for name in names if name.startswith(prefix) and name >= marker)
    shown, rest = wanted[:most], wanted[most:]
    return [*map(entry, shown), *([xml.leaf("NextMarker", rest[0])] if rest else ())]


def with_meta(headers: Mapping[str, str]) -> bool:
    """Say whether the caller wants the attributes in the list too."""
    return headers.get("x-mns-with-meta", "").lower() == "true"

"""What is asked over the admin API, read: numbers and orders within bounds, and names; or it is said what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from router.errors import RouterError
from router.hint import nearest, unknown_subscription

LARGEST = 2**63 - 1
"""What the journal can count to."""
DIGITS = 19
"""Of the largest."""
SHOWN = 40
"""Characters of what is wrong that are quoted."""
OF_SUBSCRIPTIONS = frozenset({"dead", "forget", "pause", "replays", "resume"})
PATHS = OF_SUBSCRIPTIONS | {"explain", "health", "metrics", "ready", "reload", "status", "verify"}

OF_CONFIG = "X-Config-Mistake"
"""The header that tells a refusal for mistakes in the config's file from all others."""

T = TypeVar("T")


class Unclear(RouterError):
    """A question that cannot be understood."""


def number(texts: Mapping[str, str], name: str, default: int) -> int:
    """Return the number of a name, from 0 to the largest position there can be; raises `Unclear`."""
    text = texts.get(name, str(default))
    if not (text.isascii() and text.isdecimal()):
        raise Unclear(f"{name}={_short(text)} is not a number")
    digits = text.lstrip("0") or "0"
    if len(digits) > DIGITS or int(digits) > LARGEST:
        raise Unclear(f"{name}={_short(text)} is too large (at most {LARGEST})")
    return int(digits)


def decoded(text: str | bytes, kind: type[T], name: str) -> T:
    """Return what JSON says; raises `Unclear`."""
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError as error:
        raise Unclear(f"{name}: nested too deep") from error
    except (msgspec.DecodeError, ValueError) as error:  # ValueError: bytes that are no UTF-8
        raise Unclear(f"{name}: {error}") from error


def astray(path: str, subscriptions: Iterable[str]) -> str:
    """Return what is said of a path that leads nowhere: the nearest subscription, or path, that there is."""
    first, _, name = path.strip("/").partition("/")
    if first in OF_SUBSCRIPTIONS:
        return unknown_subscription(name, subscriptions)
    return f"nothing is at {_short(path)} ({nearest(first, PATHS)})"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."

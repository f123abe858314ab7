"""Durations and sizes: a number with a unit."""

from __future__ import annotations

import re
from collections.abc import Mapping

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
BYTES = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")


def seconds(text: str) -> float:
    """Return the seconds of `90s` or `1.5h`; a plain number is seconds. Raises `ValueError` with the likely fix."""
    number, factor = _split(text, SECONDS)
    return float(number * factor)


def size(text: str) -> int:
    """Return the bytes of `20GiB`, rounded; a plain number is bytes. Raises `ValueError` with the likely fix."""
    number, factor = _split(text, BYTES)
    return round(number * factor)


def _split(text: str, units: Mapping[str, float]) -> tuple[float, float]:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError("write a number and a unit, without a sign")
    number, unit = found.groups()
    if unit and unit not in units:
        close = next((known for known in units if known.lower() == unit.lower()), None)
        raise ValueError(f"did you mean `{number}{close}`?" if close else f"units: {' '.join(units)}")
    return float(number) if "." in number else int(number), units.get(unit, 1)

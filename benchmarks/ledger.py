"""The ledger: what was answered against what arrived, by the numbers of the results."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_NUMBER = re.compile(rb'env_id(?:=|%3D|"\s*:\s*"?)(\d+)')
"""The number of a result, in the text, in JSON and in an urlencoded form."""


class Ledger(NamedTuple):
    """`lost`: answered and not arrived; `twice`: copies beyond the first; `lines`: all that arrived.

    What arrived without having been answered is no fault: the answer to the last requests may be lost to us.
    """

    lost: int
    twice: int
    lines: int

    def figures(self) -> dict[str, float]:
        """Return the columns of `LEDGER`."""
        return {"lost": self.lost, "twice": self.twice}


def numbers_of(text: bytes | mmap.mmap) -> list[int]:
    """Return the numbers of all results in a text."""
    return [int(number) for number in _NUMBER.findall(text)]


def numbers_in(path: Path) -> list[int]:
    """Return the numbers of all results in a file; none where there is no file."""
    if not path.exists() or not path.stat().st_size:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return numbers_of(text)


def reconcile(answered: Iterable[int], destinations: Iterable[Iterable[int]]) -> Ledger:
    """Compare what was answered with what arrived at each destination that should have all of it."""
    expected = set(answered)
    lost = twice = lines = 0
    for numbers in destinations:
        arrived = list(numbers)
        once = set(arrived)
        lost += len(expected - once)
        twice += len(arrived) - len(once)
        lines += len(arrived)
    return Ledger(lost, twice, lines)

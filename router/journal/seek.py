"""Where in a journal a moment is: the position of the first event that was stored at or after it. Pure.

A search asks for the times of some positions, and is sent them; so it serves readers that wait and readers that do not.
Times are those of the wall clock when an event was stored: where that was set back, they are not quite in order.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, TypeAlias

WAYS = 32
"""Positions that are asked for at once."""

Times: TypeAlias = Sequence[float | None]
"""When what is at some positions was stored, in Unix seconds; None at the head."""


def seek(tail: int, head: int, moment: float) -> Generator[Sequence[int], Times, int]:
    """Search from the tail to the head; returns the head if nothing was stored since."""
    low, high = tail, head
    while low < high:
        places = range(low, high, max(1, (high - low) // WAYS))
        times = yield places
        later = (index for index, at in enumerate(times) if at is None or at >= moment)
        found = next(later, len(places))
        high = places[found] if found < len(places) else high
        low = places[found - 1] + 1 if found else low
        if found == 0:
            return high
    return high


async def seek_waiting(
    tail: int, head: int, moment: float, stored_at: Callable[[Sequence[int]], Coroutine[Any, Any, Times]]
) -> int:
    """Search in a partition."""
    search = seek(tail, head, moment)
    try:
        places = next(search)
        while True:
            places = search.send(await stored_at(places))
    except StopIteration as done:
        return int(done.value)


def seek_now(tail: int, head: int, moment: float, stored_at: Callable[[Sequence[int]], Times]) -> int:
    """Search in an inspection."""
    search = seek(tail, head, moment)
    try:
        places = next(search)
        while True:
            places = search.send(stored_at(places))
    except StopIteration as done:
        return int(done.value)

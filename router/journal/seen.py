"""The duplicate window: which event ids were journalled within the last so many seconds.

Ids are kept in generations, each a slice of the window; forgetting is dropping the oldest slice whole.
"""

from __future__ import annotations

from collections import deque

_GENERATIONS = 8


class Seen:
    """Remembers ids for `window` seconds, and for up to an eighth of it longer."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._generations: deque[tuple[float, set[bytes]]] = deque()

    def __contains__(self, key: bytes) -> bool:
        return any(key in ids for _, ids in self._generations)

    def __len__(self) -> int:
        return sum(len(ids) for _, ids in self._generations)

    def add(self, keys: list[bytes], now: float) -> None:
        """Remember the ids as seen at `now` (Unix seconds), and forget the generations that are too old."""
        if not self._window:
            return
        generations = self._generations
        if not generations or now >= generations[-1][0] + self._window / _GENERATIONS:
            generations.append((now, set()))
            while len(generations) > 1 and generations[1][0] < now - self._window:
                generations.popleft()
        generations[-1][1].update(keys)

"""Groups of messages that are received in order: the first of each is free, the others stand behind it."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Groups(Generic[T]):
    """The lines behind the first of each group; a group without members is forgotten."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}

    def join(self, group: str, member: T) -> bool:
        """Say whether the member is free: it has no group (""), or is the first of its own. Else it stands behind."""
        if not group:
            return True
        if group not in self._lines:
            self._lines[group] = deque()
            return True
        self._lines[group].append(member)
        return False

    def leave(self, group: str) -> T | None:
        """Take the first of a group away for good; return the one that is free now."""
        line = self._lines.get(group)
        if line:
            return line.popleft()
        self._lines.pop(group, None)
        return None

    def behind(self) -> list[T]:
        """Return all who are not free."""
        return [member for line in self._lines.values() for member in line]

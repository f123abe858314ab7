"""The dead-letter desk: what an operator asks of the events that a subscription gave up on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from router.admin.controls import Choice
from router.delivery import Delivery
from router.errors import RouterError
from router.journal import DeadLetter, Partition
from router.plugin import Decoder

PAGE = 500
"""Dead letters that are replayed or discarded in one transaction."""


class LetterDesk:
    """Dead letters of the running subscriptions; those of others can be read.

    `delivery` raises `RouterError` where there is none of that name; `kept` waits until all is on disk.
    """

    def __init__(
        self,
        partition: Partition,
        decoder: Decoder,
        delivery: Callable[[str], Delivery],
        kept: Callable[[str], Awaitable[None]],
    ) -> None:
        self._kept = kept
        self._partition = partition
        self._decoder = decoder
        self._delivery = delivery

    async def choose(self, name: str, choice: Choice, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return up to `limit` of a subscription's dead letters at positions above `after`, in order."""
        found: list[DeadLetter] = []
        async with aclosing(self._pages(name, choice, after)) as pages:
            async for letters in pages:
                found += letters
                if len(found) >= limit:
                    break
        return found[:limit]

    async def replay(self, name: str, choice: Choice, per_second: float) -> int:
        """Give them another life, page by page; returns how many."""
        if per_second <= 0:
            raise RouterError(f"{per_second:g} a second would never end (say how many, such as 100)")
        count = 0
        self._delivery(name)
        async for letters in self._pages(name, choice):
            count += self._delivery(name).replay(letters, per_second, count / per_second)
        await self._kept(f"{count} dead letters are due again")
        return count

    async def discard(self, name: str, choice: Choice) -> int:
        """Forget them; returns how many. The count of those given up on stays."""
        count = 0
        self._delivery(name)
        async for letters in self._pages(name, choice):
            count += self._delivery(name).discard(letters)
        await self._kept(f"{count} dead letters are discarded")
        return count

    async def _pages(self, name: str, choice: Choice, after: int = 0) -> AsyncGenerator[list[DeadLetter]]:
        """Yield the chosen ones that are there now, at positions above `after`."""
        chosen = choice.chooser(self._decoder)
        if name not in self._partition.names:
            self._delivery(name)
        while page := await self._partition.dead_letters(name, after, PAGE):
            after = page[-1].position
            if letters := [letter for letter in page if chosen(letter)]:
                yield letters

"""Opening: a sink is opened, at its own positions if it keeps any, noted after each call, failed in part or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from router.books import Books
from router.errors import Partial
from router.event import Batch
from router.journal import Change
from router.plugin import Deliver, Marks, Sink
from router.tally import Tally


class _Kept(Marks):
    """Positions that can be committed at once."""

    def __init__(self, books: Books, tally: Tally) -> None:
        super().__init__(books.marks())
        self._books = books
        self._tally = tally

    async def keep(self, marks: Mapping[str, int]) -> None:
        """Commit all that is settled, and these."""
        self._tally.advance()
        self._tally.mark(marks)
        self._books.commit(self._tally.progress, Change(marks=marks))
        await self._books.flush()


@asynccontextmanager
async def opened(sink: Sink, books: Books, tally: Tally) -> AsyncGenerator[Deliver]:
    """Yield what delivers to the sink while it is open."""
    resumed = sink.resume(_Kept(books, tally))
    if resumed is None:
        async with sink.open() as deliver:
            yield deliver
        return
    async with resumed as place:

        async def deliver_and_mark(batch: Batch) -> None:
            try:
                tally.mark(await place(batch))
            except Partial as error:
                tally.mark(error.marks)
                raise

        yield deliver_and_mark

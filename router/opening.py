"""Opening: a sink is opened, at its own positions if it keeps any, noted after each call, failed in part or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from router.books import Books
from router.errors import Partial
from router.event import Batch
from router.plugin import Deliver, Sink
from router.tally import Tally


@asynccontextmanager
async def opened(sink: Sink, books: Books, tally: Tally) -> AsyncGenerator[Deliver]:
    """Yield what delivers to the sink while it is open."""
    resumed = sink.resume(books.marks())
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

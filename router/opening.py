"""Opening: a sink is opened, at its own positions if it keeps any, which are noted after each call."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from router.books import Books
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
            tally.mark(await place(batch))

        yield deliver_and_mark

"""Journal messages as quickly as possible: `python fill.py STATE < BODIES`, one body a line.

Only through the router's own decoder and journal, so that the state is one that this revision would have made.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import anyio

from router.event import Event, Message
from router.intake import event_of
from router.journal.sqlite import SqliteJournal
from router_plugins.directmail.decoder import DirectMail

GROUP = 1000


async def fill(state: Path, bodies: Iterator[bytes]) -> None:
    """Append groups of events, two under way at a time so that the writer always has the next."""
    decoder = DirectMail()

    def restore(message: Message, source: str, name: str) -> Event:
        return event_of(decoder, message, source, name)

    async def append_all() -> None:
        while group := list(islice(bodies, GROUP)):
            now = time.time()
            await partition.append([event_of(decoder, Message(body, now), "push") for body in group])

    async with SqliteJournal(quota=10**12).open(state, restore) as partition, anyio.create_task_group() as tasks:
        tasks.start_soon(append_all)
        tasks.start_soon(append_all)


if __name__ == "__main__":
    anyio.run(partial(fill, Path(sys.argv[1]), (line.rstrip(b"\n") for line in sys.stdin.buffer)))

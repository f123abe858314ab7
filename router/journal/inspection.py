"""Reading the SQLite journal back: rows to events, and the whole of it beside a daemon that writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import structlog

from router.event import UNDECODABLE, Event, Message, UndecodableFields
from router.journal import Restore, Segment
from router.journal.database import Database, StoredBatch

READ = 4096
"""Events that are read at a time."""

log = structlog.get_logger("journal")


def _damaged(name: str) -> Event:
    """Stand in for an event whose row does not match its checksum, so that positions and counts stay true."""
    return Event(
        id=name,
        type=UNDECODABLE,
        time=datetime.fromtimestamp(0, UTC),
        source="journal",
        fields=UndecodableFields("the journal row is damaged", ""),
        message=Message(b"", 0.0),
    )


def events_of(batch: StoredBatch, restore: Restore) -> list[Event]:
    """Make the events of a batch again, each under the id that it was journalled under."""
    ids = batch.ids.hex()
    names = [ids[i * 32 : i * 32 + 32] for i in range(batch.count)]
    if batch.rows is None:
        log.error("journal row is damaged", first=batch.first, last=batch.first + batch.count - 1)
        return [_damaged(name.ljust(32, "0")) for name in names]
    return [
        restore(Message(row.body, row.received, row.attributes), row.source, name)
        for row, name in zip(batch.rows, names, strict=True)
    ]


class SqliteInspection:
    """What `Journal.inspect` yields."""

    def __init__(self, database: Database, restore: Restore) -> None:
        self._database = database
        self._restore = restore
        self.progress = database.progress()
        self.tail = database.tail()
        self.head = database.head()

    def segments(self) -> Iterator[Segment]:
        """Yield what is kept, in short reads, so that the writer's WAL does not grow meanwhile."""
        position = self.tail
        while position < self.head:
            batches = self._database.read(position, READ)
            if not batches:
                return
            for batch in batches:
                yield Segment(batch.first, events_of(batch, self._restore))
                position = batch.first + batch.count

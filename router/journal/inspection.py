"""Reading the SQLite journal back: rows to events, and the whole of it beside a daemon that writes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from router.event import LOST, UNDECODABLE, Event, Message, UndecodableFields
from router.journal import FIRST, DeadLetter, Ending, Endings, Held, Parked, Restore, Segment, Span, Trouble
from router.journal.batches import StoredBatch
from router.journal.database import Database
from router.journal.duplicates import ID
from router.journal.records import StoredTrouble
from router.journal.search import Key

READ = 4096
"""Events that are read at a time."""

_DAMAGED = Message(b"", 0.0)
"""The message of every event that is damaged."""

log = structlog.get_logger("journal")


def is_damaged(event: Event) -> bool:
    """Say whether this stands in for an event whose row is damaged."""
    return event.message is _DAMAGED


def _damaged(name: str) -> Event:
    """Stand in for an event whose row does not match its checksum, so that positions and counts stay true."""
    return Event(
        id=name,
        type=UNDECODABLE,
        time=datetime.fromtimestamp(0, UTC),
        source="journal",
        fields=UndecodableFields("the journal has lost it" if name == LOST else "the journal row is damaged", ""),
        message=_DAMAGED,
    )


def events_of(batch: StoredBatch, restore: Restore) -> list[Event]:
    """Make the events of a batch again, each under the id that it was journalled under."""
    ids = batch.ids.hex()
    names = [ids[i * 32 : i * 32 + 32] for i in range(batch.count)]
    if batch.rows is None:
        if LOST not in names:  # that was said when it was found
            log.error("journal row is damaged", first=batch.first, last=batch.first + batch.count - 1)
        return [_damaged(name.ljust(32, "0")) for name in names]
    return [
        restore(Message(row.body, row.received, row.attributes), row.source, name)
        for row, name in zip(batch.rows, names, strict=True)
    ]


def part_of(batch: StoredBatch, start: int, stop: int) -> StoredBatch:
    """Leave only some of a batch's events."""
    rows = None if batch.rows is None else batch.rows[start:stop]
    return StoredBatch(batch.first + start, batch.ids[start * 16 : stop * 16], rows, stop - start)


def trouble_of(row: StoredTrouble, restore: Restore) -> dict[str, Any]:
    """Return what parked events and dead letters have in common."""
    return {
        "position": row.position,
        "event": restore(Message(row.row.body, row.row.received, row.row.attributes), row.row.source, row.key.hex()),
        "reason": row.reason,
        "status": row.status,
        "attempts": row.attempts,
        "first_try": row.first_try,
        "last_try": row.last_try,
    }


class SqliteInspection:
    """What `Journal.inspect` yields."""

    def __init__(self, database: Database, restore: Restore) -> None:
        self._database = database
        self._restore = restore
        with database.moment():
            self.progress = database.records.progress()
            parked, dead = database.records.held("parked"), database.records.held("dead")
            replays = database.records.replays()
            self.head = database.head()
        self.replays = {name: list(each.values()) for name, each in replays.items()}
        self.held = {name: Held(parked.get(name, {}), dead.get(name, {})) for name in {*parked, *dead}}

    @property
    def tail(self) -> int:
        """The oldest position that is still kept by now."""
        return self._database.tail()

    def stored_at(self, positions: Sequence[int]) -> Sequence[float | None]:
        """Return when what is at each position was stored."""
        return self._database.batches.stored_at(positions)

    def segments(self, start: int = FIRST) -> Iterator[Segment]:
        """Yield what is kept, in short reads, so that the writer's WAL does not grow meanwhile."""
        position = max(self.tail, start)
        while position < self.head:
            batches = self._database.batches.read(position, READ)
            if not batches:
                return
            for batch in batches:
                yield Segment(batch.first, events_of(batch, self._restore))
                position = batch.first + batch.count

    def find(self, key: str, pulse: Callable[[], object]) -> Iterator[tuple[int, Event]]:
        """Yield the events whose id is the key, or that hold it, newest first; in short reads, too."""
        sought = Key(key)
        below = self.head
        while below:
            pulse()
            batches, below = self._database.batches.search(below, sought.within)
            for batch in batches:
                messages = [(bytes(row.body), row.attributes) for row in batch.rows or ()]
                for index in sought.indices(batch.ids, messages):
                    (event,) = events_of(part_of(batch, index, index + 1), self._restore)
                    yield batch.first + index, event

    def named(self, accepts: Callable[[str], bool], pulse: Callable[[], object]) -> str | None:
        """Return the newest id that is accepted; ids alone are read, and are looked at between the reads."""
        below = self.head
        while below:
            pulse()
            rows, below = self._database.batches.ids_below(below)
            for ids in rows:
                for start in range(len(ids) - ID, -1, -ID):
                    if accepts(name := ids[start : start + ID].hex()):
                        return name
        return None

    def trouble(self, name: str, position: int) -> Trouble | None:
        """Return what is parked or dead at a position of a subscription."""
        for row in self._database.records.trouble("dead", "kind", name, position):
            return DeadLetter(kind=row.rest[0], **trouble_of(row, self._restore))
        for row in self._database.records.trouble("parked", "due, times", name, position):
            return Parked(due=row.rest[0], times=row.rest[1], **trouble_of(row, self._restore))
        return None

    def troubles(self, key: str, below: int) -> Iterator[Trouble]:
        """Yield what is parked or dead at positions below one and holds the key."""
        for table in ("dead", "parked"):
            for name, position in self._database.records.troubled(table, below, Key(key).within):
                if trouble := self.trouble(name, position):
                    yield trouble

    def delivered(self, name: str, position: int) -> Ending | Span | None:
        """Return what is known of when an event was delivered to a subscription."""
        return self._database.deliveries.delivered(name, position)

    def endings(self, name: str, since: int) -> Endings:
        """Return what is known of the endings of a subscription, from a position on."""
        deliveries = self._database.deliveries
        return Endings(deliveries.complete(name), deliveries.discarded(name, since))

    def dead_from(self, name: str, since: int) -> int:
        """Return how many dead letters a subscription has at positions from `since` on."""
        return self._database.records.dead_from(name, since)

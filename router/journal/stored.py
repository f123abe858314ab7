"""Events as they lie in rows of the journal: made again, by the decoder, as they are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from router.event import Event
from router.journal import Restore
from router.journal.batches import StoredBatch
from router.journal.inspection import events_of, part_of


class StoredEvents(Sequence[Event]):
    """The events of consecutive batches, without the first few; decoding them is left to who reads them."""

    def __init__(self, batches: Sequence[StoredBatch], skip: int, count: int, restore: Restore) -> None:
        self._batches = batches
        self._skip = skip
        self._count = count
        self._restore = restore

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._count)
            return self._made(start, stop)[::step] if step > 0 else [self[i] for i in range(start, stop, step)]
        at = range(self._count)[index]
        return self._made(at, at + 1)[0]

    def _made(self, start: int, stop: int) -> list[Event]:
        events: list[Event] = []
        begin = -self._skip
        for batch in self._batches:
            low, high = max(start - begin, 0), min(stop - begin, batch.count)
            if low < high:
                events += events_of(part_of(batch, low, high), self._restore)
            begin += batch.count
        return events

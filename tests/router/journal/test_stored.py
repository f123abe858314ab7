"""Events that are decoded as they are looked at: every way to look gives the same."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from router.event import Event
from router.journal.batches import Row, StoredBatch
from router.journal.conformance import restore
from router.journal.stored import StoredEvents


def batch(first: int, count: int) -> StoredBatch:
    rows = [Row("s", 0.0, dict[str, str](), str(first + i).encode()) for i in range(count)]
    ids = b"".join((first + i).to_bytes(16, "big") for i in range(count))
    return StoredBatch(first, ids, rows, count)


def position(event: Event) -> int:
    assert int(event.id, 16) == int(bytes(event.raw))
    return int(event.id, 16)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.data())
def test_every_index_and_slice_is_that_of_the_list(counts: list[int], data: st.DataObject) -> None:
    batches = [batch(1 + sum(counts[:i]), count) for i, count in enumerate(counts)]
    total = sum(counts)
    skip = data.draw(st.integers(0, counts[0] - 1))
    count = data.draw(st.integers(0, total - skip))
    events = StoredEvents(batches, skip, count, restore)
    expected = list(range(1 + skip, 1 + skip + count))
    assert len(events) == count
    assert [position(e) for e in events] == expected
    some = data.draw(st.slices(total + 3))
    assert [position(e) for e in events[some]] == expected[some]
    for index in range(-count, count):
        assert position(events[index]) == expected[index]


def test_nothing_is_decoded_before_it_is_looked_at() -> None:
    made: list[str] = []

    def note(message: object, source: str, name: str) -> Event:
        made.append(name)
        return restore(message, source, name)  # type: ignore[arg-type]

    events = StoredEvents([batch(1, 5), batch(6, 5)], 0, 10, note)
    assert not made
    assert [position(e) for e in events[4:6]] == [5, 6]
    assert len(made) == 2


def test_a_damaged_batch_keeps_its_place() -> None:
    damaged: Mapping[str, object] = {"rows": None}
    events = StoredEvents([batch(1, 2), msgspec.structs.replace(batch(3, 3), **damaged)], 0, 5, restore)
    assert [int(e.id, 16) for e in events] == [1, 2, 3, 4, 5]
    assert [e.type for e in events[3:]] == ["Undecodable"] * 2

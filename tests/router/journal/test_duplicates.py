"""The duplicate window against a plain set: nothing is forgotten too soon, nothing is dropped on a mere match."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.journal.duplicates import DuplicateWindow, Fingerprint, Stored, keyed

WINDOW = 80.0
KEYED = keyed(b"k" * 16)
SMALL = (64, 1024)
"""Sizes of tables with which a few hundred ids fill several shelves."""


def key(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def keys(numbers: Iterable[int]) -> list[bytes]:
    return [key(number) for number in numbers]


def narrow(ids: bytes) -> Sequence[int]:
    """Tell no more than seven ids apart."""
    return [ids[i] % 7 * 0x9E3779B97F4A7C15 % 2**64 for i in range(0, len(ids), 16)]


class Log:
    """The journal's side: rows of ids, and the parts that were stored."""

    def __init__(self, fingerprint: Fingerprint = KEYED, sizes: tuple[int, int] = SMALL) -> None:
        self.fingerprint = fingerprint
        self.sizes = sizes
        self.asked: list[tuple[int, int | None]] = []
        self.rows: list[tuple[int, float, bytes]] = []
        self.parts: dict[tuple[int, int], Stored] = {}
        self.head = 1
        self.reads = 0
        self.window = self.new()

    def new(self) -> DuplicateWindow:
        return DuplicateWindow(WINDOW, self.fingerprint, sizes=self.sizes)

    def append(self, wanted: Sequence[bytes], now: float) -> list[bytes]:
        """Journal what is new, as a commit does; return it."""
        distinct = list(dict.fromkeys(wanted))
        found = self.window.find(distinct)
        self.reads += len(found.positions)
        known = found.duplicates({position: self.at(position) for position in found.positions})
        fresh = [one for one in distinct if one not in known]
        if fresh:
            self.rows.append((self.head, now, b"".join(fresh)))
            self.window.add(self.head, b"".join(fresh), now)
            self.head += len(fresh)
        return fresh

    def at(self, position: int) -> bytes:
        first, _, ids = next(row for row in reversed(self.rows) if row[0] <= position)
        return ids[(position - first) * 16 :][:16]

    def store(self, limit: int | None = None) -> None:
        """Store what is owed, or some of it."""
        while (limit is None or limit > 0) and (part := self.window.owed()):
            if part.number == 0:
                self.parts = {k: v for k, v in self.parts.items() if not part.first <= k[0] < part.end}
            self.parts[part.first, part.number] = part
            self.window.stored(part)
            limit = limit and limit - 1

    def between(self, start: int, end: int | None) -> Iterator[tuple[int, float, bytes]]:
        self.asked.append((start, end))
        for first, received, ids in self.rows:
            if first + len(ids) // 16 > start and (end is None or first < end):
                yield first, received, ids

    def restart(self, parts: Iterable[bytes] | None = None) -> int:
        """Recall a new window from what is stored."""
        self.window = self.new()
        stored = (self.parts[place].data for place in sorted(self.parts)) if parts is None else parts
        return self.window.recall(stored, self.between)


@pytest.mark.parametrize("fingerprint", [KEYED, narrow])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_window_agrees_with_a_plain_set(fingerprint: Fingerprint, data: st.DataObject) -> None:
    """An id is dropped if it was journalled within the window, never if it was not journalled; restarts included."""
    log, now = Log(fingerprint), 0.0
    journalled: dict[bytes, float] = {}
    for _ in range(data.draw(st.integers(1, 25))):
        now += data.draw(st.sampled_from([0.0, 0.1, 3.0, 11.0, 100.0]))
        start, count = data.draw(st.integers(0, 400)), data.draw(st.integers(1, 200))
        wanted = keys(range(start, start + count))
        fresh = set(log.append(wanted, now))
        assert fresh >= {one for one in wanted if one not in journalled}
        assert not {one for one in fresh if now - journalled.get(one, -1e9) <= WINDOW}
        journalled |= dict.fromkeys(fresh, now)
        log.store(data.draw(st.integers(0, 3)))
        if data.draw(st.integers(0, 5)) == 0:
            log.restart()


def test_a_mere_match_of_fingerprints_drops_nothing() -> None:
    """With seven fingerprints for two thousand ids nearly every id is suspected, and each is journalled once."""
    log = Log(narrow)
    fresh = [one for i in range(0, 600, 50) for one in log.append(keys(range(i, i + 50)), 0.0)]
    assert fresh == keys(range(600))
    assert log.reads > 500
    assert not log.append(keys(range(600)), 1.0)


def test_a_suspect_whose_row_was_deleted_is_no_duplicate() -> None:
    log = Log()
    log.append(keys(range(500)), 0.0)
    found = log.window.find([key(1)])
    assert found.duplicates({1: key(1), 2: key(1)}) == {key(1)}
    assert found.positions == [2]
    assert not found.duplicates({})


def test_new_ids_and_the_latest_ones_are_told_without_a_read() -> None:
    log = Log(sizes=(1 << 14, 1 << 20))
    for i in range(0, 10_000, 500):
        log.append(keys(range(i, i + 500)), 0.0)
    assert not log.append(keys(range(10_000)), 0.0)
    assert log.reads == 0


def test_an_exact_window_never_needs_a_read() -> None:
    window = DuplicateWindow(WINDOW, narrow, exact=True, sizes=SMALL)
    for i in range(0, 1000, 40):
        assert not window.find(keys(range(i, i + 40))).known
        window.add(i, b"".join(keys(range(i, i + 40))), 0.0)
    found = window.find(keys(range(1010)))
    assert found.known == set(keys(range(1000)))
    assert not found.doubtful


def test_ids_are_forgotten_when_the_window_is_over() -> None:
    log = Log()
    for second in range(300):
        log.append(keys(range(second * 10, second * 10 + 10)), float(second))
    assert 80 * 10 <= len(log.window) <= (80 + 10 + 1) * 10
    assert log.append(keys(range(100)), 299.0) == keys(range(100))


def test_a_clock_that_is_set_back_forgets_nothing() -> None:
    log = Log()
    for i, now in enumerate((1000.0, 5.0, 6.0, 1001.0)):
        log.append(keys(range(i * 100, i * 100 + 100)), now)
        assert not log.append(keys(range(i * 100 + 100)), now)


def test_positions_may_have_gaps() -> None:
    """As a repaired journal has, whose rows were lost."""
    log = Log()
    for i in range(0, 400, 20):
        log.append(keys(range(i, i + 20)), 0.0)
        log.head += 3
    assert not log.append(keys(range(400)), 0.0)
    log.store()
    log.restart()
    assert not log.append(keys(range(400)), 0.0)


def test_an_idle_journal_has_small_tables() -> None:
    """A table of a million slots only follows one that was full of ids."""
    log = Log(sizes=(1 << 14, 1 << 20))
    for hour in range(100):
        log.append(keys([hour]), hour * 11.0)
    assert {shelf.size for shelf in log.window._shelves} == {1 << 14}
    assert sum(len(shelf) for shelf in log.window._shelves) <= 9


def test_a_window_of_zero_remembers_nothing() -> None:
    window = DuplicateWindow(0, KEYED)
    window.add(1, b"".join(keys(range(10))), 0.0)
    assert len(window) == 0
    assert not window.find(keys(range(10))).positions


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_what_is_no_id_is_refused_and_does_no_harm(size: int) -> None:
    log = Log()
    log.append(keys(range(10)), 0.0)
    with pytest.raises(ValueError, match="16 bytes"):
        log.window.find([key(1), bytes(size)])
    with pytest.raises(ValueError, match="16 bytes"):
        log.window.add(11, bytes(31), 0.0)
    assert not log.append(keys(range(10)), 0.0)


def test_fingerprints_cannot_be_steered_from_outside() -> None:
    """Ids that agree in all but two bytes are as far apart as any; another secret gives others."""
    ids = b"".join(number.to_bytes(16, "little") for number in range(5000))
    prints = KEYED(ids)
    assert len({one & 0xFFF for one in prints}) > 2500
    assert len({one >> 52 for one in prints}) > 2500
    assert not set(prints) & set(keyed(b"o" * 16)(ids))
    assert list(prints) == list(keyed(b"k" * 16)(ids))


def test_what_was_stored_is_recalled_without_its_rows() -> None:
    """The rows are asked for what was added since the last seal alone."""
    log = Log()
    for i in range(0, 3000, 30):
        log.append(keys(range(i, i + 30)), 0.0)
    log.store()
    assert log.restart() == 0
    end = max(part.end for part in log.parts.values())
    assert end > 2500
    assert log.asked == [(end, None)]
    assert len(log.window) == 3000
    assert not log.append(keys(range(3000)), 0.0)
    assert log.window.owed() is None


def test_a_table_of_several_parts_is_recalled() -> None:
    log = Log(sizes=(1 << 17, 1 << 17))
    log.append(keys(range(1000)), 0.0)
    log.append(keys(range(1000, 110_000)), 0.0)
    log.store()
    assert [(part.first, part.number) for part in log.parts.values()] == [(1, 0), (1, 1)]
    assert max(len(part.data) for part in log.parts.values()) <= 577 * 1024
    assert log.restart() == 0
    assert log.window.find(keys(range(0, 300_000, 97))).positions == [n + 1 for n in range(0, (1 << 17) * 4 // 5, 97)]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damaged_or_missing_parts_are_made_up_from_the_rows(data: st.DataObject) -> None:
    """Bytes flipped, cut off, or parts lost: it is noticed, and nothing is forgotten."""
    log = Log()
    for i in range(0, 1500, 30):
        log.append(keys(range(i, i + 30)), 0.0)
    log.store()
    parts = [log.parts[place].data for place in sorted(log.parts)]
    broken = data.draw(st.integers(0, len(parts) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "lose"])):
        case "flip":
            place = data.draw(st.integers(0, len(parts[broken]) - 1))
            flipped = parts[broken][place] ^ data.draw(st.integers(1, 255))
            parts[broken] = parts[broken][:place] + bytes([flipped]) + parts[broken][place + 1 :]
            useless = 1
        case "cut":
            parts[broken] = parts[broken][: data.draw(st.integers(0, len(parts[broken]) - 1))]
            useless = 1
        case _:
            del parts[broken]
            useless = 0
    assert log.restart(parts) == useless
    assert len(log.window) == 1500
    assert not log.append(keys(range(1500)), 0.0)


def test_a_table_that_was_stored_in_part_is_stored_anew() -> None:
    """After a crash between two parts; the next start has it whole."""
    log = Log(sizes=(1 << 17, 1 << 17))
    log.append(keys(range(105_000)), 0.0)
    log.store(1)
    assert log.restart() == 1
    log.store()
    assert log.restart() == 0
    assert len(log.window) == 105_000


def test_what_is_forgotten_is_no_longer_owed() -> None:
    log = Log()
    log.append(keys(range(1000)), 0.0)
    part = log.window.owed()
    log.append(keys([1000]), 1000.0)
    log.append(keys([1001]), 1015.0)
    assert part
    log.window.stored(part)
    later = log.window.owed()
    assert later
    assert later.latest == 1000.0

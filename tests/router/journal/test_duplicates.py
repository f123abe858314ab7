"""The duplicate window against a plain set: nothing is forgotten too soon, nothing is dropped on a mere match."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.journal.duplicates import DuplicateWindow, Scramble, Sealed, keyed
from router.journal.runs import fingerprints

WINDOW = 80.0
KEYED = keyed(b"k" * 16)
SMALL = 32
"""Ids that are sealed at a time; with so few a few thousand fill several shelves."""


def key(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def keys(numbers: Iterable[int]) -> list[bytes]:
    return [key(number) for number in numbers]


def narrow(ids: bytes) -> bytes:
    """Tell no more than seven ids apart."""
    return b"".join((ids[i] % 7 * 0x9E3779B97F4A7C15 % 2**64).to_bytes(16, "little") for i in range(0, len(ids), 16))


class Log:
    """The journal's side: rows of ids, and what was stored of the window."""

    def __init__(self, scramble: Scramble = KEYED, size: int = SMALL) -> None:
        self.scramble = scramble
        self.size = size
        self.asked: list[tuple[int, int | None]] = []
        self.rows: list[tuple[int, float, bytes]] = []
        self.stored: dict[int, Sealed] = {}
        self.head = 1
        self.reads = 0
        self.window = self.new()

    def new(self) -> DuplicateWindow:
        return DuplicateWindow(WINDOW, self.scramble, self.size)

    def append(self, wanted: Sequence[bytes], now: float) -> list[bytes]:
        """Journal what is new, as a commit does; return it."""
        distinct = list(dict.fromkeys(wanted))
        found = self.window.find(distinct)
        self.reads += len(found.positions)
        known = found.duplicates({position: self.at(position) for position in found.positions})
        fresh = [one for one in distinct if one not in known]
        if fresh:
            self.rows.append((self.head, now, b"".join(fresh)))
            self.window.add(self.head, fresh, now)
            self.head += len(fresh)
        return fresh

    def at(self, position: int) -> bytes:
        first, _, ids = next(row for row in reversed(self.rows) if row[0] <= position)
        return ids[(position - first) * 16 :][:16]

    def seal(self) -> None:
        while self.window.closed:
            self.window.keep(self.window.seal())

    def store(self, limit: int = 1000) -> None:
        """Seal what is closed, and store what is owed, or some of it."""
        self.seal()
        owed = self.window.owed(limit)
        self.stored |= {sealed.first: sealed for sealed in owed}
        self.window.stored(owed)

    def between(self, start: int, end: int | None) -> Iterator[tuple[int, float, bytes]]:
        self.asked.append((start, end))
        for first, received, ids in self.rows:
            if first + len(ids) // 16 > start and (end is None or first < end):
                yield first, received, ids

    def restart(self, stored: Iterable[Sealed] | None = None) -> None:
        """Recall a new window from what is stored."""
        self.window, self.asked = self.new(), []
        kept = [self.stored[first] for first in sorted(self.stored)] if stored is None else stored
        self.window.recall(kept, self.between)


@pytest.mark.parametrize("scramble", [KEYED, narrow])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_window_agrees_with_a_plain_set(scramble: Scramble, data: st.DataObject) -> None:
    """An id is dropped if it was journalled within the window, never if it was not journalled; restarts included."""
    log, now = Log(scramble), 0.0
    journalled: dict[bytes, float] = {}
    for _ in range(data.draw(st.integers(1, 25))):
        now += data.draw(st.sampled_from([0.0, 0.1, 3.0, 11.0, 100.0]))
        start, count = data.draw(st.integers(0, 400)), data.draw(st.integers(1, 200))
        wanted = keys(range(start, start + count))
        fresh = set(log.append(wanted, now))
        assert fresh >= {one for one in wanted if one not in journalled}
        assert not {one for one in fresh if now - journalled.get(one, -1e9) <= WINDOW}
        journalled |= dict.fromkeys(fresh, now)
        if data.draw(st.booleans()):
            log.store(data.draw(st.integers(0, 30)))
        if data.draw(st.integers(0, 5)) == 0:
            log.restart()


def test_a_mere_match_of_fingerprints_drops_nothing() -> None:
    """With seven fingerprints for two thousand ids nearly every id is suspected, and each is journalled once."""
    log = Log(narrow)
    fresh = []
    for i in range(0, 600, 50):
        fresh += log.append(keys(range(i, i + 50)), 0.0)
        log.seal()
    assert fresh == keys(range(600))
    assert log.reads > 500
    assert not log.append(keys(range(600)), 1.0)


def test_a_suspect_whose_row_was_deleted_is_no_duplicate() -> None:
    log = Log()
    log.append(keys(range(500)), 0.0)
    log.seal()
    found = log.window.find([key(1)])
    assert found.duplicates({1: key(1), 2: key(1)}) == {key(1)}
    assert found.positions == [2]
    assert not found.duplicates({})


def test_new_ids_and_the_latest_ones_are_told_without_a_read() -> None:
    log = Log(size=1 << 14)
    for i in range(0, 20_000, 500):
        log.append(keys(range(i, i + 500)), 0.0)
        log.seal()
    assert not log.append(keys(range(17_000, 20_000)), 0.0)
    assert log.reads == 0


def test_what_is_closed_and_not_sealed_yet_is_known() -> None:
    """A thread may take its time."""
    log = Log()
    log.append(keys(range(100)), 0.0)
    assert log.window.closed
    assert not log.append(keys(range(100)), 0.0)
    assert log.reads == 0


def test_ids_are_forgotten_when_the_window_is_over() -> None:
    log = Log()
    for second in range(300):
        log.append(keys(range(second * 10, second * 10 + 10)), float(second))
        log.seal()
    found = log.window.find(keys(range(3000)))
    assert 80 * 10 <= len(found.known) + len(found.doubtful) <= (80 + 10 + 1) * 10
    assert log.append(keys(range(100)), 299.0) == keys(range(100))


def test_a_clock_that_is_set_back_forgets_nothing() -> None:
    log = Log()
    for i, now in enumerate((1000.0, 5.0, 6.0, 1001.0)):
        log.append(keys(range(i * 100, i * 100 + 100)), now)
        log.seal()
        assert not log.append(keys(range(i * 100 + 100)), now)


def test_after_a_clock_was_set_back_ids_are_still_forgotten() -> None:
    """What seems to have come in the future is remembered for a window from now on, not until then."""
    log = Log()
    log.append(keys(range(100)), 1e9)
    log.append(keys([100]), 1000.0)
    log.append(keys([101]), 1081.0)
    assert log.append(keys([1]), 1081.0)


def test_positions_may_have_gaps() -> None:
    """As a repaired journal has, whose rows were lost."""
    log = Log()
    for i in range(0, 400, 20):
        log.append(keys(range(i, i + 20)), 0.0)
        log.head += 3
        log.seal()
    assert not log.append(keys(range(400)), 0.0)
    log.store()
    log.restart()
    assert not log.append(keys(range(400)), 0.0)


def test_runs_that_lie_far_apart_are_not_merged() -> None:
    log = Log()
    for i in range(0, 4000, 20):
        log.append(keys(range(i, i + 20)), 0.0)
        log.head += 1_000_000
    log.store()
    assert not log.append(keys(range(4000)), 0.0)


def test_there_are_never_many_runs_to_look_through() -> None:
    """Eight are merged into one, and eight of those; in an idle journal there are those of the window's eighths."""
    busy, idle = Log(), Log()
    for i in range(0, 64 * SMALL * 3, SMALL):
        busy.append(keys(range(i, i + SMALL)), 0.0)
        busy.seal()
    for hour in range(100):
        idle.append(keys([hour]), hour * 11.0)
        idle.seal()
    assert busy.window._shelves
    assert len(busy.window._shelves) <= 3 + 7 + 7
    assert idle.window._shelves
    assert len(idle.window._shelves) <= 9 + 7 + 7


def test_a_window_of_zero_remembers_nothing() -> None:
    window = DuplicateWindow(0, KEYED)
    window.add(1, keys(range(10)), 0.0)
    assert not window.find(keys(range(10))).known


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_what_is_no_id_is_refused_and_does_no_harm(size: int) -> None:
    log = Log()
    log.append(keys(range(10)), 0.0)
    with pytest.raises(ValueError, match="16 bytes"):
        log.window.find([key(1), bytes(size)])
    assert not log.append(keys(range(10)), 0.0)


def test_fingerprints_cannot_be_steered_from_outside() -> None:
    """Ids that agree in all but two bytes are as far apart as any; another secret gives others."""
    ids = b"".join(number.to_bytes(16, "little") for number in range(5000))
    prints = fingerprints(KEYED(ids)).tolist()
    assert len({one & 0xFFF for one in prints}) > 2500
    assert len({one >> 52 for one in prints}) > 2500
    assert not set(prints) & set(fingerprints(keyed(b"o" * 16)(ids)).tolist())
    assert prints == fingerprints(keyed(b"k" * 16)(ids)).tolist()


def test_what_was_stored_is_recalled_without_its_rows() -> None:
    """The rows are asked for what was added since the last seal alone."""
    log = Log()
    for i in range(0, 3000, 30):
        log.append(keys(range(i, i + 30)), 0.0)
    log.store()
    log.restart()
    end = max(sealed.end for sealed in log.stored.values())
    assert end > 2900
    assert log.asked == [(end, None)]
    assert not log.append(keys(range(3000)), 0.0)
    assert not log.window.owing


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_missing_is_made_up_from_the_rows(data: st.DataObject) -> None:
    """Whatever was not stored, or was damaged: nothing is forgotten, and the next start has it stored."""
    log = Log()
    for i in range(0, 1500, 30):
        log.append(keys(range(i, i + 30)), 0.0)
    log.store()
    lost = data.draw(st.sets(st.sampled_from(sorted(log.stored)), min_size=1))
    cut = data.draw(st.booleans())
    kept = []
    for first in sorted(log.stored):
        sealed = log.stored[first]
        if first not in lost:
            kept.append(sealed)
        elif cut:
            kept.append(msgspec.structs.replace(sealed, words=sealed.words[:-1]))
    log.restart(kept)
    log.store()
    assert not log.append(keys(range(1500)), 0.0)
    log.restart()
    assert len(log.asked) == 1
    assert not log.append(keys(range(1500)), 0.0)


def test_what_is_forgotten_is_no_longer_owed() -> None:
    log = Log()
    log.append(keys(range(1000)), 0.0)
    log.seal()
    assert log.window.owing
    log.append(keys([1000]), 1000.0)
    log.append(keys([1001]), 1015.0)
    log.seal()
    (owed,) = log.window.owed(10)
    assert owed.latest == 1000.0
    assert not log.window.find(keys(range(1000))).positions


def test_a_seal_may_end_after_its_ids_were_forgotten() -> None:
    log = Log()
    log.append(keys(range(100)), 0.0)
    sealed = log.window.seal()
    log.append(keys([100]), 1000.0)
    log.append(keys([101]), 1015.0)
    log.window.keep(sealed)
    assert not log.window.owing
    assert log.append(keys(range(100)), 1015.0) == keys(range(100))


def test_ids_are_looked_up_while_others_are_sealed_in_a_thread() -> None:
    """The daemon does both at once; a cipher that is shared between threads would end it."""
    scramble, ids = keyed(bytes(16)), bytes(16 * 4_000_000)
    ended: list[bytes] = []
    sealing = threading.Thread(target=lambda: ended.append(scramble(ids)))
    sealing.start()
    while sealing.is_alive():
        assert scramble(bytes(32)) == ended[0][:32] if ended else len(scramble(bytes(32))) == 32
    sealing.join()
    assert ended[0][:16] == ended[0][-16:]

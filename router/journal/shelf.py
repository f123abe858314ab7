"""Hash tables from ids to positions: eight of them on a shelf, behind one filter.

An id enters as a fingerprint: 64 bits that nobody outside can steer. A table is an open-addressing table of 64-bit
slots for ids of consecutive positions: the fingerprint's low bits say where to look first, its upper 44 bits are kept
in the slot, beside the id's number within the table. To look an id up in a dozen tables would be a dozen cache misses,
so each shelf has a filter, one byte for each of many cells: bit n of a cell is set where table n holds some
fingerprint of that cell. One byte read therefore rules out eight tables, but for one in ten.

A table that is sealed never changes. It is stored in parts, each small enough to ride along with a commit, because
to build ten million ids anew takes ten seconds.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence

import msgspec

ID = 16
"""Bytes in an id."""
SMALLEST, LARGEST = 1 << 14, 1 << 20
"""Slots of a table."""
TABLES = 8
"""Tables on a shelf: the bits in a byte."""
CELLS = 8
"""Cells of the filter for each slot of a table."""

_NUMBER = 20
"""Bits of a slot for the id's number within the table, from 1 on, so that no used slot is zero."""
_KEPT = (1 << 64) - (1 << _NUMBER)
_STEP = 44
"""Bits of a fingerprint below those that say how far on to look next; an odd way, so that every slot is met."""
_CELL = 41
"""Bits of a fingerprint below those that name its first cell."""
_NEAR = 63
"""The lowest bits say how far its second cell is: in the same 64 bytes, which a processor reads at once."""
_PART = 1 << 16
"""Slots in a part at most."""
_HEADER = struct.Struct("<IQIIId")
"""Of a part: checksum of all that follows, first position, ids and slots of the table, the part's number, last use."""


class Table:
    """The positions of the ids from position `first` on; `latest` is when it took the last one (Unix seconds)."""

    __slots__ = ("_bit", "_filter", "_slots", "count", "first", "latest", "opened")

    def __init__(self, first: int, slots: array[int], filter_: bytearray, bit: int, opened: float) -> None:
        self.first = first
        self.count = 0
        self.opened = opened
        self.latest = opened
        self._slots = slots
        self._filter = filter_
        self._bit = bit

    @property
    def end(self) -> int:
        """The position after the last id."""
        return self.first + self.count

    @property
    def size(self) -> int:
        """The number of slots."""
        return len(self._slots)

    @property
    def room(self) -> int:
        """The number of ids that may still be added: a table is full when four fifths of its slots are."""
        return len(self._slots) * 4 // 5 - self.count

    def add(self, fingerprints: Sequence[int], now: float) -> None:
        """Add the ids of the next positions, at most `room` of them."""
        slots, cells, bit, kept = self._slots, self._filter, self._bit, _KEPT
        last, last_cell = len(slots) - 1, len(cells) - 1
        for number, fingerprint in enumerate(fingerprints, self.count + 1):
            slot = fingerprint & last
            while slots[slot]:
                slot = slot + (fingerprint >> _STEP | 1) & last
            slots[slot] = fingerprint & kept | number
            cell = fingerprint >> _CELL & last_cell
            cells[cell] |= bit
            cells[cell ^ fingerprint & _NEAR] |= bit
        self.count += len(fingerprints)
        self.latest = max(self.latest, now)

    def positions(self, fingerprint: int) -> Sequence[int]:
        """Return the positions of all ids with the same fingerprint, as far as the table can tell."""
        slots = self._slots
        last = len(slots) - 1
        slot, step, kept = fingerprint & last, fingerprint >> _STEP | 1, fingerprint >> _NUMBER
        found: list[int] = []
        while held := slots[slot]:
            if held >> _NUMBER == kept:
                found.append(self.first - 1 + (held & ~_KEPT))
            slot = slot + step & last
        return found

    @property
    def parts(self) -> int:
        """The number of parts that `part` can be asked for."""
        return _parts(self.size)

    def part(self, number: int) -> bytes:
        """Encode a part of a sealed table, at most 577 KiB, little-endian on every machine."""
        start = number * _PART
        slots = little_endian(self._slots[start : start + _PART])
        cells = self._filter[start * CELLS : (start + len(slots)) * CELLS]
        bits = 0
        for lane in range(8):
            bits |= int.from_bytes(cells[lane::8].translate(_one_if(self._bit)), "little") << lane
        header = _HEADER.pack(0, self.first, self.count, len(self._slots), number, self.latest)[4:]
        data = b"".join((header, bits.to_bytes(len(cells) // 8, "little"), slots.tobytes()))
        return zlib.crc32(data).to_bytes(4, "little") + data

    def restore(self, parts: Iterable[Part]) -> None:
        """Fill an empty table with all the parts of another one, in order."""
        start = 0
        for part in parts:
            bits, slots = part.bits, part.slots
            self._slots[start : start + len(slots)] = slots
            for lane in range(8):
                place = slice(start * CELLS + lane, (start + len(slots)) * CELLS, 8)
                mine = int.from_bytes(bits.translate(_bit_if(1 << lane, self._bit)), "little")
                others = int.from_bytes(self._filter[place], "little")
                self._filter[place] = (mine | others).to_bytes(len(bits), "little")
            start += len(slots)
            self.count, self.latest = part.count, part.latest


class Part(msgspec.Struct, frozen=True):
    """A part of a table as it was stored; `latest` is in Unix seconds."""

    first: int
    count: int
    size: int
    number: int
    latest: float
    content: bytes

    @classmethod
    def read(cls, data: bytes) -> Part | None:
        """Decode a part; None where it is damaged."""
        if len(data) < _HEADER.size or zlib.crc32(memoryview(data)[4:]) != int.from_bytes(data[:4], "little"):
            return None
        _, first, count, size, number, latest = _HEADER.unpack_from(data)
        return cls(first, count, size, number, latest, data[_HEADER.size :])

    @property
    def parts(self) -> int:
        """The number of parts of the table."""
        return _parts(self.size)

    @property
    def bits(self) -> bytes:
        """The table's bits of the filter."""
        return self.content[: min(self.size, _PART) * CELLS // 8]

    @property
    def slots(self) -> array[int]:
        """The slots."""
        return little_endian(array("Q", self.content[min(self.size, _PART) * CELLS // 8 :]))


class Shelf:
    """Up to eight tables of `size` slots each, a power of two."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._filter = bytearray(size * CELLS)
        self._tables: dict[int, Table] = {}

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def full(self) -> bool:
        """Whether there is no place for another table."""
        return len(self._tables) == TABLES

    def open(self, first: int, now: float) -> Table:
        """Place an empty table for the positions from `first` on."""
        bit = next(bit for place in range(TABLES) if (bit := 1 << place) not in self._tables)
        table = Table(first, array("Q", [0]) * self.size, self._filter, bit, now)
        self._tables[bit] = table
        return table

    def forget(self, table: Table) -> None:
        """Drop a table, if it is one of these, and clear its place."""
        for bit, other in list(self._tables.items()):
            if other is table:
                del self._tables[bit]
                self._filter[:] = self._filter.translate(bytes(byte & ~bit for byte in range(256)))

    def find(self, fingerprints: Sequence[int]) -> Iterator[tuple[int, Table, int]]:
        """Yield the index of each fingerprint that is known, with its table and its position there."""
        cells, tables = self._filter, self._tables
        last = len(cells) - 1
        held = [
            (index, fingerprint, both)
            for index, fingerprint in enumerate(fingerprints)
            if (one := cells[cell := fingerprint >> _CELL & last]) and (both := one & cells[cell ^ fingerprint & _NEAR])
        ]
        for index, fingerprint, both in held:
            left = both
            while left:
                bit = left & -left
                left ^= bit
                table = tables[bit]
                for position in table.positions(fingerprint):
                    yield index, table, position


def _parts(size: int) -> int:
    return -(-size // _PART)


def little_endian(words: array[int]) -> array[int]:
    """Swap the bytes of 64-bit words where the machine is big-endian, in place."""
    if sys.byteorder == "big":  # pragma: no cover
        words.byteswap()
    return words


def _one_if(bit: int) -> bytes:
    """Make a translation of bytes to 1 where the bit is set, else 0."""
    return bytes(byte & bit > 0 for byte in range(256))


def _bit_if(bit: int, other: int) -> bytes:
    """Make a translation of bytes to `other` where the bit is set, else 0."""
    return bytes(other if byte & bit else 0 for byte in range(256))

"""Digging: rows that lie on the pages of a file, whatever is left of the trees that led to them.

Every page is looked at as if it were one of a tree with rows on it, and every row that has the columns of one of our
tables is yielded; one of `batches` only if its checksum matches. Some may have been deleted long ago and lie on a page
that was not used again. The layout: sqlite.org/fileformat2.html, sections 1.6 and 2.1. The WAL is not looked at.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from router.journal.duplicates import ID

Value: TypeAlias = int | float | str | bytes | None
Row: TypeAlias = tuple[Value, ...]

PAGE = 4096
"""Bytes of a page where the header does not say it: we never ask for another size."""
SHAPES = {
    "batches": "KIRIBB",
    "seen": "KRB",
    "replays": "KTT",
    "progress": "TIITIIIIITIIB",
    "marks": "TTII",
    "parked": "TIBTIIRRBRI",
    "dead": "TIBTIIRRBT",
    "spans": "TIIRR",
    "endings": "TIRITT",
}
"""The types of the tables' columns; K is a key that lies before its row, in a tree of another kind."""
_TYPES = {"K": int, "I": int | None, "R": int | float, "T": str, "B": bytes}
_MAGIC = b"SQLite format 3\0"
_LEAF, _INDEX_LEAF, _INDEX = 13, 10, 2
"""Types of pages with rows on them."""
_WIDTHS = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""Bytes of a value by its serial type."""
_REAL, _ZERO, _ONE, _BLOB = 7, 8, 9, 12


def page_size(header: bytes) -> int:
    """Return the bytes of a page that a file's header speaks of; 0 if it is no header."""
    size = int.from_bytes(header[16:18])
    size = 65536 if size == 1 else size
    sound = header.startswith(_MAGIC) and size >= 512 and size & (size - 1) == 0  # noqa: PLR2004 - the smallest
    return size if sound else 0


def dig(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield (table, row) of all that is found, in the order of the pages."""
    with path.open("rb") as file:
        if file.seek(0, 2) < PAGE:
            return
        with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            pages = _Pages(data, page_size(data[:100]) or PAGE)
            for number in range(1, len(data) // pages.size + 1):
                for keyed, row in pages.rows(number):
                    table = _table(row, keyed=keyed)
                    if table and (table != "batches" or _sound(row)):
                        yield table, row


def batches_on(page: bytes) -> Iterator[int]:
    """Yield the position after the last event of each row of `batches` on a page, whatever else is on it.

    Only the beginning of a row is looked at, which is on the page also where the rest is not.
    """
    if page[0] != _LEAF:
        return
    for place in range(8, min(8 + 2 * int.from_bytes(page[3:5]), len(page) - 1), 2):
        try:
            end = _batch_end(page, int.from_bytes(page[place : place + 2]))
        except IndexError:
            continue  # no row is there
        if end:
            yield end


def _batch_end(page: bytes, at: int) -> int:
    """Return the position after the last event of a row, 0 if it is none of `batches`."""
    _, at = _varint(page, at)
    first, at = _varint(page, at)
    start = at
    size, at = _varint(page, at)
    kinds: list[int] = []
    while at < start + size:
        kind, at = _varint(page, at)
        kinds.append(kind)
    if len(kinds) != len(SHAPES["batches"]) or kinds[0] != 0 or kinds[2] != _REAL or min(kinds[4:]) < _BLOB:
        return 0
    if kinds[1] > _ONE or kinds[1] == _REAL:
        return 0
    place = start + size
    count = _value(kinds[1], page[place : place + _WIDTHS[kinds[1]]])
    whole = isinstance(count, int) and (kinds[4] - _BLOB) // 2 == count * ID > 0
    return first + count if whole and isinstance(count, int) else 0


def _table(row: Row, *, keyed: bool) -> str:
    """Return the table that a row may be of, if any."""
    for table, shape in SHAPES.items():
        if len(row) != len(shape) or keyed != (shape[0] == "K"):
            continue
        if all(isinstance(value, _TYPES[kind]) for value, kind in zip(row, shape, strict=True)):
            return table
    return ""


def _sound(row: Row) -> bool:
    """Say whether a row of `batches` is what was written."""
    _, count, _, crc, ids, body = row
    if not (isinstance(count, int) and isinstance(ids, bytes) and isinstance(body, bytes)):
        return False
    return len(ids) == count * ID > 0 and zlib.crc32(body, zlib.crc32(ids)) == crc


class _Pages:
    """The pages of a file, from number 1 on."""

    def __init__(self, data: mmap.mmap, size: int) -> None:
        self.size = size
        self._data = data

    def _page(self, number: int) -> bytes:
        return self._data[(number - 1) * self.size : number * self.size]

    def rows(self, number: int) -> Iterator[tuple[bool, Row]]:
        """Yield what can be read as rows, and whether they have keys that lie before them."""
        page = self._page(number)
        head = 100 if number == 1 else 0
        kind = page[head]
        if kind not in (_LEAF, _INDEX_LEAF, _INDEX):
            return
        count = int.from_bytes(page[head + 3 : head + 5])
        first = head + (12 if kind == _INDEX else 8)
        for place in range(first, min(first + 2 * count, self.size - 1), 2):
            try:
                yield kind == _LEAF, self._row(page, int.from_bytes(page[place : place + 2]), kind)
            except (IndexError, ValueError, struct.error):
                continue  # no row is there

    def _row(self, page: bytes, at: int, kind: int) -> Row:
        if kind == _INDEX:
            at += 4
        length, at = _varint(page, at)
        key: int | None = None
        if kind == _LEAF:
            key, at = _varint(page, at)
        values = _values(self._payload(page, at, length, kind))
        return (key, *values[1:]) if kind == _LEAF else values

    def _payload(self, page: bytes, at: int, length: int, kind: int) -> bytes:
        """Return the bytes of a row: those on its page, and those on the pages that it overflows to."""
        if length > len(self._data):
            raise ValueError
        most = self.size - 35 if kind == _LEAF else (self.size - 12) * 64 // 255 - 23
        if length <= most:
            return page[at : at + length]
        least = (self.size - 12) * 32 // 255 - 23
        here = least + (length - least) % (self.size - 4)
        here = here if here <= most else least
        parts = [page[at : at + here]]
        following = int.from_bytes(page[at + here : at + here + 4])
        for _ in range(-(-(length - here) // (self.size - 4))):
            page = self._page(following) if following else b""
            parts.append(page[4:])
            following = int.from_bytes(page[:4])
        return b"".join(parts)[:length]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of one to nine bytes, and where it ends."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 127
        if data[place] < 128:  # noqa: PLR2004 - the bit that says that there is more
            return value, place + 1
    return value << 8 | data[at + 8], at + 9


def _values(payload: bytes) -> Row:
    """Decode a record; raises ValueError, IndexError or struct.error if it is none."""
    place, at = _varint(payload, 0)
    start = place
    kinds: list[int] = []
    while at < start:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        width = (kind - _BLOB) // 2 if kind >= _BLOB else _WIDTHS[kind]
        values.append(_value(kind, payload[place : place + width]))
        place += width
    if place != len(payload) or not values:
        raise ValueError
    return tuple(values)


def _value(kind: int, data: bytes) -> Value:
    if kind == 0:
        return None
    if kind >= _BLOB:
        return data.decode(errors="replace") if kind & 1 else data
    if kind == _REAL:
        (real,) = struct.unpack(">d", data)
        return float(real)
    return kind - _ZERO if kind in (_ZERO, _ONE) else int.from_bytes(data, signed=True)

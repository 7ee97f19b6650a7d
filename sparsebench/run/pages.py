"""Whole columns of a table WITHOUT ROWID, decoded from SQLite's pages: no object a row.

A cursor makes a Python object of every value. The pages hold the same values as bytes, in a format
that is documented and fixed (https://www.sqlite.org/fileformat2.html); rows that share a header
share a layout, so that each of their columns is one array.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

_PIECE = 1 << 14  # rows decoded at once
_INTERIOR = 2  # the kind of a page that has children
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)  # bytes of a value by its serial type; then texts
_FLOAT = 7


@dataclass(frozen=True)
class Column:
    """Numbers, and which of them are NULL; or of texts their places in a sorted list."""

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None = None
    texts: list[str] | None = None


def read_columns(
    connection: sqlite3.Connection,
    table: str,
    columns: Collection[str],
    where: str = "",
    among: Sequence[int | None] | None = None,
) -> dict[str, Column]:
    """Return columns of all rows, or of some, in an order that is the same for each column.

    Parameters
    ----------
    connection : Connection
    table : str
        WITHOUT ROWID.
    columns : collection of str
    where : str
        A column of integers; its values tell which rows are read.
    among : sequence of int or None, optional
        Those values, None being no row's; all rows by default.

    Raises
    ------
    sqlite3.DatabaseError
        If SQLite counts another number of rows than are found.
    """
    # The root, the names and the pages are of one moment: others may write meanwhile.
    connection.execute("BEGIN")
    try:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
        described = connection.execute(f"PRAGMA table_info({table})").fetchall()
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        data = _image(connection)
    finally:
        connection.rollback()
    # The key comes first.
    described.sort(key=lambda one: (one[5] == 0, one[5], one[0]))
    kinds = {name: kind for _, name, kind, *_ in described}
    place = {name: i for i, name in enumerate(kinds)}
    parts = [_Records(*part) for part in _records(data, root)]
    found = sum(len(part.at) for part in parts)
    if found != count:
        raise sqlite3.DatabaseError(f"{found} of {count} rows of the table {table} can be read")
    if among is not None:
        wanted = [value for value in among if value is not None]
        for part in parts:
            part.keep(place[where], wanted)
    makers = {
        name: (place[name], _Texts() if kinds[name] == "TEXT" else _Numbers(kinds[name] == "REAL"))
        for name in columns
    }
    n_rows = sum(len(part.at) for part in parts)
    for _, maker in makers.values():
        maker.start(n_rows)
    end = 0
    for part in parts:
        end = part.read(list(makers.values()), end)
    return {name: maker.column() for name, (_, maker) in makers.items()}


def _image(connection: sqlite3.Connection) -> Bytes:
    """Return all pages of the database, as this transaction sees it."""
    try:
        return np.frombuffer(connection.serialize(), np.uint8)
    except (AttributeError, MemoryError, sqlite3.Error):  # not built in, or above 2 GB
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "copy.db")
            with closing(sqlite3.connect(path)) as copy:
                connection.backup(copy)
            return np.fromfile(path, np.uint8)


def _records(data: Bytes, root: int) -> Iterator[tuple[Bytes, Integers]]:
    """Yield where the records of a tree begin: those in their pages, and those that go beyond."""
    page = int.from_bytes(data[16:18].tobytes(), "big")
    page = 65536 if page == 1 else page
    usable = page - int(data[20])
    at, sizes = [], []
    level = np.array([root], np.int64)
    while level.size:
        starts = (level - 1) * page
        inner = data[starts[0]] == _INTERIOR
        counts = _big_endian(data, starts + 3, 2)
        ends = np.cumsum(counts)
        first = starts + (12 if inner else 8) - 2 * (ends - counts)
        pointers = np.repeat(first, counts) + 2 * np.arange(ends[-1])
        cells = np.repeat(starts, counts) + _big_endian(data, pointers, 2)
        level = np.empty(0, np.int64)
        if inner:
            level = np.append(_big_endian(data, cells, 4), _big_endian(data, starts + 8, 4))
            cells += 4
        size, cells = _varints(data, cells)
        at.append(cells)
        sizes.append(size)
    begins, size = np.concatenate(at), np.concatenate(sizes)
    most, least = ((usable - 12) * share // 255 - 23 for share in (64, 32))
    # A view of a header may not end beyond the data.
    apart = (size > most) | (begins + page > len(data))
    yield data, begins[~apart]
    texts, places, total = [], [], 0
    for begin, length in zip(begins[apart].tolist(), size[apart].tolist(), strict=True):
        here = length
        if length > most:
            here = least + (length - least) % (usable - 4)
            here = here if here <= most else least
        text = data[begin : begin + here].tobytes()
        link = begin + here
        for _ in range(-(-(length - here) // (usable - 4))):
            start = (int.from_bytes(data[link : link + 4].tobytes(), "big") - 1) * page
            text += data[start + 4 : start + usable].tobytes()
            link = start
        text = text[:length]
        texts.append(text)
        places.append(total)
        total += length
    yield np.frombuffer(b"".join(texts) + bytes(64), np.uint8), np.array(places, np.int64)


class _Records:
    """Rows sorted by layout, so that those of one layout are one piece."""

    def __init__(self, data: Bytes, at: Integers) -> None:
        self.data = data
        width = max(8, -(-int(data[at].max(initial=0)) // 8) * 8)
        headers = _Texts()
        headers.start(len(at))
        for first in range(0, len(at), _PIECE):
            some = _cut(data, at[first : first + _PIECE], width)
            some[np.arange(width) >= some[:, :1]] = 0
            headers.add(slice(first, first + _PIECE), 0, some)
        self.layouts = [_types(header) for header in headers.known]
        self._sort(at, headers.codes.astype(np.int64))

    def _sort(self, at: Integers, layout: Integers) -> None:
        small = layout.astype(np.uint16) if len(self.layouts) < 65536 else layout
        order = np.argsort(small, kind="stable")  # of so few bits by radix
        self.at = at[order]
        self.counts = np.bincount(layout, minlength=len(self.layouts)).tolist()

    def keep(self, column: int, among: Sequence[int]) -> None:
        """Leave out the rows whose integer in a column is none of these."""
        found = _Numbers(real=False)
        found.start(len(self.at))
        self.read([(column, found)], 0)
        kept = np.isin(found.values, among)
        self._sort(self.at[kept], np.repeat(np.arange(len(self.layouts)), self.counts)[kept])

    def read(self, makers: Sequence[tuple[int, _Numbers | _Texts]], end: int) -> int:
        """Hand these columns of all rows on, of neighbouring rows together; return their end."""
        start = 0
        for (skipped, types), count in zip(self.layouts, self.counts, strict=True):
            sizes = [_SIZES[kind] if kind < len(_SIZES) else (kind - 12) // 2 for kind in types]
            begins = [0, *accumulate(sizes)]
            # NULLs at the end may have been left out.
            asked = [(column, maker) for column, maker in makers if column < len(types)]
            low = min((begins[column] for column, _ in asked), default=0)
            high = max((begins[column + 1] for column, _ in asked), default=0)
            for first in range(start, start + count, _PIECE):
                at = self.at[first : min(first + _PIECE, start + count)]
                block = _cut(self.data, at + (skipped + low), high - low)
                rows = slice(end, end + len(at))
                end += len(at)
                for column, maker in makers:
                    if column < len(types):
                        raw = block[:, begins[column] - low : begins[column + 1] - low]
                        maker.add(rows, types[column], raw)
                    else:
                        maker.add(rows, 0, block[:, :0])
            start += count
        return end


class _Numbers:
    """A column of numbers; NULL is NaN, or 0 among integers."""

    def __init__(self, real: bool) -> None:
        self.dtype = np.float64 if real else np.int64

    def start(self, n_rows: int) -> None:
        self.values: NDArray[Any] = np.empty(n_rows, self.dtype)
        self.missing = np.zeros(n_rows, bool)

    def add(self, rows: slice, kind: int, raw: Bytes) -> None:
        if kind == 0:
            self.values[rows] = np.nan if self.dtype is np.float64 else 0
            self.missing[rows] = True
        elif kind in (8, 9):
            self.values[rows] = kind - 8
        elif kind == _FLOAT:
            self.values[rows] = raw.view(">f8")[:, 0]
        else:
            self.values[rows] = _signed(raw)

    def column(self) -> Column:
        return Column(self.values, self.missing)


class _Texts:
    """A column of texts."""

    def start(self, n_rows: int) -> None:
        self.codes = np.empty(n_rows, np.int32)
        self.known: dict[bytes, int] = {}

    def add(self, rows: slice, kind: int, raw: Bytes) -> None:
        local, firsts = _distinct(raw)
        texts = [raw[first].tobytes() for first in firsts]
        codes = [self.known.setdefault(text, len(self.known)) for text in texts]
        self.codes[rows] = np.array(codes, np.int32)[local] if len(codes) > 1 else codes[0]

    def column(self) -> Column:
        ordered = sorted(self.known)  # as UTF-8 sorts, so do its characters
        rank = np.empty(len(ordered), np.int32)
        rank[[self.known[text] for text in ordered]] = np.arange(len(ordered))
        return Column(rank[self.codes], texts=[text.decode() for text in ordered])


def _cut(data: Bytes, at: Integers, size: int) -> Bytes:
    """Return so many bytes from each place, a row a place."""
    if size == 0 or len(at) == 0:
        return np.empty((len(at), size), np.uint8)
    overlapping = np.ndarray(len(data) - size + 1, f"V{size}", data, strides=(1,))
    return overlapping[at].view(np.uint8).reshape(-1, size)


def _types(header: bytes) -> tuple[int, list[int]]:
    """Return the bytes of a header and the serial types in it."""
    types, value = [], 0
    for byte in header[1 : header[0]]:
        value = value << 7 | byte & 127
        if byte < 128:
            types.append(value)
            value = 0
    return header[0], types


def _distinct(rows: Bytes) -> tuple[Integers, Integers]:
    """Number the distinct rows of bytes, and say where each is found."""
    from pandas import factorize

    n_rows, width = rows.shape
    if n_rows == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    padded = rows
    if width % 8:
        padded = np.zeros((n_rows, -(-width // 8) * 8), np.uint8)
        padded[:, :width] = rows
    padded = np.ascontiguousarray(padded)
    codes, count = np.zeros(n_rows, np.int64), 1
    for word in padded.view(np.uint64).T:
        if (word == word[0]).all():
            continue
        new, words = factorize(word)
        if count > 1:
            new, words = factorize(codes * len(words) + new)
        codes, count = new, len(words)
    firsts = np.empty(count, np.int64)
    firsts[codes[::-1]] = np.arange(n_rows)[::-1]  # the last to be assigned stays
    return codes, firsts


def _varints(data: Bytes, at: Integers) -> tuple[Integers, Integers]:
    """Return the integers of variable length that begin there, and where they end."""
    byte = data[at]
    value, at = (byte & 127).astype(np.int64), at + 1
    more = np.flatnonzero(byte > 127)
    while more.size:
        byte = data[at[more]]
        value[more] = value[more] << 7 | byte & 127
        at[more] += 1
        more = more[byte > 127]
    return value, at


def _big_endian(data: Bytes, at: Integers, size: int) -> Integers:
    value = np.zeros(len(at), np.int64)
    for i in range(size):
        value = value << 8 | data[at + i]
    return value


def _signed(raw: Bytes) -> Integers:
    """Return big-endian integers in two's complement, of any number of bytes."""
    value = raw[:, 0].view(np.int8).astype(np.int64)
    for byte in raw.T[1:]:
        value = value << 8 | byte
    return value

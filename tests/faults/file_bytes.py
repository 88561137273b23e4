"""Finding a value's bytes in an SQLite file, and flipping one of them: no SQL, as a disk would do it.

A row lies in its page as a record: a header of serial types, then the values. The record of a row is built here from
its values, looked for in the file, and must be found exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import apsw

#: A record's beginning that is long enough to be unique; what is longer may lie on overflow pages.
_LOCAL = 400
_INTEGER_TYPES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_AROUND = 12
WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
FRAME_BYTES = FRAME_HEADER_BYTES + 4_096


@dataclass(frozen=True, slots=True)
class Flip:
    """One flipped bit in one file, which can be flipped back even after other bytes have moved it."""

    path: Path
    good: bytes
    bad: bytes

    @classmethod
    def at(cls, path: Path, offset: int) -> Flip:
        """Flip the lowest bit of a byte."""
        data = bytearray(path.read_bytes())
        start = max(0, offset - _AROUND)
        good = bytes(data[start : offset + _AROUND])
        data[offset] ^= 1
        path.write_bytes(data)
        return cls(path, good, bytes(data[start : offset + _AROUND]))

    def undo(self) -> None:
        """Flip it back."""
        data = self.path.read_bytes()
        assert data.count(self.bad) == 1, data.count(self.bad)
        self.path.write_bytes(data.replace(self.bad, self.good))


@dataclass(frozen=True, slots=True)
class _Record:
    data: bytes
    #: For each column, where its value lies; where its serial type does, when the type is all there is.
    offsets: tuple[int, ...]


def _varint(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(0x80 | value & 0x7F)
    return bytes(reversed(parts))


def _serial(value: apsw.SQLiteValue) -> tuple[int, bytes]:
    match value:
        case None:
            return 0, b""
        case 0 | 1:
            return 8 + int(value), b""
        case int():
            for type_, size in _INTEGER_TYPES.items():
                if -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
                    return type_, value.to_bytes(size, "big", signed=True)
            raise AssertionError(value)
        case bytes():
            return 12 + 2 * len(value), value
        case str():
            return 13 + 2 * len(value.encode()), value.encode()
        case _:
            raise AssertionError(value)


def _record(values: tuple[apsw.SQLiteValue, ...]) -> _Record:
    serials = [_serial(value) for value in values]
    types = [_varint(type_) for type_, _ in serials]
    header = 1 + sum(map(len, types))
    assert header < 0x80
    offsets, type_at, value_at = [], 1, header
    for type_, (_, value) in zip(types, serials, strict=True):
        offsets.append(value_at if value else type_at)
        type_at, value_at = type_at + len(type_), value_at + len(value)
    return _Record(bytes([header]) + b"".join(types) + b"".join(value for _, value in serials), tuple(offsets))


def flip_column(path: Path, table: str, column: str, where: str) -> Flip:
    """Flip a byte of one column of one row of a closed database."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    # In a rowid table, the key is before the record, and in it is nothing.
    keyed = {"log": "id", "entries": "idx"}.get(table)
    row = connection.execute(f"SELECT * FROM {table} WHERE {where}").fetchone()
    connection.close()
    assert row is not None
    record = _record(tuple(None if name == keyed else value for name, value in zip(names, row, strict=True)))
    at = _only(path.read_bytes(), record.data[:_LOCAL])
    if column == keyed:
        return Flip.at(path, at - 1)
    value = row[names.index(column)]
    if isinstance(value, bytes) and len(record.data) > _LOCAL and record.offsets[names.index(column)] >= _LOCAL:
        return Flip.at(path, _only(path.read_bytes(), value))
    return Flip.at(path, at + record.offsets[names.index(column)])


def flip_index(path: Path, statement_id: bytes, rowid: int) -> Flip:
    """Flip a byte of a statement's id where the index on ids holds it."""
    return Flip.at(path, _only(path.read_bytes(), _record((statement_id, rowid)).data) + 5)


def columns(path: Path) -> dict[str, list[str]]:
    """Return every column of every table in the file."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {
        table: [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")] for table in map(str, tables)
    }
    connection.close()
    return found


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a write-ahead log."""

    offset: int
    #: Whether it ends a commit.
    commit: bool


def wal_frames(path: Path) -> list[Frame]:
    """Return the frames of the log's present round; those of an earlier one, after it, have other salts."""
    data = path.read_bytes()
    size = FRAME_HEADER_BYTES + int.from_bytes(data[8:12], "big")
    found = []
    for offset in range(WAL_HEADER_BYTES, len(data) - size + 1, size):
        if data[offset + 8 : offset + 16] != data[16:24]:
            break
        found.append(Frame(offset, any(data[offset + 4 : offset + 8])))
    return found


def _only(data: bytes, part: bytes) -> int:
    assert data.count(part) == 1, f"found {data.count(part)} times"
    return data.index(part)

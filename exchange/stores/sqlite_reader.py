"""Reading a log's files without a hub: for verification and diagnosis, also while a hub has them open.

Takes no lock and writes nothing. Entries below the floor come from bundles, as leaves; the rest from the table, as
frames. Nothing is trusted: what is read is handed on as it is, for the reader to check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exchange.errors import Fatal
from exchange.ledger.tiles import TILE_WIDTH, entries_path
from exchange.ops.transactions import all_rows, first_row
from exchange.stores import sqlite_schema as schema
from exchange.stores.entries import read_bundle
from exchange.stores.sqlite import FILE_NAME

_PAGE = 256
_ROWS = (
    "SELECT idx, frame, statement_id, leaf_hash, received_at_ms, checksum FROM entries"
    " WHERE idx >= ? AND idx < ? ORDER BY idx"
)


@dataclass(frozen=True, slots=True)
class LogState:
    """What a log's file says of itself."""

    origin: str
    durable_size: int
    sealed_size: int
    durable_root: bytes
    sealed_root: bytes
    checkpoint: bytes
    floor: int
    last_received_at_ms: int
    last_directory_size: int


@dataclass(frozen=True, slots=True)
class RawEntry:
    """An entry as it lies in the files: a leaf from a bundle, or a frame from the table."""

    index: int
    leaf: bytes = b""
    frame: bytes = b""
    #: What else is in the frame's row.
    statement_id: bytes = b""
    leaf_hash: bytes = b""
    received_at_ms: int = 0
    checksum: int = 0


class LogFiles:
    """The files of one log, opened read-only."""

    def __init__(self, folder: Path) -> None:
        """Open the log in this folder. Raises `Rejected` when there is none, `Fatal` when it cannot be read."""
        path = folder / FILE_NAME
        if not path.exists():
            raise schema.missing(path)
        self._folder = folder
        self._path = path
        self._connection = schema.connect(path, read_only=True)

    def state(self) -> LogState:
        """Return the log's head. Raises `Fatal`."""
        schema.require_format(self._path, schema.SCHEMA_VERSION)
        with schema.typed(self._path):
            row = first_row(
                self._connection,
                "SELECT origin, durable_size, sealed_size, durable_root, sealed_root, checkpoint, floor,"
                " last_received_at_ms, last_directory_size FROM log WHERE id = 1",
            )
        types = (str, int, int, bytes, bytes, bytes, int, int, int)
        if row is None or not all(map(isinstance, row, types)):
            raise Fatal(f"{self._path}: has no readable head")
        return LogState(*row)

    def entries(self, size: int) -> Iterator[RawEntry]:
        """Yield entries [0, size) in order. Raises `Fatal` when one is missing."""
        floor = self.state().floor
        for index in range(floor // TILE_WIDTH):
            for position, leaf in enumerate(read_bundle(self._folder / entries_path(index))):
                yield RawEntry(index * TILE_WIDTH + position, leaf=leaf)
        yield from self._rows(floor, size)

    def _rows(self, start: int, size: int) -> Iterator[RawEntry]:
        while start < size:
            with schema.typed(self._path):
                rows = all_rows(self._connection, _ROWS, (start, min(size, start + _PAGE)))
            if not rows:
                raise Fatal(f"{self._path}: entry {start} is missing")
            for row in rows:
                match row:
                    case (int(at), bytes(frame), bytes(id_), bytes(hash_), int(received), int(sum_)) if at == start:
                        yield RawEntry(start, b"", frame, id_, hash_, received, sum_)
                    case _:
                        raise Fatal(f"{self._path}: entry {start} is missing or damaged")
                start += 1

    def tile(self, level: int, index: int) -> tuple[bytes, bytes] | None:
        """Return a whole hash tile as it is stored, with its root; None when it is not there. Raises `Fatal`."""
        query = "SELECT hashes, root FROM tiles WHERE level = ? AND idx = ?"
        with schema.typed(self._path):
            row = first_row(self._connection, query, (level, index))
        match row:
            case None:
                return None
            case (bytes(hashes), bytes(root)):
                return hashes, root
        raise Fatal(f"{self._path}: hash tile {level}/{index} is damaged")

    def damage(self) -> str:
        """Return what SQLite itself finds wrong with the file, such as an index that is not its table's; or nothing."""
        with schema.typed(self._path):
            (found,) = first_row(self._connection, "PRAGMA integrity_check(1)") or ("",)
        return "" if found == "ok" else str(found).strip()

    def sizes(self) -> tuple[int, int]:
        """Return the bytes of the file, and of its write-ahead log."""
        wal = self._path.with_name(f"{self._path.name}-wal")
        return self._path.stat().st_size, wal.stat().st_size if wal.exists() else 0

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

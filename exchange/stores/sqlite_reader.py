"""Reading a log's files without a hub: for verification and diagnosis, also while a hub has them open.

Takes no lock and writes nothing. Entries below the floor come from bundles, as leaves; the rest from the table, as
frames. Nothing is trusted: what is read is handed on as it is, for the reader to check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from exchange.errors import Fatal
from exchange.ledger.tiles import TILE_WIDTH, decode_bundle, entries_path
from exchange.stores import sqlite_schema as schema
from exchange.stores.sqlite import FILE_NAME

_PAGE = 256


@dataclass(frozen=True, slots=True)
class LogState:
    """What a log's file says of itself."""

    origin: str
    durable_size: int
    sealed_size: int
    durable_root: bytes
    checkpoint: bytes
    floor: int
    last_received_at_ms: int


@dataclass(frozen=True, slots=True)
class RawEntry:
    """An entry as it lies in the files: a leaf from a bundle, or a frame from the table."""

    index: int
    leaf: bytes = b""
    frame: bytes = b""


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
        version = self._connection.pragma("user_version")
        if version != schema.SCHEMA_VERSION:
            raise Fatal(f"{self._path}: schema version {version} is not known to this release")
        try:
            row = self._connection.execute(
                "SELECT origin, durable_size, sealed_size, durable_root, checkpoint, floor, last_received_at_ms"
                " FROM log"
            ).fetchone()
        except apsw.Error as error:
            raise Fatal(f"{self._path}: {error}") from error
        if row is None:
            raise Fatal(f"{self._path}: has no head")
        return LogState(*row)

    def entries(self, size: int) -> Iterator[RawEntry]:
        """Yield entries [0, size) in order. Raises `Fatal` when one is missing."""
        floor = self.state().floor
        for index in range(floor // TILE_WIDTH):
            file = self._folder / entries_path(index)
            if not file.exists():
                raise Fatal(f"{file}: an entry bundle is missing")
            for position, leaf in enumerate(decode_bundle(file.read_bytes())):
                yield RawEntry(index * TILE_WIDTH + position, leaf=leaf)
        yield from self._rows(floor, size)

    def _rows(self, start: int, size: int) -> Iterator[RawEntry]:
        while start < size:
            try:
                rows = self._connection.execute(
                    "SELECT idx, frame FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx",
                    (start, min(size, start + _PAGE)),
                ).fetchall()
            except apsw.Error as error:
                raise Fatal(f"{self._path}: {error}") from error
            if not rows:
                raise Fatal(f"{self._path}: entry {start} is missing")
            for index, frame in rows:
                if index != start or not isinstance(frame, bytes):
                    raise Fatal(f"{self._path}: entry {start} is missing")
                yield RawEntry(start, frame=frame)
                start += 1

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

"""The embedded store's reading side: cold entries, hash tiles and entry bundles. Runs on the reader thread.

Nothing read from disk is handed on unchecked: a frame has the checksum and leaf hash that it was stored with, a tile
the root that was stored with it, a bundle the leaf hashes of its tile. No statement outlives its call, so that the next
one sees what is durable by then, and the write-ahead log can always be cut; that happens on this thread, where no read
of ours can be in the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from exchange.codec import frame_leaf
from exchange.errors import CursorBelowFloor, ExchangeError, Fatal, Rejected
from exchange.ledger.merkle import HASH_BYTES, leaf_hash
from exchange.ledger.tiles import TILE_HEIGHT, TILE_WIDTH, HashTile, decode_bundle, encode_bundle, entries_path
from exchange.ops.durable import write_once
from exchange.ops.transactions import first_row
from exchange.ports import StoredEntry
from exchange.stores import sqlite_schema as schema
from exchange.stores.disk import explained
from exchange.stores.entries import hash_of_leaf_in
from exchange.stores.inner_tiles import InnerTiles

#: About what one feed message takes: who reads on reads what it can send.
_READ_BYTES = 1_000_000
_KNOWN_ROOTS = 4_096
_BUSY_MS = 50
_SELECT = (
    "SELECT idx, statement_id, leaf_hash, received_at_ms, frame, checksum FROM entries"
    " WHERE idx >= ? AND idx < ? ORDER BY idx"
)


class Rows:
    """The reading connection of one log, and its bundle files."""

    def __init__(self, path: Path) -> None:
        """Open the file, which exists."""
        self._path = path
        self._folder = path.parent
        # Writable, because a connection that may only read cannot cut the write-ahead log; but it changes no row.
        self._connection = schema.connect(path)
        self._connection.pragma("query_only", True)  # noqa: FBT003 - the pragma's value
        self._connection.set_busy_timeout(_BUSY_MS)
        self._roots: dict[tuple[int, int], bytes] = {}
        self._inner = InnerTiles()
        #: Checked leaf hashes of the last tile, which is not full.
        self._leaves_from = 0
        self._leaves: list[bytes] = []

    def entries(self, start: int, end: int) -> list[StoredEntry]:
        """Return entries from ``start``, at least one, before ``end``. Raises `CursorBelowFloor` and `Fatal`."""
        found: list[StoredEntry] = []
        size = 0
        with schema.typed(self._path):
            cursor = self._connection.execute(_SELECT, (start, end))
            try:
                for row in cursor:
                    if row[0] != start + len(found):
                        break
                    entry = self._checked(row)
                    found.append(entry)
                    size += len(entry.frame)
                    if size > _READ_BYTES:
                        break
            finally:
                cursor.close()
        if not found:
            raise self._missing(start)
        return found

    def all_entries(self, start: int, end: int) -> list[StoredEntry]:
        """Return entries [start, end), however many reads that takes. Raises as `entries` does."""
        found: list[StoredEntry] = []
        while start + len(found) < end:
            found += self.entries(start + len(found), end)
        return found

    def _checked(self, row: tuple[Any, ...]) -> StoredEntry:
        match row:
            case (int(index), bytes(id_), bytes(hash_), int(received_at_ms), bytes(frame), int(checksum)):
                if schema.checksum(id_, received_at_ms, frame) == checksum and hash_of_leaf_in(frame) == hash_:
                    return StoredEntry(index, id_, hash_, received_at_ms, frame)
        raise Fatal(f"{self._path}: entry {row[0]} is damaged")

    def _missing(self, index: int) -> ExchangeError:
        """Say why a row is not there. The floor on disk is asked: memory learns of a raised one only later."""
        with schema.typed(self._path):
            (floor,) = first_row(self._connection, "SELECT floor FROM log") or (0,)
        return CursorBelowFloor(floor) if index < floor else Fatal(f"{self._path}: entry {index} is missing")

    def find(self, statement_id: bytes) -> int | None:
        """Return the index of a statement."""
        with schema.typed(self._path):
            row = first_row(self._connection, "SELECT idx FROM entries WHERE statement_id = ?", (statement_id,))
        return None if row is None else int(row[0])

    def tile(self, level: int, index: int, width: int) -> HashTile:
        """Return a tile that the tree has, so wide. A partial one is made of what lies below it."""
        whole = self._full_tile(level, index)
        if whole is not None:
            return whole.first(width)
        start = index * TILE_WIDTH
        if level:
            return HashTile(b"".join(self._tile_root(level - 1, below) for below in range(start, start + width)))
        return HashTile(self._leaf_hashes(start, start + width))

    def _leaf_hashes(self, start: int, end: int) -> bytes:
        """Return the hashes of leaves whose tile is not full yet. Each entry is read and checked once, not per call."""
        if start != self._leaves_from:
            self._leaves_from, self._leaves = start, []
        known = self._leaves
        while start + len(known) < end:
            known += (entry.leaf_hash for entry in self.entries(start + len(known), end))
        return b"".join(known[: end - start])

    def _full_tile(self, level: int, index: int) -> HashTile | None:
        known = self._inner.get(level, index)
        if known is not None:
            return known
        with schema.typed(self._path):
            row = first_row(
                self._connection, "SELECT hashes, root FROM tiles WHERE level = ? AND idx = ?", (level, index)
            )
        if row is None:
            return None
        match row:
            case (bytes(hashes), bytes(root)) if len(hashes) == TILE_WIDTH * HASH_BYTES:
                tile = HashTile(hashes)
                if tile.is_whole(root):
                    self._inner.keep(level, index, tile)
                    return tile
        raise Fatal(f"{self._path}: hash tile {level}/{index} is damaged")

    def _tile_root(self, level: int, index: int) -> bytes:
        root = self._roots.get((level, index))
        if root is None:
            tile = self._full_tile(level, index)
            if tile is None:
                raise Fatal(f"{self._path}: hash tile {level}/{index} is missing")
            if len(self._roots) >= _KNOWN_ROOTS:
                self._roots.clear()
            root = self._roots[level, index] = tile.node(TILE_HEIGHT, 0)
        return root

    def bundle(self, index: int, width: int) -> bytes:
        """Return an entry bundle: a whole one from its file where there is one, else from the rows."""
        file = self._folder / entries_path(index)
        try:
            if width == TILE_WIDTH and file.exists():
                data = file.read_bytes()
                self._check_bundle(index, data)
                return data
        except OSError as error:
            raise Fatal(f"{file}: {error.strerror}") from error
        return self._bundle_of_rows(index, width)

    def _bundle_of_rows(self, index: int, width: int) -> bytes:
        start = index * TILE_WIDTH
        try:
            entries = self.all_entries(start, start + width)
        except CursorBelowFloor as error:
            raise Fatal(f"{self._folder / entries_path(index)}: an entry bundle is missing") from error
        return encode_bundle([frame_leaf(entry.frame) for entry in entries])

    def _check_bundle(self, index: int, data: bytes) -> None:
        try:
            leaves: Sequence[bytes] = decode_bundle(data)
        except Rejected:
            leaves = ()
        tile = self._full_tile(0, index)
        if tile is None or b"".join(map(leaf_hash, leaves)) != tile.hashes:
            raise Fatal(f"{self._folder / entries_path(index)}: the entry bundle is damaged")

    def write_bundle(self, index: int) -> None:
        """Make the file of a whole bundle from its rows, durably. One that is there must hold the same bytes."""
        file = self._folder / entries_path(index)
        data = self._bundle_of_rows(index, TILE_WIDTH)
        self._check_bundle(index, data)
        try:
            write_once(file, data)
        except FileExistsError as error:
            raise Fatal(f"{file}: holds other entries than the store") from error
        except OSError as error:
            raise explained(error, file, "the store's disk") from error

    def cut_log(self) -> bool:
        """Move the write-ahead log into the file and cut it to nothing; False when something was in the way."""
        with schema.typed(self._path):
            try:
                row = first_row(self._connection, "PRAGMA wal_checkpoint(TRUNCATE)")
            except apsw.BusyError:
                return False
        return row is not None and not row[0]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

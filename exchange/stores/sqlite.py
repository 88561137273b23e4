"""The embedded store: one SQLite file for one log, in WAL mode with synchronous=FULL.

Life of a group: the writer thread opens a transaction, compares the durable head with the expected one, inserts one
row per statement (the ready frame inside) and the tiles that became full, moves the head, and commits: one fsync.
Sealing moves memory at once and wakes the readers; its row rides in the next group's transaction, because a crash in
between only means that the same head is sealed again, with the same bytes.

What must stay true: memory never says more than the disk; an entry read from disk has the checksum and the leaf hash
that it was stored with; one process at a time (a lock file); one writing connection.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw

from exchange.codec import frame_leaf
from exchange.errors import (
    Conflict,
    CursorAboveSize,
    CursorBelowFloor,
    ExchangeError,
    Fatal,
    Reason,
    Rejected,
    Unavailable,
)
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.tiles import (
    TILE_WIDTH,
    encode_bundle,
    entries_path,
    split_hashes,
    subtree_root,
    tile_width,
)
from exchange.ports import AlreadyCommitted, Group, Head, StoredEntry, TreeHead
from exchange.stores import sqlite_schema as schema
from exchange.stores.durable import make_folders, write_once
from exchange.stores.worker import Worker

FILE_NAME = "ledger.sqlite"
_RECENT_BYTES = 32 * 1024 * 1024
_READ_BYTES = 4 * 1024 * 1024
_TRUNCATE_TRIES = 200
_SELECT = "SELECT idx, statement_id, leaf_hash, received_at_ms, frame, checksum FROM entries "


class SqliteStore:
    """`LogStore` and `History` of one log, in one folder."""

    def __init__(self, folder: Path, lock: int) -> None:
        """Use `open`."""
        self._folder = folder
        self._lock = lock
        self._path = folder / FILE_NAME
        self._writer = Worker(f"store-writer {folder.name}")
        self._reader = Worker(f"store-reader {folder.name}")
        self._recent: deque[StoredEntry] = deque()
        self._recent_bytes = 0
        self._sealed_waiters: asyncio.Event = asyncio.Event()
        self._broken: ExchangeError | None = None
        self._closed = False
        self._head: Head
        self._write: apsw.Connection
        self._read: apsw.Connection

    @classmethod
    async def open(cls, folder: Path, *, origin: str, create: bool = False) -> SqliteStore:
        """Open the log in this folder, or make it. Raises `Rejected` when it is missing, `Fatal` when unusable."""
        path = folder / FILE_NAME
        if create:
            if path.exists():
                raise Rejected(Reason.CONFLICT, f"{path}: there is a log already")
            make_folders(folder)
        elif not path.exists():
            raise schema.missing(path)
        store = cls(folder, schema.lock(folder / "lock"))
        try:
            await store._writer.call(lambda: store._connect(origin, create=create))
            await store._reader.call(store._connect_reader)
        except BaseException:
            await store.aclose()
            raise
        return store

    def _connect(self, origin: str, *, create: bool) -> None:
        self._write = schema.connect(self._path, create=create)
        if create:
            schema.create_tables(self._write, origin)
        schema.check_file(self._write, self._path, origin)
        self._head = self._load_head()

    def _connect_reader(self) -> None:
        self._read = schema.connect(self._path, read_only=True)

    def _load_head(self) -> Head:
        row = self._one(
            "SELECT durable_size, durable_root, sealed_size, sealed_root, checkpoint, floor,"
            " last_received_at_ms, last_directory_size FROM log"
        )
        (count,) = self._one("SELECT coalesce(max(idx) + 1, ?) FROM entries", (row[5],))
        if count != row[0]:
            raise Fatal(f"{self._path}: the head says {row[0]} entries, the table ends at {count}")
        return Head(TreeHead(row[0], row[1]), TreeHead(row[2], row[3]), row[4], row[5], row[6], row[7])

    def _one(self, query: str, values: tuple[apsw.SQLiteValue, ...] = ()) -> Any:  # noqa: ANN401 - a row's types vary
        row = self._write.execute(query, values).fetchone()
        if row is None:
            raise Fatal(f"{self._path}: a row is missing")
        return row

    async def head(self) -> Head:
        """See `LogStore.head`."""
        return self._head

    async def append(self, expected: TreeHead, group: Group) -> None:
        """See `LogStore.append`."""
        self._check_usable()
        head = self._head
        if head.durable != expected:
            raise Conflict(f"the durable size is {head.durable.size}, not {expected.size}")
        if head.sealed != head.durable:
            raise Conflict("an earlier group is not sealed yet")
        await self._writer.call(lambda: self._append(head, group), then=lambda _: self._durable(group))

    def _append(self, head: Head, group: Group) -> None:
        rows = [
            (e.index, e.statement_id, e.leaf_hash, e.received_at_ms, e.frame, zlib.crc32(e.frame))
            for e in group.entries
        ]
        connection = self._write
        try:
            connection.execute("BEGIN IMMEDIATE")
            size, root = self._one("SELECT durable_size, durable_root FROM log")
            if TreeHead(size, root) != head.durable:
                raise Conflict(f"the stored size is {size}, not {head.durable.size}")
            connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.executemany(
                "INSERT INTO tiles VALUES (?, ?, ?, ?)",
                [(t.level, t.index, t.hashes, t.root()) for t in group.tiles],
            )
            connection.execute(
                "UPDATE log SET durable_size=?, durable_root=?, sealed_size=?, sealed_root=?, checkpoint=?,"
                " last_received_at_ms=?, last_directory_size=?",
                (
                    group.head.size,
                    group.head.root,
                    head.sealed.size,
                    head.sealed.root,
                    head.checkpoint,
                    group.entries[-1].received_at_ms,
                    group.directory_size,
                ),
            )
            connection.execute("COMMIT")
        except (apsw.Error, ExchangeError) as error:
            raise self._undo(error, group) from error

    def _undo(self, error: Exception, group: Group) -> ExchangeError:
        """Roll back and say what the failure means. What cannot be rolled back cleanly is of unknown outcome."""
        try:
            if self._write.in_transaction:
                self._write.execute("ROLLBACK")
        except apsw.Error as second:
            return self._break(f"the transaction could not be undone: {second}")
        if isinstance(error, ExchangeError):
            return error
        if isinstance(error, apsw.ConstraintError):
            found = {e.statement_id: self._find(e.statement_id) for e in group.entries}
            known = {id_: index for id_, index in found.items() if index is not None}
            return AlreadyCommitted(known) if known else self._break(f"a row is in the way: {error}")
        if isinstance(error, apsw.FullError):
            return Unavailable("the store's disk is full", retry_after_ms=5_000)
        return self._break(f"the commit failed, its outcome is unknown: {error}")

    def _break(self, what: str) -> ExchangeError:
        self._broken = Fatal(f"{self._path}: {what}", hint="the hub must be restarted; it re-reads what is durable")
        return self._broken

    def _check_usable(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._closed:
            raise Unavailable("the store is closed")

    def _durable(self, group: Group) -> None:
        last = group.entries[-1]
        self._head = replace(
            self._head,
            durable=group.head,
            last_received_at_ms=last.received_at_ms,
            last_directory_size=group.directory_size,
        )
        for entry in group.entries:
            self._recent.append(entry)
            self._recent_bytes += len(entry.frame)
        while self._recent_bytes > _RECENT_BYTES and len(self._recent) > len(group.entries):
            self._recent_bytes -= len(self._recent.popleft().frame)

    async def seal(self, head: TreeHead, checkpoint: bytes) -> None:
        """See `LogStore.seal`."""
        now = self._head
        if head.size <= now.sealed.size and now.checkpoint:
            return
        if head != now.durable:
            raise Conflict(f"the durable size is {now.durable.size}, not {head.size}")
        self._head = replace(now, sealed=head, checkpoint=checkpoint)
        waiters, self._sealed_waiters = self._sealed_waiters, asyncio.Event()
        waiters.set()

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """See `LogStore.read`."""
        self._check_usable()
        head = self._head
        if start < head.floor:
            raise CursorBelowFloor(head.floor)
        if start > head.sealed.size:
            raise CursorAboveSize(head.sealed.size)
        count = min(limit, head.sealed.size - start)
        if count <= 0:
            return ()
        first = self._recent[0].index if self._recent else head.durable.size
        if start >= first:
            return [self._recent[at] for at in range(start - first, start - first + count)]
        return await self._reader.call(lambda: self._read_rows(start, start + count))

    def _read_rows(self, start: int, end: int) -> list[StoredEntry]:
        entries: list[StoredEntry] = []
        size = 0
        rows = self._read.execute(_SELECT + "WHERE idx >= ? AND idx < ? ORDER BY idx", (start, end))
        for index, id_, hash_, received, frame, checksum in rows:
            entry = StoredEntry(index, id_, hash_, received, frame)
            _check_row(entry, checksum, start + len(entries))
            entries.append(entry)
            size += len(frame)
            if size > _READ_BYTES:
                break
        rows.close()
        if not entries and start < end and start >= self._head.floor:
            raise Fatal(f"{self._path}: entry {start} is missing")
        return entries

    async def wait(self, after: int) -> int:
        """See `LogStore.wait`."""
        if self._head.sealed.size <= after:
            self._check_usable()
            await self._sealed_waiters.wait()
        return self._head.sealed.size

    async def find(self, statement_id: bytes) -> int | None:
        """See `LogStore.find`."""
        self._check_usable()
        return await self._writer.call(lambda: self._find(statement_id))

    def _find(self, statement_id: bytes) -> int | None:
        row = self._write.execute("SELECT idx FROM entries WHERE statement_id = ?", (statement_id,)).fetchone()
        return None if row is None else int(row[0])

    async def erase(self, frames: Mapping[int, bytes]) -> None:
        """See `LogStore.erase`."""
        self._check_usable()
        if frames and max(frames) >= self._head.durable.size:
            raise CursorAboveSize(self._head.durable.size)
        await self._writer.call(lambda: self._erase(frames), then=lambda _: self._forget(frames))
        for _ in range(_TRUNCATE_TRIES):
            if await self._writer.call(self._truncate_wal):
                return
            await asyncio.sleep(0.01)
        raise Unavailable("a reader is in the way of erasure", retry_after_ms=1_000)

    def _erase(self, frames: Mapping[int, bytes]) -> None:
        with self._write:
            self._write.executemany(
                "UPDATE entries SET frame = ?, checksum = ? WHERE idx = ?",
                [(frame, zlib.crc32(frame), index) for index, frame in frames.items()],
            )

    def _forget(self, frames: Mapping[int, bytes]) -> None:
        self._recent = deque(
            replace(entry, frame=frames[entry.index]) if entry.index in frames else entry for entry in self._recent
        )
        self._recent_bytes = sum(len(entry.frame) for entry in self._recent)

    def _truncate_wal(self) -> bool:
        busy, _, _ = self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        return not busy

    async def tile(self, level: int, index: int, width: int) -> bytes:
        """See `History.tile`."""
        self._check_usable()
        if not 0 < width <= tile_width(self._head.sealed.size, level, index):
            raise Rejected(Reason.NOT_FOUND, "no such tile in the sealed tree")
        return await self._reader.call(lambda: self._tile(level, index, width))

    def _tile(self, level: int, index: int, width: int) -> bytes:
        row = self._read.execute(
            "SELECT hashes, root FROM tiles WHERE level = ? AND idx = ?", (level, index)
        ).fetchone()
        if row is not None:
            if len(row[0]) != TILE_WIDTH * 32 or subtree_root(split_hashes(row[0])) != row[1]:
                raise Fatal(f"{self._path}: hash tile {level}/{index} is damaged")
            return bytes(row[0][: width * 32])
        span = (index * TILE_WIDTH, index * TILE_WIDTH + width)
        query = (
            ("SELECT leaf_hash FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx", span)
            if level == 0
            else ("SELECT root FROM tiles WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx", (level - 1, *span))
        )
        hashes = b"".join(row[0] for row in self._read.execute(*query))
        if len(hashes) != width * 32:
            raise Fatal(f"{self._path}: hash tile {level}/{index} is incomplete")
        return hashes

    async def bundle(self, index: int) -> bytes:
        """See `History.bundle`."""
        self._check_usable()
        width = tile_width(self._head.sealed.size, 0, index)
        if not width:
            raise Rejected(Reason.NOT_FOUND, "no such entry bundle in the sealed tree")
        return await self._reader.call(lambda: self._bundle(index, width))

    def _bundle(self, index: int, width: int) -> bytes:
        file = self._folder / entries_path(index)
        if width == TILE_WIDTH and file.exists():
            return file.read_bytes()
        start = index * TILE_WIDTH
        entries: list[StoredEntry] = []
        while len(entries) < width:
            entries += self._read_rows(start + len(entries), start + width)
        return encode_bundle([frame_leaf(entry.frame) for entry in entries])

    async def archive(self, floor: int) -> int:
        """See `History.archive`."""
        self._check_usable()
        head = self._head
        bundles = range(head.floor // TILE_WIDTH, min(floor, head.sealed.size) // TILE_WIDTH)
        for index in bundles:
            data = await self.bundle(index)
            await self._reader.call(lambda: write_once(self._folder / entries_path(index), data))  # noqa: B023
        if bundles:
            new_floor = bundles.stop * TILE_WIDTH
            await self._writer.call(lambda: self._drop_below(new_floor), then=lambda _: self._raise_floor(new_floor))
        return self._head.floor

    def _drop_below(self, floor: int) -> None:
        with self._write:
            self._write.execute("UPDATE log SET floor = ?", (floor,))
            self._write.execute("DELETE FROM entries WHERE idx < ?", (floor,))

    def _raise_floor(self, floor: int) -> None:
        self._head = replace(self._head, floor=floor)
        while self._recent and self._recent[0].index < floor:
            self._recent_bytes -= len(self._recent.popleft().frame)

    async def aclose(self) -> None:
        """See `LogStore.aclose`."""
        if self._closed:
            return
        self._closed = True
        self._sealed_waiters.set()
        await self._reader.call(lambda: self._read.close() if hasattr(self, "_read") else None)
        await self._writer.call(self._close_writer)
        await self._reader.aclose()
        await self._writer.aclose()
        os.close(self._lock)

    def _close_writer(self) -> None:
        if not hasattr(self, "_write"):
            return
        if hasattr(self, "_head") and self._broken is None:
            self._write.execute(
                "UPDATE log SET sealed_size = ?, sealed_root = ?, checkpoint = ? WHERE durable_size = ?",
                (self._head.sealed.size, self._head.sealed.root, self._head.checkpoint, self._head.durable.size),
            )
        self._write.close()


def _check_row(entry: StoredEntry, checksum: int, expected_index: int) -> None:
    if entry.index != expected_index:
        raise Fatal(f"entry {expected_index} is missing from the store")
    if zlib.crc32(entry.frame) != checksum or leaf_hash(frame_leaf(entry.frame)) != entry.leaf_hash:
        raise Fatal(f"entry {entry.index} is damaged in the store")

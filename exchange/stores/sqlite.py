"""The embedded store: one SQLite file for one log, in WAL mode with synchronous=FULL.

Life of a group: the writer thread opens a transaction, compares the durable head with the expected one, inserts one
row per statement (the ready frame inside) and the tiles that became full, moves the head, and commits: one fsync.
Sealing moves memory at once and wakes the readers; its row rides in the next group's transaction, because a crash in
between only means that the same head is sealed again, with the same bytes. Archiving writes it too: on disk, the
floor never lies above the sealed size.

What must stay true: memory never says more than the disk; an entry read from disk has the checksum and the leaf hash
that it was stored with; one process at a time (a lock file); one writing connection.

Two threads, one connection each: `sqlite_commits` writes, `sqlite_rows` reads, so that a cold read does not wait for
a commit. This class stays on the event loop and holds what both need: the head, and the newest entries.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from exchange.errors import Conflict, CursorAboveSize, CursorBelowFloor, Reason, Rejected, Unavailable
from exchange.ledger.tiles import TILE_WIDTH, HashTile, TileRef, require_tiles, tile_width
from exchange.ops.durable import make_folders
from exchange.ports import Group, Head, StoredEntry, TreeHead
from exchange.stores import sqlite_schema as schema
from exchange.stores.entries import check_follows
from exchange.stores.recent import MAX_BYTES, RecentEntries
from exchange.stores.sqlite_commits import Commits
from exchange.stores.sqlite_rows import Rows
from exchange.stores.withheld import read_file, require, write_file
from exchange.stores.worker import Worker

FILE_NAME = "ledger.sqlite"
#: What the connections of a log may hold of its file: one writes, one reads.
LOG_CACHES = (schema.CACHE_BYTES, schema.CACHE_BYTES)
_CUT_TRIES = 40
_CUT_PAUSE_S = 0.05
#: Rows deleted in one transaction: a commit that waits behind it waits for milliseconds.
_ARCHIVE_BUNDLES = 8


class SqliteStore:
    """`LogStore`, `History` and `Recovering` of one log, in one folder."""

    def __init__(self, folder: Path, lock: int, recent_bytes: int) -> None:
        """Use `open`."""
        self._path = folder / FILE_NAME
        self._lock = lock
        self._writer = Worker(f"store-writer {folder.name}")
        self._reader = Worker(f"store-reader {folder.name}")
        self._recent = RecentEntries(max_bytes=recent_bytes)
        self._sealed = asyncio.Event()
        self._archiving = asyncio.Lock()
        self._closed = False
        self._head: Head | None = None
        self._commits: Commits | None = None
        self._rows: Rows | None = None

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        origin: str,
        create: bool = False,
        recent_bytes: int = MAX_BYTES,
        withheld: bytes = b"",
    ) -> SqliteStore:
        """Open the log in this folder, or make it; keep so much of its newest entries in memory.

        ``withheld`` is what the folder must say of why hubs may not serve it.

        Raises `Rejected` when the log is missing, `Fatal` when unusable.
        """
        path = folder / FILE_NAME
        if create:
            schema.require_none(path)
            make_folders(folder)
        elif not path.exists():
            raise schema.missing(path)
        store = cls(folder, schema.lock(folder / "lock"), recent_bytes)
        try:
            if create:
                schema.require_none(path)  # again: now nobody else makes it
                write_file(folder, withheld)
                await store._writer.call(partial(schema.make, path, origin))
            require(origin, read_file(folder), withheld)
            store._commits = await store._writer.call(partial(Commits, path, origin=origin))
            store._head = await store._writer.call(store._commits.head)
            store._rows = await store._reader.call(partial(Rows, path))
        except BaseException:
            await store.aclose()
            raise
        return store

    def _parts(self) -> tuple[Head, Commits, Rows]:
        """Return what every call works with. Raises `Unavailable` when the store is closed."""
        if self._closed or self._head is None or self._commits is None or self._rows is None:
            raise Unavailable("the store is closed")
        return self._head, self._commits, self._rows

    async def head(self) -> Head:
        """See `LogStore.head`."""
        if self._head is None:
            raise Unavailable("the store is closed")
        return self._head

    async def append(self, expected: TreeHead, group: Group) -> None:
        """See `LogStore.append`."""
        head, commits, _ = self._parts()
        if head.durable != expected:
            raise Conflict(f"the durable size is {head.durable.size}, not {expected.size}")
        if head.sealed != head.durable:
            raise Conflict("an earlier group is not sealed yet")
        check_follows(group, expected)
        await self._writer.call(partial(commits.append, head, group), then=lambda _: self._appended(head, group))

    def _appended(self, head: Head, group: Group) -> None:
        self._head = replace(
            self._head or head,
            durable=group.head,
            last_received_at_ms=group.entries[-1].received_at_ms,
            last_directory_size=group.directory_size,
        )
        self._recent.add(group.entries)

    async def seal(self, head: TreeHead, checkpoint: bytes) -> None:
        """See `LogStore.seal`."""
        now, _, _ = self._parts()
        if head.size <= now.sealed.size and now.checkpoint:
            return
        if head != now.durable:
            raise Conflict(f"the durable size is {now.durable.size}, not {head.size}")
        self._head = replace(now, sealed=head, checkpoint=checkpoint)
        woken, self._sealed = self._sealed, asyncio.Event()
        woken.set()

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """See `LogStore.read`."""
        head, _, rows = self._parts()
        if start < head.floor:
            raise CursorBelowFloor(head.floor)
        if start > head.sealed.size:
            raise CursorAboveSize(head.sealed.size)
        end = min(start + limit, head.sealed.size)
        if end <= start:
            return ()
        if self._recent.covers(start):
            return self._recent.slice(start, end)
        return await self._reader.call(partial(rows.entries, start, end))

    async def wait(self, after: int) -> int:
        """See `LogStore.wait`."""
        head, _, _ = self._parts()
        if head.sealed.size <= after:
            await self._sealed.wait()
        return (self._head or head).sealed.size

    async def find(self, statement_id: bytes) -> int | None:
        """See `LogStore.find`."""
        _, _, rows = self._parts()
        return await self._reader.call(partial(rows.find, statement_id))

    async def erase(self, frames: Mapping[int, bytes]) -> None:
        """See `LogStore.erase`."""
        head, commits, rows = self._parts()
        if frames and max(frames) >= head.durable.size:
            raise CursorAboveSize(head.durable.size)
        await self._writer.call(partial(commits.erase, frames), then=lambda _: self._recent.replace_frames(frames))
        # The old bytes are still in the write-ahead log, and in the file until that log is moved into it.
        for _ in range(_CUT_TRIES):
            if await self._reader.call(rows.cut_log):
                return
            await asyncio.sleep(_CUT_PAUSE_S)
        raise Unavailable("a reader of the file keeps erased bytes in its log", retry_after_ms=1_000)

    async def put_back(self, index: int, was: bytes, frame: bytes) -> None:
        """See `Recovering.put_back`."""
        _, commits, _ = self._parts()
        job = partial(commits.put_back, index, was, frame)
        await self._writer.call(job, then=lambda _: self._recent.replace_frames({index: frame}))

    async def tiles(self, refs: Sequence[TileRef]) -> Sequence[HashTile]:
        """See `History.tiles`."""
        head, _, rows = self._parts()
        require_tiles(refs, head.sealed.size)
        warm = [self._recent.tile(ref) for ref in refs]
        if all(warm):
            return [tile for tile in warm if tile]
        return await self._reader.call(lambda: [tile or rows.tile(*ref) for ref, tile in zip(refs, warm, strict=True)])

    async def bundle(self, index: int) -> bytes:
        """See `History.bundle`."""
        head, _, rows = self._parts()
        width = tile_width(head.sealed.size, 0, index) if index >= 0 else 0
        if not width:
            raise Rejected(Reason.NOT_FOUND, "no such entry bundle in the sealed tree")
        return await self._reader.call(partial(rows.bundle, index, width))

    async def durable_entries(self, start: int, end: int) -> Sequence[StoredEntry]:
        """See `History.durable_entries`."""
        head, _, rows = self._parts()
        if start < head.floor:
            raise CursorBelowFloor(head.floor)
        if end > head.durable.size:
            raise CursorAboveSize(head.durable.size)
        return await self._reader.call(partial(rows.all_entries, start, end))

    async def archive(self, floor: int) -> int:
        """See `History.archive`."""
        async with self._archiving:
            head, commits, rows = self._parts()
            end = min(floor, head.sealed.size) // TILE_WIDTH
            for start in range(head.floor // TILE_WIDTH, end, _ARCHIVE_BUNDLES):
                stop = min(start + _ARCHIVE_BUNDLES, end)
                for index in range(start, stop):
                    await self._reader.call(partial(rows.write_bundle, index))
                await self._drop_below(commits, head, stop * TILE_WIDTH)
            return (self._head or head).floor

    async def _drop_below(self, commits: Commits, head: Head, floor: int) -> None:
        def dropped(_: None) -> None:
            if self._head is not None:
                self._head = replace(self._head, floor=floor)
            self._recent.drop_below(floor)

        await self._writer.call(partial(commits.drop_below, head, floor), then=dropped)

    async def aclose(self) -> None:
        """See `LogStore.aclose`."""
        if self._closed:
            return
        self._closed = True
        self._sealed.set()
        try:
            if self._rows is not None:
                await self._reader.call(self._rows.close)
            await self._reader.aclose()
            commits = self._commits
            if commits is not None:
                # Where an append still queued has outrun this head, its size no longer fits and it is not written.
                await self._writer.call(lambda: commits.close(self._head))
            await self._writer.aclose()
        finally:
            os.close(self._lock)

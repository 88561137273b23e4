"""Reading a log from Redis and its bundle files: entries, hash tiles, entry bundles. Everything is checked.

What a caller may ask for (the floor, the sealed size) is judged by the store; here a thing is there or the log is
damaged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from exchange.codec import frame_leaf
from exchange.errors import Fatal
from exchange.ledger.tiles import TILE_WIDTH, HashTile, encode_bundle
from exchange.ports import Head, StoredEntry
from exchange.stores.inner_tiles import InnerTiles
from exchange.stores.redis_bundles import Bundles
from exchange.stores.redis_master import Call, Master
from exchange.stores.redis_rows import checked_tile, entry_of, root_of
from exchange.stores.redis_scripts import READ, Keys
from exchange.stores.worker import Worker

#: About what one feed message takes: who reads on reads what it can send.
_READ_BYTES = 1_000_000
#: Of one script: what else waits for the server waits that long.
_READ_ENTRIES = 1_024
_KNOWN_ROOTS = 4_096

T = TypeVar("T")


async def at_floor(read: Callable[[int], Awaitable[T]], floor: int, head: Callable[[], Awaitable[Head]]) -> T:
    """Read what lies in files below the floor and in the store above it; the floor may rise meanwhile."""
    try:
        return await read(floor)
    except Fatal:
        now = (await head()).floor
        if now == floor:
            raise
        return await read(now)


class Cold:
    """The reading side of one log."""

    def __init__(self, master: Master, keys: Keys, bundles: Bundles, worker: Worker) -> None:
        """Read from this master; ``worker`` reads files."""
        self._master = master
        self._keys = keys
        self._bundles = bundles
        self._worker = worker
        self._roots: dict[tuple[int, int], bytes] = {}
        self._inner = InnerTiles()
        #: Checked leaf hashes of the last tile, which is not full.
        self._leaves_from = 0
        self._leaves: list[bytes] = []

    async def entries(self, start: int, end: int) -> list[StoredEntry]:
        """Return entries from ``start`` that are there, before ``end``: none where the first is not."""
        end = min(end, start + _READ_ENTRIES)
        bundles = range(start // TILE_WIDTH, (end - 1) // TILE_WIDTH + 1)
        call = Call(READ, [self._keys.entries(each) for each in bundles], (start, end, _READ_BYTES))
        (rows,) = await self._master.read(call.command)
        return [entry_of(start + place, row) for place, row in enumerate(rows)]

    async def all_entries(self, start: int, end: int) -> list[StoredEntry]:
        """Return entries [start, end), however many reads that takes. Raises `Fatal` when one is missing."""
        found: list[StoredEntry] = []
        while start + len(found) < end:
            part = await self.entries(start + len(found), end)
            if not part:
                raise Fatal(f"entry {start + len(found)} is missing in the store")
            found += part
        return found

    async def hashes(self, start: int, end: int, floor: int) -> list[bytes]:
        """Return the leaf hashes of [start, end), as they lie in the store now."""
        found: list[bytes] = []
        for index in range(start // TILE_WIDTH, (min(end, floor) - 1) // TILE_WIDTH + 1):
            _, hashes = await self._worker.call(partial(self._bundles.read, index, await self._root(0, index)))
            found += hashes[max(0, start - index * TILE_WIDTH) : end - index * TILE_WIDTH]
        return found + [each.leaf_hash for each in await self.all_entries(max(start, floor), end)]

    async def tile(self, level: int, index: int, width: int, floor: int) -> HashTile:
        """Return a tile that the tree has, so wide. A partial one is made of what lies below it."""
        start = index * TILE_WIDTH
        known = self._inner.get(level, index)
        if known is not None:
            return known.first(width)
        if level == 0 and start + TILE_WIDTH <= floor:
            _, hashes = await self._worker.call(partial(self._bundles.read, index, await self._root(0, index)))
            return HashTile(b"".join(hashes[:width]))
        whole, root = await self._master.read(
            ("HGET", self._keys.tiles(level), index), ("HGET", self._keys.roots(level), index)
        )
        if whole is not None:
            tile = checked_tile(level, index, whole, root_of(level, index, root))
            self._inner.keep(level, index, tile)
            return tile.first(width)
        if level:
            return HashTile(await self._roots_of(level - 1, start, start + width))
        return HashTile(await self._leaf_hashes(start, start + width))

    async def _root(self, level: int, index: int) -> bytes:
        return await self._roots_of(level, index, index + 1)

    async def _roots_of(self, level: int, start: int, end: int) -> bytes:
        """Return the roots of consecutive tiles. Each is read once: it never changes."""
        found = {index: self._roots.get((level, index)) for index in range(start, end)}
        unknown = [index for index, root in found.items() if root is None]
        if unknown:
            (rows,) = await self._master.read(("HMGET", self._keys.roots(level), *unknown))
            new = {index: root_of(level, index, row) for index, row in zip(unknown, rows, strict=True)}
            if len(self._roots) + len(new) > _KNOWN_ROOTS:
                self._roots.clear()
            self._roots.update(((level, index), root) for index, root in new.items())
            found |= new
        return b"".join(root for root in found.values() if root)

    async def _leaf_hashes(self, start: int, end: int) -> bytes:
        """Return the hashes of leaves whose tile is not full yet. Each entry is read and checked once, not per call."""
        if start != self._leaves_from:
            self._leaves_from, self._leaves = start, []
        known = self._leaves
        if start + len(known) < end:
            read = await self.all_entries(start + len(known), end)
            if self._leaves is known and len(known) == read[0].index - start:
                known += (entry.leaf_hash for entry in read)
            else:  # another call was quicker
                return b"".join(entry.leaf_hash for entry in await self.all_entries(start, end))
        return b"".join(known[: end - start])

    async def bundle(self, index: int, width: int, floor: int) -> bytes:
        """Return an entry bundle: below the floor from its file, else from the entries."""
        start = index * TILE_WIDTH
        if start + TILE_WIDTH <= floor:
            data, _ = await self._worker.call(partial(self._bundles.read, index, await self._root(0, index)))
            return data
        return _encoded(await self.all_entries(start, start + width))

    async def write_bundle(self, index: int) -> None:
        """Make the file of a whole bundle from its entries, durably."""
        start = index * TILE_WIDTH
        data = _encoded(await self.all_entries(start, start + TILE_WIDTH))
        await self._worker.call(partial(self._bundles.write, index, data, await self._root(0, index)))


def _encoded(entries: Sequence[StoredEntry]) -> bytes:
    return encode_bundle([frame_leaf(entry.frame) for entry in entries])

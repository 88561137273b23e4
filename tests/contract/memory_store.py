"""`LogStore` and `History` in memory, for tests: it keeps the contract and asserts that its caller does.

Where the port says what happens (`Conflict`, `AlreadyCommitted`, a cursor error), this store does that. Where a caller
hands over what can never be right (a gap, a root that is not the tree's, another leaf in an erasure), it fails the
test with `Misuse`: a real store could not tell, or could not afford to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from exchange.codec import frame_leaf
from exchange.errors import (
    Conflict,
    CursorAboveSize,
    CursorBelowFloor,
    ExchangeError,
    Reason,
    Rejected,
    Unavailable,
)
from exchange.ledger.merkle import EMPTY_ROOT, leaf_hash
from exchange.ledger.tiles import HashTile, TileRef
from exchange.ports import AlreadyCommitted, Group, Head, StoredEntry, TreeHead
from tests.contract.builders import WIDTH, naive_bundle, naive_levels, naive_root, naive_tile

_EMPTY = TreeHead(0, EMPTY_ROOT)


class Misuse(AssertionError):
    """The caller broke a rule that the store relies on."""


def require(rule: bool, what: str) -> None:
    """Raise `Misuse` unless the rule holds."""
    if not rule:
        raise Misuse(what)


@dataclass(slots=True)
class Disk:
    """What outlives a store: hand it to the next one to open the same log again."""

    head: Head = field(default_factory=lambda: Head(_EMPTY, _EMPTY, b"", 0, 0, 0))
    #: All entries, also those below the floor (of which only the leaf is given out).
    entries: list[StoredEntry] = field(default_factory=list)
    locked: bool = False


class MemoryStore:
    """A log in memory."""

    def __init__(self, disk: Disk | None = None, *, read_at_most: int = 1_000) -> None:
        """Open the log on this disk, or a new one. ``read_at_most`` makes `read` return fewer than asked for."""
        self._disk = Disk() if disk is None else disk
        require(not self._disk.locked, "two stores hold one log")
        self._disk.locked = True
        self._read_at_most = read_at_most
        self._sealed = asyncio.Event()
        self._closed = False

    def _usable(self) -> Disk:
        if self._closed:
            raise Unavailable("the store is closed")
        return self._disk

    async def head(self) -> Head:
        """See `LogStore.head`."""
        return self._disk.head

    async def append(self, expected: TreeHead, group: Group) -> None:
        """See `LogStore.append`."""
        disk = self._usable()
        await asyncio.sleep(0)  # a real store lets others run here
        head = disk.head
        if head.durable != expected:
            raise Conflict("the durable head is another")
        if head.sealed != head.durable:
            raise Conflict("an earlier group is not sealed yet")
        self._check_new(head, group)
        known = {each.statement_id: each.index for each in disk.entries[head.floor :]}
        repeats = {each.statement_id: known[each.statement_id] for each in group.entries if each.statement_id in known}
        if repeats:
            raise AlreadyCommitted(repeats)
        self._check_tree(group)
        disk.entries.extend(group.entries)
        disk.head = replace(
            head,
            durable=group.head,
            last_received_at_ms=group.entries[-1].received_at_ms,
            last_directory_size=group.directory_size,
        )

    def _check_new(self, head: Head, group: Group) -> None:
        require(bool(group.entries), "a group without entries")
        start = head.durable.size
        require([e.index for e in group.entries] == list(range(start, start + len(group.entries))), "a gap in indices")
        require(group.head.size == start + len(group.entries), "the group's head has another size")
        ids = [each.statement_id for each in group.entries]
        require(len(set(ids)) == len(ids), "one statement twice in a group")
        times = [head.last_received_at_ms, *(each.received_at_ms for each in group.entries)]
        require(times == sorted(times), "received_at went back")
        require(group.directory_size >= head.last_directory_size, "the directory size went back")
        for each in group.entries:
            require(leaf_hash(frame_leaf(each.frame)) == each.leaf_hash, "a leaf hash is not that of the frame's leaf")

    def _check_tree(self, group: Group) -> None:
        hashes = [each.leaf_hash for each in (*self._disk.entries, *group.entries)]
        require(naive_root(hashes) == group.head.root, "the root is not the tree's")
        levels = naive_levels(hashes)
        old = len(self._disk.entries)
        completed = {
            (level, index): b"".join(levels[8 * level][index * WIDTH : (index + 1) * WIDTH])
            for level in range((len(levels) + 7) // 8)
            for index in range((old >> 8 * level) // WIDTH, (len(hashes) >> 8 * level) // WIDTH)
        }
        given = {(tile.level, tile.index): tile.hashes for tile in group.tiles}
        require(given == completed and len(given) == len(group.tiles), "the tiles are not those that became full")

    async def seal(self, head: TreeHead, checkpoint: bytes) -> None:
        """See `LogStore.seal`."""
        disk = self._usable()
        require(bool(checkpoint), "a seal without a checkpoint")
        now = disk.head
        if head.size <= now.sealed.size and now.checkpoint:
            same = head.size == now.sealed.size
            require(not same or (head, checkpoint) == (now.sealed, now.checkpoint), "two checkpoints for one size")
            return
        if head != now.durable:
            raise Conflict("the durable head is another")
        disk.head = replace(now, sealed=head, checkpoint=checkpoint)
        woken, self._sealed = self._sealed, asyncio.Event()
        woken.set()

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """See `LogStore.read`."""
        disk = self._usable()
        if start < disk.head.floor:
            raise CursorBelowFloor(disk.head.floor)
        size = disk.head.sealed.size
        if start > size:
            raise CursorAboveSize(size)
        return tuple(disk.entries[start : min(size, start + max(0, min(limit, self._read_at_most)))])

    async def wait(self, after: int) -> int:
        """See `LogStore.wait`."""
        if self._disk.head.sealed.size <= after:
            self._usable()
            await self._sealed.wait()
        return self._disk.head.sealed.size

    async def find(self, statement_id: bytes) -> int | None:
        """See `LogStore.find`."""
        disk = self._usable()
        hot = disk.entries[disk.head.floor :]
        return next((each.index for each in hot if each.statement_id == statement_id), None)

    async def erase(self, frames: Mapping[int, bytes]) -> None:
        """See `LogStore.erase`."""
        disk = self._usable()
        if frames and max(frames) >= disk.head.durable.size:
            raise CursorAboveSize(disk.head.durable.size)
        hot = {index: frame for index, frame in frames.items() if index >= disk.head.floor}
        for index, frame in hot.items():
            require(frame_leaf(frame) == frame_leaf(disk.entries[index].frame), "an erasure changes the leaf")
        for index, frame in hot.items():
            disk.entries[index] = structs.replace(disk.entries[index], frame=frame)

    async def put_back(self, index: int, was: bytes, frame: bytes) -> None:
        """See `Recovering.put_back`."""
        disk = self._usable()
        await asyncio.sleep(0)
        here = disk.head.floor <= index < disk.head.durable.size
        if not here or disk.entries[index].frame not in {was, frame}:
            raise Conflict("the entry is not as it was")
        require(frame_leaf(frame) == frame_leaf(was), "what is put back changes the leaf")
        disk.entries[index] = structs.replace(disk.entries[index], frame=frame)

    async def tiles(self, refs: Sequence[TileRef]) -> Sequence[HashTile]:
        """See `History.tiles`."""
        disk = self._usable()
        hashes = [each.leaf_hash for each in disk.entries[: disk.head.sealed.size]]
        found: list[HashTile] = []
        for level, index, width in refs:
            tile = naive_tile(hashes, level, index, width) if level >= 0 <= index else b""
            if not 0 < width * 32 == len(tile):
                raise _not_found()
            found.append(HashTile(tile))
        return found

    async def bundle(self, index: int) -> bytes:
        """See `History.bundle`."""
        disk = self._usable()
        if not 0 <= index * WIDTH < disk.head.sealed.size:
            raise _not_found()
        return naive_bundle([frame_leaf(each.frame) for each in disk.entries[: disk.head.sealed.size]], index)

    async def durable_entries(self, start: int, end: int) -> Sequence[StoredEntry]:
        """See `History.durable_entries`."""
        disk = self._usable()
        if start < disk.head.floor:
            raise CursorBelowFloor(disk.head.floor)
        if end > disk.head.durable.size:
            raise CursorAboveSize(disk.head.durable.size)
        return tuple(disk.entries[start:end])

    async def archive(self, floor: int) -> int:
        """See `History.archive`."""
        disk = self._usable()
        whole = min(floor, disk.head.sealed.size) // WIDTH * WIDTH
        disk.head = replace(disk.head, floor=max(disk.head.floor, whole))
        return disk.head.floor

    async def aclose(self) -> None:
        """See `LogStore.aclose`."""
        if not self._closed:
            self._closed = True
            self._disk.locked = False
            self._sealed.set()


def _not_found() -> ExchangeError:
    return Rejected(Reason.NOT_FOUND, "not in the sealed tree")

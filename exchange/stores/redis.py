"""The store on Redis or Valkey, which several hubs of one exchange may share.

Life of a group: one script compares the durable head with the expected one and writes entries, index of statements,
tiles and head, or nothing; then every replica that could be the master next must have acknowledged it, counted on the
connection that wrote. Only then it is durable. A seal is one more script, which tells the other hubs; losing it with a
master costs nothing, for whoever meets an unsealed group makes it safe and seals it, with the same bytes.

What must stay true: what this store has called durable or sealed never goes back; where the server says otherwise, it
is behind, and the hub stops. Entries that others wrote are checked when they are read. Waiting is woken by what the
server tells, and never trusts it: it looks for itself, every second at the latest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

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
from exchange.ledger.tiles import TILE_WIDTH, HashTile, TileRef, require_tiles, tile_width
from exchange.ports import AlreadyCommitted, Group, Head, StoredEntry, TreeHead
from exchange.stores import redis_calls as calls
from exchange.stores.entries import check_follows
from exchange.stores.recent import MAX_BYTES, RecentEntries
from exchange.stores.redis_bundles import Bundles
from exchange.stores.redis_cold import Cold, at_floor
from exchange.stores.redis_erasing import Erasing
from exchange.stores.redis_master import Master, patiently
from exchange.stores.redis_place import RedisPlace
from exchange.stores.redis_returning import Returning
from exchange.stores.redis_rows import RawHead, read_head
from exchange.stores.redis_scripts import HEAD_FIELDS, Keys
from exchange.stores.redis_standing import Behind, Standing
from exchange.stores.to_the_end import ToTheEnd
from exchange.stores.withheld import require
from exchange.stores.worker import Worker

T = TypeVar("T")
#: Hears of entries.
Told = Callable[[Sequence[int]], Awaitable[None]]

#: How long an append waits out a master that is being replaced.
PATIENCE_S = 10.0
#: Whoever waits for a seal looks for itself so often.
LOOK_EVERY_S = 1.0
#: How often those who promote are asked whom they could promote.
FIND_EVERY_S = 5.0
#: Entries of so many bundles go in one script: what waits behind it waits for milliseconds.
_ARCHIVE_BUNDLES = 8


class RedisStore:
    """`LogStore`, `History` and `Recovering` of one log."""

    def __init__(self, place: RedisPlace, folder: Path, origin: str, recent_bytes: int, withheld: bytes) -> None:
        """Use `open`."""
        self._withheld = withheld
        self._keys = Keys(origin)
        self._master = Master(place, self._keys.head)
        self._bundles = Bundles(folder)
        self._worker = Worker(f"bundles {origin}")
        self._cold = Cold(self._master, self._keys, self._bundles, self._worker)
        self._recent = RecentEntries(max_bytes=recent_bytes)
        self._erasing = Erasing(self._master, self._keys, self._recent)
        self._returning = Returning(self._master, self._keys, self._cold, self._recent)
        self._archiving = asyncio.Lock()
        self._to_the_end = ToTheEnd()
        self._watcher: asyncio.Task[None] | None = None
        self._standing: Standing | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        place: RedisPlace,
        folder: Path,
        *,
        origin: str,
        create: bool = False,
        recent_bytes: int = MAX_BYTES,
        withheld: bytes = b"",
    ) -> RedisStore:
        """Open the log of this origin, or make it; ``folder`` is for its entry bundles, the same at every hub.

        ``withheld`` is what the store must say of why hubs may not serve it.

        Raises `Rejected` when it is missing, `Fatal` when it or a server is unusable, `Unavailable` when the servers
        cannot be reached, or an unsealed group cannot be made safe.
        """
        store = cls(place, folder, origin, recent_bytes, withheld)
        try:
            await store._open(create=create)
        except BaseException:
            await store.aclose()
            raise
        return store

    async def _open(self, *, create: bool) -> None:
        origin = self._keys.origin
        if create:
            number = await self._worker.call(self._bundles.make)
            (said, *_) = await patiently(
                lambda: self._master.write(calls.create(self._keys, number, self._withheld), changes=calls.wrote),
                PATIENCE_S,
            )
            if said == b"there":
                raise Rejected(Reason.CONFLICT, f"the store has a log {origin} already", hint="open it instead")
        raw = await patiently(self._read_head, PATIENCE_S)
        if raw is None:
            raise Rejected(
                Reason.NOT_FOUND,
                f"the store has no log {origin}",
                hint="`exchange init` makes the directory, `exchange community create` a community",
            )
        if raw.origin != origin:
            raise Fatal(f"the store holds the log {raw.origin!r} in the place of {origin!r}", reason=Reason.CONFIG)
        require(origin, raw.withheld, self._withheld)
        await self._worker.call(partial(self._bundles.require, raw.bundles))
        if raw.head.durable != raw.head.sealed:
            raw = await patiently(self._confirmed, PATIENCE_S)
        await self._returning.begin()
        self._standing = Standing(raw.head, self._cold.hashes)
        await self._check_ends(raw.head)
        self._watcher = asyncio.create_task(self._watch())

    async def _check_ends(self, head: Head) -> None:
        """Return if the entries begin and end where the head says. Raises `Fatal`.

        Another hub may have gone on since the head was read: then they end where it says now.
        """
        for index, there in ((head.floor, True), (head.durable.size - 1, True), (head.durable.size, False)):
            if there and not head.floor <= index < head.durable.size:
                continue
            if bool(await self._cold.entries(index, index + 1)) != there:
                now = await self._read_head()
                if now is None or (now.head.floor == head.floor and now.head.durable == head.durable):
                    raise Fatal(f"entry {index} is {'missing in' if there else 'beyond the end of'} the store")

    @property
    def _known(self) -> Standing:
        """What every call works with. Raises `Unavailable` when the store is closed, and what broke it."""
        if self._closed or self._standing is None:
            raise Unavailable("the store is closed")
        if self._standing.broken is not None:
            raise self._standing.broken
        return self._standing

    async def tell(self, seen: Callable[[TreeHead, bytes], Awaitable[None]], erased: Told, returned: Told) -> None:
        """Tell what other hubs have sealed, before anybody else learns of it; what this one erased; what came back."""
        standing = self._known
        standing.seen = seen
        self._erasing.told, self._returning.told = erased, returned
        if standing.head.checkpoint:
            await seen(standing.head.sealed, standing.head.checkpoint)

    async def _read_head(self) -> RawHead | None:
        (values,) = await self._master.read(("HMGET", self._keys.head, *HEAD_FIELDS))
        return read_head(values)

    async def _confirmed(self) -> RawHead:
        """Make what is stored safe; return the head of it."""
        reply = await self._master.write(calls.confirm(self._keys), changes=calls.wrote)
        raw = read_head(reply[1:]) if reply[0] == b"ok" else None
        if raw is None:
            raise calls.refused(self._keys, reply)
        return raw

    async def head(self) -> Head:
        """See `LogStore.head`."""
        if self._closed and self._standing is not None:
            return self._standing.head
        return await self._to_the_end.do(self._look())

    async def _look(self) -> Head:
        """Ask the master where the log stands. One that is behind may be an old one: then another is looked for."""
        try:
            return await self._look_once()
        except Behind:
            await self._master.leave()
            return await self._look_once()

    async def _look_once(self) -> Head:
        standing = self._known
        before, raw = standing.head, await self._read_head()
        if raw is None:
            raise calls.gone(self._keys)
        head = await standing.learn(before, raw)
        self._recent.drop_below(head.floor)
        return head

    async def append(self, expected: TreeHead, group: Group) -> None:
        """See `LogStore.append`. What a lost answer leaves unknown is looked up."""
        head = self._known.head
        if head.durable != expected:
            head = await self.head()
        if head.durable != expected:
            raise Conflict(f"the durable size is {head.durable.size}, not {expected.size}")
        if head.sealed != head.durable:
            raise Conflict("an earlier group is not sealed yet")
        check_follows(group, expected)
        await self._to_the_end.do(patiently(partial(self._append, expected, group), PATIENCE_S))

    async def _append(self, expected: TreeHead, group: Group) -> None:
        standing = self._known
        call = calls.append(self._keys, expected, group, self._withheld)
        said, *more = await self._master.write(call, changes=calls.wrote)
        match said:
            case b"ok":
                pass
            case b"repeated":
                raise AlreadyCommitted({id_: int(index) for id_, index in zip(more[::2], more[1::2], strict=True)})
            case b"conflict" | b"unsealed":
                await self._meet(TreeHead(int(more[0]), more[1]), group.head)
            case _:
                raise calls.refused(self._keys, (said, *more))
        standing.appended(group)
        self._recent.follow(group.entries)

    async def _meet(self, stored: TreeHead, ours: TreeHead) -> None:
        """Meet another durable head than was expected; return if it is our own, of an answer that was lost."""
        standing = self._known
        if stored == standing.head.sealed:
            # The master that was told of this seal is gone.
            await self._master.tell(calls.seal(self._keys, stored, standing.head.checkpoint))
            raise Conflict("the last seal was told to the store again")
        safe = (await self._confirmed()).head.durable
        standing.is_safe(safe)
        if safe != ours:
            raise Conflict(f"the durable size is {safe.size}: another hub was quicker")

    async def seal(self, head: TreeHead, checkpoint: bytes) -> None:
        """See `LogStore.seal`."""
        now = self._known.head
        if head.size <= now.sealed.size and now.checkpoint:
            return
        await self._to_the_end.do(patiently(partial(self._seal, head, checkpoint), PATIENCE_S))

    async def _seal(self, head: TreeHead, checkpoint: bytes) -> None:
        said, *more = await self._master.tell(calls.seal(self._keys, head, checkpoint))
        if said == b"conflict":
            now = await self._look()
            raise Conflict(f"the durable size is {now.durable.size}, not {head.size}")
        if said not in {b"ok", b"sealed"}:
            raise calls.refused(self._keys, (said, *more))
        if said == b"ok":
            self._known.sealed(head, checkpoint)
        if self._known.head.sealed.size < head.size:  # a group that this hub has only met, or another has sealed
            await self._look()

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """See `LogStore.read`. Before a cursor is refused, the store is asked: another hub may have gone further."""
        head = self._known.head
        if start > head.sealed.size:
            head = await self.head()
        if start < head.floor:
            raise CursorBelowFloor(head.floor)
        if start > head.sealed.size:
            raise CursorAboveSize(head.sealed.size)
        end = min(start + limit, head.sealed.size)
        if end <= start:
            return ()
        if self._recent.holds(start, end):
            return self._recent.slice(start, end)
        replaced = self._erasing.count + self._returning.count
        found = await self._cold.entries(start, end)
        if not found:
            raise await self._missing(start)
        newest = found[-1].index + 1 == head.sealed.size and head.sealed == head.durable
        if newest and replaced == self._erasing.count + self._returning.count:
            self._recent.follow(found)
        return found

    async def _missing(self, index: int) -> ExchangeError:
        """Say why an entry is not there: the floor may have risen meanwhile."""
        floor = (await self.head()).floor
        return CursorBelowFloor(floor) if index < floor else Fatal(f"entry {index} is missing in the store")

    async def wait(self, after: int) -> int:
        """See `LogStore.wait`."""
        standing = self._known
        if standing.head.sealed.size <= after:
            await standing.moved()
        return standing.head.sealed.size

    async def find(self, statement_id: bytes) -> int | None:
        """See `LogStore.find`."""
        _ = self._known
        (found,) = await self._master.read(("HGET", self._keys.ids, statement_id))
        return None if found is None else int(found)

    async def erase(self, frames: Mapping[int, bytes]) -> None:
        """See `LogStore.erase`. Other hubs erase what they hold in memory by themselves."""
        _ = self._known
        await self._to_the_end.do(self._erasing.erase(frames))

    async def put_back(self, index: int, was: bytes, frame: bytes) -> None:
        """See `Recovering.put_back`."""
        _ = self._known
        await self._to_the_end.do(self._returning.put_back(index, was, frame))

    async def tiles(self, refs: Sequence[TileRef]) -> Sequence[HashTile]:
        """See `History.tiles`."""
        require_tiles(refs, self._known.head.sealed.size)
        return await asyncio.gather(*map(self._tile, refs))

    async def _tile(self, ref: TileRef) -> HashTile:
        if (held := self._recent.tile(ref)) is not None:
            return held
        return await at_floor(partial(self._cold.tile, *ref), self._known.head.floor, self.head)

    async def bundle(self, index: int) -> bytes:
        """See `History.bundle`."""
        head = self._known.head
        width = tile_width(head.sealed.size, 0, index) if index >= 0 else 0
        if not width:
            raise Rejected(Reason.NOT_FOUND, "no such entry bundle in the sealed tree")
        return await at_floor(partial(self._cold.bundle, index, width), self._known.head.floor, self.head)

    async def durable_entries(self, start: int, end: int) -> Sequence[StoredEntry]:
        """See `History.durable_entries`."""
        head = self._known.head
        if start < head.floor:
            raise CursorBelowFloor(head.floor)
        if end > head.durable.size:
            raise CursorAboveSize(head.durable.size)
        return await self._cold.all_entries(start, end)

    async def archive(self, floor: int) -> int:
        """See `History.archive`. Two hubs that do it at once write the same files, and the higher floor stays."""
        async with self._archiving:
            head = await self.head() if not self._closed else self._known.head
            end = min(floor, head.sealed.size) // TILE_WIDTH
            start = head.floor // TILE_WIDTH
            while start < end:
                stop = min(start + _ARCHIVE_BUNDLES, end)
                await self._to_the_end.do(self._archive(range(start, stop)))
                start = max(stop, self._known.head.floor // TILE_WIDTH)
            return self._known.head.floor

    async def _archive(self, bundles: range) -> None:
        try:
            for index in bundles:
                await self._cold.write_bundle(index)
            reply = await self._master.write(calls.drop(self._keys, bundles), changes=calls.wrote)
            if reply[0] == b"format":
                raise calls.refused(self._keys, reply)
        except Fatal:
            if (await self._look()).floor <= bundles[0] * TILE_WIDTH:
                raise
        await self._look()

    async def _watch(self) -> None:
        """Learn of what other hubs seal, and of another master, until closed."""
        while not self._closed:
            with suppress(Unavailable):
                try:
                    await self._master.follow(self._keys.channel, self._news, LOOK_EVERY_S, FIND_EVERY_S)
                except ExchangeError as error:
                    if self._standing is not None and not isinstance(error, Unavailable):
                        self._standing.broken = error
                        self._standing.wake()
                        return
                    raise
            await asyncio.sleep(LOOK_EVERY_S / 4)

    async def _news(self, size: int | None) -> None:
        """Look, unless what was heard is known."""
        if not size or size > self._known.head.sealed.size:
            await self.head()
        if not size:  # what came back lies below what is sealed; it waits until the fold has read so far
            with suppress(Unavailable):
                await self._returning.look()

    async def aclose(self) -> None:
        """See `LogStore.aclose`."""
        if self._closed:
            return
        self._closed = True
        if self._standing is not None:
            self._standing.wake()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._to_the_end.aclose()
        await self._master.aclose()
        await self._worker.aclose()

"""Reading a log in Redis without a hub: for verification, also while hubs are at work on it.

Takes nothing and writes nothing. Entries below the floor come from the bundle files, as leaves; the rest from the
server, as frames. What a row's own checksums do not vouch for is refused here; all else is for the reader to check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from exchange.errors import Fatal, Reason, Rejected
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.tiles import TILE_WIDTH, entries_path
from exchange.ports import StoredEntry
from exchange.stores import redis_checks
from exchange.stores.entries import read_bundle
from exchange.stores.redis_bundles import Bundles
from exchange.stores.redis_finding import Finder
from exchange.stores.redis_link import Command, Link, answer
from exchange.stores.redis_place import RedisPlace
from exchange.stores.redis_replicas import missing, read_replication
from exchange.stores.redis_rows import RawHead, checked_tile, entry_of, read_head, root_of
from exchange.stores.redis_scripts import HEAD_FIELDS, Keys
from exchange.stores.sqlite_reader import LogState, RawEntry
from exchange.stores.sqlite_schema import checksum

_PAGE = 64


class RedisLog:
    """One log, read."""

    def __init__(self, place: RedisPlace, folder: Path, origin: str) -> None:
        """Connect. Raises `Rejected` when there is no such log, `Unavailable` when nobody answers."""
        self._keys = Keys(origin)
        self._folder = folder
        #: An entry that was read, and cannot be found by its statement's id.
        self._astray: int | None = None
        self._runner = asyncio.Runner()
        try:
            self._link = self._runner.run(self._connect(place))
        except BaseException:
            self._runner.close()
            raise
        try:
            self._head()
        except BaseException:
            self.close()
            raise

    async def _connect(self, place: RedisPlace) -> Link:
        self._finder = Finder(place, self._keys.head)
        found = await self._finder.find()
        return await Link.connect(place, found.master, place.login)

    def _ask(self, *command: str | bytes | int) -> list[Any]:
        return self._runner.run(self._answers(command))

    async def _answers(self, command: Command) -> list[Any]:
        (reply,) = await self._link.call(command)
        found = answer(self._link.server, reply)
        return list(found) if isinstance(found, list) else [found]

    def _head(self) -> RawHead:
        raw = read_head(self._ask("HMGET", self._keys.head, *HEAD_FIELDS))
        if raw is None:
            raise Rejected(Reason.NOT_FOUND, f"the store has no log {self._keys.origin}")
        return raw

    def state(self) -> LogState:
        """See `Reading.state`."""
        raw = self._head()
        head = raw.head
        return LogState(
            raw.origin,
            head.durable.size,
            head.sealed.size,
            head.durable.root,
            head.sealed.root,
            head.checkpoint,
            head.floor,
            head.last_received_at_ms,
            head.last_directory_size,
        )

    def entries(self, size: int) -> Iterator[RawEntry]:
        """See `Reading.entries`."""
        floor = self._head().head.floor
        for index in range(floor // TILE_WIDTH):
            for place, leaf in enumerate(self._bundle(index)):
                yield RawEntry(index * TILE_WIDTH + place, leaf=leaf)
        for start in range(floor, size, _PAGE):
            # A page lies in one bundle: these begin at multiples of a page.
            wanted = range(start, min(start + _PAGE, size))
            rows = self._ask("HMGET", self._keys.entries(start // TILE_WIDTH), *wanted)
            found = []
            for index, row in zip(wanted, rows, strict=True):
                if row is None:
                    raise Fatal(f"entry {index} is missing in the store")
                found.append(entry_of(index, row))
            self._look_up(found)
            for each in found:
                id_, received, frame = each.statement_id, each.received_at_ms, each.frame
                yield RawEntry(each.index, b"", frame, id_, each.leaf_hash, received, checksum(id_, received, frame))

    def _look_up(self, entries: Sequence[StoredEntry]) -> None:
        """Note the first entry that the index of statements does not lead to: no hub would notice."""
        if self._astray is not None:
            return
        found = self._ask("HMGET", self._keys.ids, *(each.statement_id for each in entries))
        for entry, index in zip(entries, found, strict=True):
            if index != str(entry.index).encode() and entry.index >= self._head().head.floor:  # it may have risen
                self._astray = entry.index
                return

    def _bundle(self, index: int) -> tuple[bytes, ...]:
        return read_bundle(self._folder / entries_path(index))

    def tile(self, level: int, index: int) -> tuple[bytes, bytes] | None:
        """See `Reading.tile`. Of level 0 below the floor there is the root alone: its hashes are the bundle's."""
        (row,) = self._ask("HGET", self._keys.roots(level), index)
        if row is None:
            return None
        root = root_of(level, index, row)
        (hashes,) = self._ask("HGET", self._keys.tiles(level), index)
        if hashes is None and level == 0 and (index + 1) * TILE_WIDTH <= self._head().head.floor:
            hashes = b"".join(map(leaf_hash, self._bundle(index)))
        return None if hashes is None else (checked_tile(level, index, hashes, root).hashes, root)

    def servers(self) -> tuple[str, str]:
        """Return what the log's servers are, and what would keep a hub from publishing now, or nothing. Raises."""
        return self._runner.run(self._servers())

    async def _servers(self) -> tuple[str, str]:
        found = await self._finder.find()
        await redis_checks.require(self._link)
        (said,) = await self._link.call(("INFO", "replication"))
        now = read_replication(answer(self._link.server, said))
        found = self._finder.seen(found, now.connected)
        connected, promotable = len(now.connected), len(found.promotable) or found.least
        what = f"{found.master}, {connected} replicas connected, {promotable} promotable"
        return what, missing(found, connected, now)

    def listeners(self) -> int:
        """Return how many hubs have the log open: each listens to what others seal. They take a size of 0 for old."""
        (count,) = self._ask("PUBLISH", self._keys.channel, 0)
        return int(count)

    def damage(self) -> str:
        """See `Reading.damage`."""
        if self._astray is not None:
            return f"the index of statements does not lead to entry {self._astray}"
        (ids,) = self._ask("HLEN", self._keys.ids)
        raw = self._head()
        try:
            Bundles(self._folder).require(raw.bundles)
        except Fatal as error:
            return error.message
        head = raw.head
        held = head.durable.size - head.floor
        return "" if ids == held else f"the index of statements names {ids}, and the log holds {held}"

    def close(self) -> None:
        """Disconnect."""
        self._runner.run(self._link.aclose(wait=True))
        self._runner.close()

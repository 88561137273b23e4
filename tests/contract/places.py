"""Where a log is kept between two openings, for each adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from exchange.stores.redis import RedisStore
from exchange.stores.redis_place import RedisPlace
from exchange.stores.sqlite import SqliteStore
from tests.contract.builders import ORIGIN, Store
from tests.contract.memory_store import Disk, MemoryStore


class Place(Protocol):
    """Somewhere a log is kept between two openings."""

    async def open(self) -> Store:
        """Close what is open, if anything, and open the log; the first time it is made."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


class MemoryPlace:
    def __init__(self) -> None:
        self._disk = Disk()
        self._store: MemoryStore | None = None

    async def open(self) -> Store:
        await self.aclose()
        self._store = MemoryStore(self._disk)
        return self._store

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.aclose()


class SqlitePlace:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store: SqliteStore | None = None

    async def open(self) -> Store:
        await self.aclose()
        self._store = await SqliteStore.open(self._folder, origin=ORIGIN, create=self._store is None)
        return self._store

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.aclose()


class RedisStorePlace:
    """In a server that is empty, or at least has no log of this origin."""

    def __init__(self, place: RedisPlace, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._store: RedisStore | None = None

    async def open(self) -> RedisStore:
        await self.aclose()
        self._store = await RedisStore.open(self._place, self._folder, origin=ORIGIN, create=self._store is None)
        return self._store

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.aclose()

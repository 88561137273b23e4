"""Which kind of store a hub's logs lie in: a file of each log's own, or Redis, which several hubs may share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from exchange.domain.identifiers import Origin
from exchange.ports import History, LogStore, TreeHead
from exchange.stores.folders import Folders
from exchange.stores.redis import RedisStore
from exchange.stores.redis_place import RedisPlace
from exchange.stores.sqlite import SqliteStore


class Store(LogStore, History, Protocol):
    """Both sides of one log."""


Seen = Callable[[TreeHead, bytes], Awaitable[None]]
Erased = Callable[[Sequence[int]], Awaitable[None]]


class Stores(Protocol):
    """Where logs lie."""

    #: Entries to erase in one go. Old bytes leave the files by a transaction, or by writing a whole file anew.
    erase_at_once: int

    def here(self, origin: Origin) -> bool:
        """Whether this hub is to serve a log."""
        ...

    async def open(self, origin: Origin, *, recent_bytes: int) -> Store:
        """Open a log; keep so much of its newest entries in memory. Raises `ExchangeError`."""
        ...

    async def make(self, origin: Origin) -> None:
        """Make an empty log. Raises `Rejected` when it is there already."""
        ...

    async def share(self, store: Store, seen: Seen, erased: Erased) -> None:
        """From now on tell of what other hubs seal in it, before anybody sees it.

        And of what this hub has erased in it, as soon as it is replaced: until it is out of the files takes longer.
        """
        ...


class Embedded:
    """Each log in a file; this hub alone has it open."""

    erase_at_once = 64

    def __init__(self, folders: Folders) -> None:
        """Keep logs in these folders."""
        self._folders = folders

    def here(self, origin: Origin) -> bool:
        """See `Stores.here`."""
        return self._folders.log(origin.log).is_dir()

    async def open(self, origin: Origin, *, recent_bytes: int) -> Store:
        """See `Stores.open`."""
        folder = self._folders.log(origin.log)
        return await SqliteStore.open(folder, origin=str(origin), recent_bytes=recent_bytes)

    async def make(self, origin: Origin) -> None:
        """See `Stores.make`."""
        store = await SqliteStore.open(self._folders.log(origin.log), origin=str(origin), create=True)
        await store.aclose()

    async def share(self, store: Store, seen: Seen, erased: Erased) -> None:
        """There are no others, and what is replaced is out of the file at once."""


class Shared:
    """In Redis. A hub serves the logs that it has the keys of."""

    erase_at_once = 4_096

    def __init__(self, folders: Folders, place: RedisPlace) -> None:
        """Keep what is hot there, and entry bundles in the folder that all hubs share."""
        self._folders = folders
        self._place = place

    def here(self, origin: Origin) -> bool:
        """See `Stores.here`."""
        return self._folders.key(origin.log).exists()

    async def open(self, origin: Origin, *, recent_bytes: int) -> Store:
        """See `Stores.open`."""
        folder = self._folders.bundle_files(origin.log)
        return await RedisStore.open(self._place, folder, origin=str(origin), recent_bytes=recent_bytes)

    async def make(self, origin: Origin) -> None:
        """See `Stores.make`."""
        folder = self._folders.bundle_files(origin.log)
        store = await RedisStore.open(self._place, folder, origin=str(origin), create=True)
        await store.aclose()

    async def share(self, store: Store, seen: Seen, erased: Erased) -> None:
        """See `Stores.share`."""
        if isinstance(store, RedisStore):
            await store.tell(seen, erased)


def stores_in(folders: Folders, place: RedisPlace | None) -> Stores:
    """Return the kind that the setting names; None: embedded."""
    return Embedded(folders) if place is None else Shared(folders, place)

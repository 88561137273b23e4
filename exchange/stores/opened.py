"""Which kind of store a hub's logs lie in: a file of each log's own, or Redis, which several hubs may share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Protocol

from exchange.domain.identifiers import Origin
from exchange.errors import Fatal, Reason
from exchange.ports import History, LogStore, TreeHead
from exchange.stores.folders import Folders
from exchange.stores.redis import RedisStore, Told
from exchange.stores.redis_place import RedisPlace
from exchange.stores.redis_withholding import withheld, withhold
from exchange.stores.sqlite import SqliteStore
from exchange.stores.sqlite_reader import LogFiles
from exchange.stores.withheld import read_file, require, write_file
from exchange.views.lost import Recovering


class Store(LogStore, History, Recovering, Protocol):
    """All sides of one log."""


Seen = Callable[[TreeHead, bytes], Awaitable[None]]


class Stores(Protocol):
    """Where logs lie."""

    #: Entries to erase in one go. Old bytes leave the files by a transaction, or by writing a whole file anew.
    erase_at_once: int
    #: Whether a log that comes while hubs run is here whole or not at all. Files take as long as they are copied.
    come_at_once: bool

    def here(self, origin: Origin) -> bool:
        """Whether this hub is to serve a log."""
        ...

    async def open(self, origin: Origin, *, recent_bytes: int, withheld: bytes = b"") -> Store:
        """Open a log; keep so much of its newest entries in memory. Raises `ExchangeError`.

        ``withheld`` is what the store must say of why hubs may not serve the log (`exchange.stores.withheld`).
        """
        ...

    async def make(self, origin: Origin, *, withheld: bytes = b"") -> None:
        """Make an empty log, withheld from hubs or not. Raises `Rejected` when it is there already."""
        ...

    async def withheld(self, origin: Origin) -> bytes:
        """Return why hubs may not serve a log; nothing where they may, or there is none."""
        ...

    async def withhold(self, origin: Origin, was: bytes, now: bytes, head: TreeHead) -> None:
        """Change that, durably, of a log that this process has to itself and that has this durable head.

        Raises `Fatal` (CONFLICT), with nothing changed, where the store says otherwise; but not where it is so already.
        """
        ...

    async def share(self, store: Store, seen: Seen, erased: Told, returned: Told) -> None:
        """From now on tell of what other hubs seal in it, before anybody sees it.

        And of what this hub has erased in it, as soon as it is replaced: until it is out of the files takes longer.
        And of records that any hub has put back.
        """
        ...


class Embedded:
    """Each log in a file; this hub alone has it open."""

    erase_at_once = 64
    come_at_once = False

    def __init__(self, folders: Folders) -> None:
        """Keep logs in these folders."""
        self._folders = folders

    def here(self, origin: Origin) -> bool:
        """See `Stores.here`."""
        return self._folders.log(origin.log).is_dir()

    async def open(self, origin: Origin, *, recent_bytes: int, withheld: bytes = b"") -> Store:
        """See `Stores.open`."""
        folder = self._folders.log(origin.log)
        return await SqliteStore.open(folder, origin=str(origin), recent_bytes=recent_bytes, withheld=withheld)

    async def make(self, origin: Origin, *, withheld: bytes = b"") -> None:
        """See `Stores.make`."""
        folder = self._folders.log(origin.log)
        store = await SqliteStore.open(folder, origin=str(origin), create=True, withheld=withheld)
        await store.aclose()

    async def withheld(self, origin: Origin) -> bytes:
        """See `Stores.withheld`."""
        return read_file(self._folders.log(origin.log))

    async def withhold(self, origin: Origin, was: bytes, now: bytes, head: TreeHead) -> None:
        """See `Stores.withhold`. Nobody changes the log meanwhile: whoever calls this holds its lock."""
        folder = self._folders.log(origin.log)
        found = read_file(folder)
        if found == now:
            return
        require(str(origin), found, was)
        with closing(LogFiles(folder)) as log:
            state = log.state()
        if TreeHead(state.durable_size, state.durable_root) != head:
            raise Fatal(f"{origin}: ends at {state.durable_size}, not at {head.size}", reason=Reason.CONFLICT)
        write_file(folder, now)

    async def share(self, store: Store, seen: Seen, erased: Told, returned: Told) -> None:
        """There are no others, and what is replaced is out of the file at once."""


class Shared:
    """In Redis. A hub serves the logs that it has the keys of."""

    erase_at_once = 4_096
    come_at_once = True

    def __init__(self, folders: Folders, place: RedisPlace) -> None:
        """Keep what is hot there, and entry bundles in the folder that all hubs share."""
        self._folders = folders
        self._place = place

    def here(self, origin: Origin) -> bool:
        """See `Stores.here`."""
        return self._folders.key(origin.log).exists()

    async def open(self, origin: Origin, *, recent_bytes: int, withheld: bytes = b"") -> Store:
        """See `Stores.open`."""
        folder = self._folders.bundle_files(origin.log)
        return await RedisStore.open(
            self._place, folder, origin=str(origin), recent_bytes=recent_bytes, withheld=withheld
        )

    async def make(self, origin: Origin, *, withheld: bytes = b"") -> None:
        """See `Stores.make`."""
        folder = self._folders.bundle_files(origin.log)
        store = await RedisStore.open(self._place, folder, origin=str(origin), create=True, withheld=withheld)
        await store.aclose()

    async def withheld(self, origin: Origin) -> bytes:
        """See `Stores.withheld`."""
        return await withheld(self._place, str(origin))

    async def withhold(self, origin: Origin, was: bytes, now: bytes, head: TreeHead) -> None:
        """See `Stores.withhold`. A hub that has it open all the same appends nothing from then on."""
        await withhold(self._place, str(origin), was, now, head)

    async def share(self, store: Store, seen: Seen, erased: Told, returned: Told) -> None:
        """See `Stores.share`."""
        if isinstance(store, RedisStore):
            await store.tell(seen, erased, returned)


def stores_in(folders: Folders, place: RedisPlace | None) -> Stores:
    """Return the kind that the setting names; None: embedded."""
    return Embedded(folders) if place is None else Shared(folders, place)

"""The hub's view of the directory: the pure fold, kept up with the directory log.

Starts from a snapshot (`exchange.views.keeper`), or from leaf 0 where there is none, then incremental. Every RPC is
judged by this view. So new entries are held against the root of the sealed size before the view takes them, and its age
is watched: when the log could not be read for five seconds, publishing stops (fail closed) until it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exchange.domain.directory import Directory
from exchange.domain.directory_rows import FORMAT, DirectoryRestore, directory_rows
from exchange.domain.policy import require_fresh
from exchange.errors import Fatal
from exchange.ports import LogStore
from exchange.views.replay import Recipe, Replay

REFRESH_MS = 1_000

DIRECTORY = Recipe("directory", FORMAT, Directory, directory_rows, DirectoryRestore)


class DirectoryView:
    """Follows one directory log."""

    def __init__(self, store: LogStore, replay: Replay[Directory], monotonic_ms: Callable[[], int]) -> None:
        """Go on from this replay of this store; call `refresh` once before `run`."""
        self._store = store
        self._replay = replay
        self._now = monotonic_ms
        self._refreshed_ms = monotonic_ms()
        #: Whether what the view holds is known to be the log's: from then on others judge by it.
        self._in_use = False
        self._changed = asyncio.Event()

    @property
    def directory(self) -> Directory:
        """The view as it stands, however old."""
        return self._replay.fold

    def fresh(self) -> Directory:
        """Return the view if it may be judged by. Raises `Unavailable` when it is stale."""
        require_fresh(self._now() - self._refreshed_ms)
        return self.directory

    async def refresh(self) -> None:
        """Take all sealed entries. Raises `Fatal` when they are not what was sealed, or the first is no genesis.

        The first reading may be of a whole log, and takes entries as they come: nobody judges by the view before.
        """
        sealed = (await self._store.head()).sealed
        before = self.directory.size
        if before < sealed.size:
            if self._in_use:
                await self._replay.follow_to(sealed)
            else:
                await self._replay.read_to(sealed.size)
                self._replay.require(sealed)
            if self.directory.genesis is None:
                raise Fatal("the directory does not start with a genesis")
        self._in_use = True
        self._refreshed_ms = self._now()
        if self.directory.size != before:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        while True:
            try:
                async with asyncio.timeout(REFRESH_MS / 1000):
                    await self._store.wait(self.directory.size)
            except TimeoutError:
                pass
            await self.refresh()

    async def reached(self, size: int) -> None:
        """Return as soon as the view has taken ``size`` entries."""
        while self.directory.size < size:
            await self._changed.wait()

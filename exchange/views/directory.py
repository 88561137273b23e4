"""The hub's view of the directory: the pure fold, kept up with the directory log.

Rebuilt from leaf 0 on start, then incremental. Every RPC is judged by this view, so its age is watched: when the log
could not be read for five seconds, publishing stops (fail closed) until it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exchange import codec
from exchange.domain.directory import Directory
from exchange.domain.policy import require_fresh
from exchange.errors import Fatal
from exchange.ports import LogStore, StoredEntry

_PAGE = 1024
REFRESH_MS = 1_000


class DirectoryView:
    """Follows one directory log."""

    def __init__(self, store: LogStore, monotonic_ms: Callable[[], int]) -> None:
        """Follow this store; call `refresh` once before `run`."""
        self._store = store
        self._now = monotonic_ms
        self._directory = Directory()
        self._refreshed_ms = monotonic_ms()
        self._changed = asyncio.Event()

    @property
    def directory(self) -> Directory:
        """The view as it stands, however old."""
        return self._directory

    def fresh(self) -> Directory:
        """Return the view if it may be judged by. Raises `Unavailable` when it is stale."""
        require_fresh(self._now() - self._refreshed_ms)
        return self._directory

    async def refresh(self) -> None:
        """Take all sealed entries. Raises `Fatal` when the log does not start with a genesis."""
        size = (await self._store.head()).sealed.size
        before = self._directory.size
        while self._directory.size < size:
            for entry in await self._store.read(self._directory.size, _PAGE):
                self._apply(entry)
        self._refreshed_ms = self._now()
        if self._directory.size != before:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _apply(self, entry: StoredEntry) -> None:
        leaf = codec.decode_leaf(codec.frame_leaf(entry.frame))
        self._directory.apply(codec.decode_header(leaf.payload, strict=False), leaf.received_at_ms)
        if self._directory.genesis is None:
            raise Fatal("the directory does not start with a genesis")

    async def run(self) -> None:
        """Follow the log until cancelled."""
        while True:
            try:
                async with asyncio.timeout(REFRESH_MS / 1000):
                    await self._store.wait(self._directory.size)
            except TimeoutError:
                pass
            await self.refresh()

    async def reached(self, size: int) -> None:
        """Return as soon as the view has taken ``size`` entries."""
        while self._directory.size < size:
            await self._changed.wait()

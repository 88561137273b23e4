"""A snapshot of a fold, in a file beside its log."""

from __future__ import annotations

import asyncio
from pathlib import Path

from exchange.errors import Fatal, Unavailable
from exchange.ops.durable import replace, sync_folder


class FoldFile:
    """A `SnapshotFile` at a path."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened; the file need not be there."""
        self._path = path

    async def load(self) -> bytes | None:
        """See `SnapshotFile.load`."""
        return await asyncio.to_thread(self._load)

    async def save(self, data: bytes) -> None:
        """See `SnapshotFile.save`."""
        try:
            await asyncio.to_thread(replace, self._path, data)
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error

    async def discard(self) -> None:
        """See `SnapshotFile.discard`."""
        await asyncio.to_thread(self._discard)

    def _load(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:
            return None

    def _discard(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
            sync_folder(self._path.parent)
        except OSError as error:
            raise Fatal(f"{self._path}: {error.strerror}", hint="delete this file by hand") from error

"""A member's own database in one SQLite file: jobs run one at a time beside the event loop, each in a transaction.

Only its owner can read it. Another format is refused: nothing is guessed, and nothing changed.

SQLite overwrites what is deleted (``secure_delete``), but not the copies of rows that it leaves where it moved them
from one page to another. So a file from which rows were deleted is written anew (``VACUUM``): at once, then an hour
later at the soonest, and when it is closed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw

from exchange.errors import Fatal, OtherFormat, Reason
from exchange.ops.transactions import all_rows, transaction
from exchange_client.state import open_private, typed_error

T = TypeVar("T")

#: How much of a file is held in memory.
_CACHE_KIB = 32 * 1024
#: A file of a million rows is written anew in a second or two.
REWRITE_EVERY_S = 3_600.0


class PrivateDatabase:
    """One file."""

    def __init__(
        self,
        path: Path,
        version: int,
        make: Callable[[apsw.Connection], None] | None,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the file, or ``make`` it in one transaction; without ``make`` it must be there.

        Raises `Fatal` (CONFIG): it is not there, of another version, or cannot be used.
        """
        self.path = path
        self.closed = False
        self._clock = clock_s
        #: Whether copies of deleted rows may be left.
        self._moved = False
        self._next_rewrite = clock_s()
        #: One job at a time: a connection belongs to one thread at any moment.
        self._turn = threading.Lock()
        if make is None and not (path.is_file() and path.stat().st_size):
            raise Fatal(f"{path}: is not there, or empty", reason=Reason.CONFIG)
        try:
            self._connection = open_private(path, 0, version)
            self._connection.pragma("cache_size", -_CACHE_KIB)
            found = self._connection.pragma("user_version")
            if found == 0 and make is not None and _is_empty(self._connection):
                with transaction(self._connection):
                    make(self._connection)
                    self._connection.pragma("user_version", version)
            elif found != version:
                self._connection.close()
                raise OtherFormat(path, found, version)
        except (apsw.Error, OSError) as error:
            raise Fatal(f"{path}: {error}", reason=Reason.CONFIG) from error

    async def run(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run a job in a transaction, durable on return.

        Raises `Unavailable` when the disk is full or the file in use, and `Fatal` when it is damaged.
        """
        return await asyncio.to_thread(self.now, job)

    def now(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run a job as `run` does, in the calling thread."""
        try:
            with self._turn, transaction(self._connection):
                found = job(self._connection)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise typed_error(self.path, error) from error
        return found

    async def purge(self) -> None:
        """Have what was deleted leave the files: rows at once, copies of rows as the module says. Raises as `run`."""
        self._moved = True

        def job() -> None:
            with self._turn:
                if self._clock() >= self._next_rewrite:
                    self._rewrite()
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

        try:
            await asyncio.to_thread(job)
        except apsw.Error as error:
            raise typed_error(self.path, error) from error

    def _rewrite(self) -> None:
        self._connection.execute("VACUUM")
        self._moved = False
        self._next_rewrite = self._clock() + REWRITE_EVERY_S

    def close(self) -> None:
        """Close the file, once the job under way has ended. What could not be written anew is at the next purge."""
        with self._turn:
            if self._moved and not self.closed:
                with suppress(apsw.Error):
                    self._rewrite()
            self.closed = True
            self._connection.close()


def _is_empty(connection: apsw.Connection) -> bool:
    return not all_rows(connection, "SELECT 1 FROM sqlite_schema LIMIT 1")

"""What a client keeps between runs: one small SQLite file with durable writes, off the event loop.

Outbox, cursors and the directory as it was verified live in it. A newer schema is refused, an older one brought up to
date; the file is made when it is not there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from exchange.errors import Fatal, OtherFormat, Reason, Rejected, Unavailable
from exchange.ops.database_format import format_in
from exchange.ops.transactions import transaction

T = TypeVar("T")

SCHEMA_VERSION = 3
_TABLES = """
CREATE TABLE outbox(
    statement_id BLOB PRIMARY KEY,
    origin TEXT NOT NULL,
    statement BLOB NOT NULL,
    kept_at_ms INTEGER NOT NULL,
    receipt_index INTEGER,
    receipt_at_ms INTEGER
) STRICT;
CREATE INDEX outbox_unsent ON outbox(origin) WHERE receipt_index IS NULL;
CREATE TABLE cases(
    origin TEXT NOT NULL,
    case_ref TEXT NOT NULL,
    signal_id BLOB NOT NULL,
    PRIMARY KEY (origin, case_ref, signal_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE cursors(
    origin TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    checkpoint BLOB NOT NULL,
    received_at_ms INTEGER NOT NULL,
    directory_size INTEGER NOT NULL
) STRICT;
"""
#: Since schema 2.
_FOLDS = """
CREATE TABLE folds(
    origin TEXT PRIMARY KEY,
    snapshot BLOB NOT NULL
) STRICT;
"""
#: Since schema 3.
_LIFE = """
CREATE TABLE ended(
    origin TEXT NOT NULL,
    signal_id BLOB NOT NULL,
    erased INTEGER NOT NULL,
    PRIMARY KEY (origin, signal_id, erased)
) STRICT, WITHOUT ROWID;
CREATE TABLE lag(
    origin TEXT PRIMARY KEY,
    through INTEGER NOT NULL,
    counts TEXT NOT NULL
) STRICT;
"""
#: What each version lacks that came before; 0 is a new file.
_STEPS = (_TABLES, _FOLDS, _LIFE)


def open_private(path: Path, *known: int) -> apsw.Connection:
    """Open or make a database that only its owner can read, with durable commits. Raises apsw.Error and OSError.

    What is deleted from it is overwritten, not merely unlinked.

    One that is in none of the ``known`` formats (0 is a new file) is left as it is: raises `OtherFormat`.
    """
    found = format_in(path)
    if found not in known:
        raise OtherFormat(path, found, known[-1])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Made by us first: it holds what is the member's own, and SQLite would let everyone read it.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.pragma("secure_delete", 1)
    return connection


def checked(row: tuple[Any, ...], *types: type) -> tuple[Any, ...]:
    """Return a row with values of these types: SQLite looks at types when it writes, not when it reads.

    Raises `Rejected` (MALFORMED).
    """
    if tuple(map(type, row)) != types:
        raise Rejected(Reason.MALFORMED, "the client's own file holds a damaged row")
    return row


def typed_error(path: Path, error: Exception) -> Exception:
    """Return what a job's failure means: `Unavailable` on a full disk or a file in use, `Fatal` on a damaged one."""
    if isinstance(error, apsw.FullError | apsw.BusyError):
        return Unavailable(f"{path}: {error}")
    if isinstance(error, apsw.Error | UnicodeDecodeError):
        return Fatal(f"{path}: {error}")
    return error


class StateFile:
    """The client's database. Jobs that wait together are committed together: one fsync for all of them."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises `Fatal` (CONFIG) when it cannot be used."""
        self._path = path
        self._jobs: list[tuple[Callable[[apsw.Connection], Any], asyncio.Future[Any]]] = []
        self.closed = False
        self._lock = asyncio.Lock()
        try:
            self._connection = open_private(path, *range(SCHEMA_VERSION + 1))
            version = self._connection.pragma("user_version")
            if version < SCHEMA_VERSION:
                with transaction(self._connection):
                    self._connection.execute("".join(_STEPS[version:]))
                    self._connection.pragma("user_version", SCHEMA_VERSION)
        except (apsw.Error, OSError) as error:
            raise Fatal(f"{path}: {error}", reason=Reason.CONFIG) from error

    async def run(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run a job on the connection, in a transaction, durable on return.

        Raises `Unavailable` when the disk is full or the file in use, and `Fatal` when it is damaged.
        """
        if self.closed:
            raise Rejected(Reason.CONFIG, "the client is closed")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, answer))
        # A caller may be cancelled; a commit under way may not, or the next one would meet it on the connection.
        await asyncio.shield(self._commit())
        return await answer

    async def _commit(self) -> None:
        async with self._lock:
            jobs, self._jobs = self._jobs, []
            if not jobs:
                return
            results = await asyncio.to_thread(self._in_transaction, [job for job, _ in jobs])
        for (_, answer), (result, error) in zip(jobs, results, strict=True):
            if answer.done():
                continue
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

    def _in_transaction(self, jobs: Sequence[Callable[[apsw.Connection], Any]]) -> list[tuple[Any, Exception | None]]:
        """Run jobs in one transaction, each in a savepoint of its own: one that fails takes nobody with it."""
        results: list[tuple[Any, Exception | None]] = []
        try:
            with transaction(self._connection, immediate=True):
                for job in jobs:
                    self._connection.execute("SAVEPOINT job")
                    try:
                        results.append((job(self._connection), None))
                    except Exception as error:  # whoever brought the job gets it
                        if not self._connection.in_transaction:
                            raise  # a full disk or a failed read: SQLite has undone what all of them did
                        self._connection.execute("ROLLBACK TO job")
                        results.append((None, typed_error(self._path, error)))
                    self._connection.execute("RELEASE job")
        except Exception as error:  # noqa: BLE001 - nothing is kept of any of them: each is told
            return [(None, typed_error(self._path, error))] * len(jobs)
        return results

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        async with self._lock:
            self.closed = True
            self._connection.close()

"""What a client keeps between runs: one small SQLite file with durable writes, off the event loop.

Outbox and cursors live in it. A newer schema is refused; the file is made when it is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

from exchange.errors import Fatal, Reason

T = TypeVar("T")

SCHEMA_VERSION = 1
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
    checkpoint BLOB NOT NULL
) STRICT;
"""


class StateFile:
    """The client's database. One call at a time; each runs on a thread."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises `Fatal` (CONFIG) when it cannot be used."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = asyncio.Lock()
        try:
            self._connection = apsw.Connection(str(path))
            self._connection.set_busy_timeout(10_000)
            self._connection.pragma("journal_mode", "wal")
            self._connection.pragma("synchronous", "FULL")
            version = self._connection.pragma("user_version")
            if version == 0:
                with self._connection:
                    self._connection.execute(_TABLES)
                    self._connection.pragma("user_version", SCHEMA_VERSION)
            elif version != SCHEMA_VERSION:
                raise Fatal(f"{path}: schema version {version} is not known to this release", reason=Reason.CONFIG)
        except apsw.Error as error:
            raise Fatal(f"{path}: {error}", reason=Reason.CONFIG) from error

    async def run(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run a job on the connection, in a transaction, durable on return."""
        async with self._lock:
            return await asyncio.shield(asyncio.to_thread(self._in_transaction, job))

    def _in_transaction(self, job: Callable[[apsw.Connection], T]) -> T:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = job(self._connection)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return result

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        async with self._lock:
            self._connection.close()

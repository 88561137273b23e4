"""What each member has been given of each epoch's evaluations, in one small SQLite file of the pseudonym service."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path

import apsw

from exchange.errors import Fatal, OtherFormat, Reason
from exchange.ops.durable import make_folders
from exchange.ops.transactions import all_rows, first_row, transaction
from exchange.pseudonyms.budget import Reserved
from exchange.stores import sqlite_schema as schema
from exchange.stores.worker import Worker

_SCHEMA_VERSION = 1
_TABLES = """
CREATE TABLE reserved (
    epoch INTEGER NOT NULL, member TEXT NOT NULL,
    users INTEGER NOT NULL, daily_left INTEGER NOT NULL, day INTEGER NOT NULL,
    PRIMARY KEY (epoch, member)
) STRICT, WITHOUT ROWID;
CREATE TABLE totals (
    day INTEGER NOT NULL, epoch INTEGER NOT NULL, member TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (day, epoch, member)
) STRICT, WITHOUT ROWID;
CREATE TABLE told (origin TEXT PRIMARY KEY, day INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
_REPLACE = (
    "INSERT INTO reserved VALUES (?, ?, ?, ?, ?) ON CONFLICT (epoch, member)"
    " DO UPDATE SET users = excluded.users, daily_left = excluded.daily_left, day = excluded.day"
)
_TOLD = "INSERT INTO told VALUES (?, ?) ON CONFLICT DO UPDATE SET day = max(day, excluded.day)"
_ADD = "INSERT INTO totals VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"


class BudgetFile:
    """A `BudgetBook` in a file. One process at a time: `open` takes its lock."""

    def __init__(self, path: Path) -> None:
        """Use `open`."""
        self._path = path
        self._worker = Worker(f"budget-book {path.name}")
        self._lock = -1
        self._connection: apsw.Connection | None = None

    @classmethod
    async def open(cls, path: Path) -> BudgetFile:
        """Open the file, or make it. Raises `Fatal` when it is not one of these, or in use."""
        make_folders(path.parent)
        book = cls(path)
        try:
            book._connection = await book._worker.call(book._open)
        except BaseException:
            await book.aclose()
            raise
        return book

    def _open(self) -> apsw.Connection:
        self._lock = schema.lock(self._path.with_name(f"{self._path.name}.lock"))
        schema.require_format(self._path, 0, _SCHEMA_VERSION)
        connection = schema.connect(self._path, create=not self._path.exists())
        try:
            with schema.typed(self._path):
                version = connection.pragma("user_version")
                if version == 0 and not all_rows(connection, "SELECT 1 FROM sqlite_schema"):
                    with transaction(connection):
                        connection.execute(_TABLES)
                        connection.pragma("user_version", _SCHEMA_VERSION)
                elif version != _SCHEMA_VERSION:
                    raise OtherFormat(self._path, version, _SCHEMA_VERSION)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def _open_connection(self) -> apsw.Connection:
        if self._connection is None:
            raise Fatal(f"{self._path}: is not open")
        return self._connection

    async def read(self, epoch: int, member: str) -> Reserved | None:
        """See `BudgetBook.read`."""
        return await self._worker.call(partial(self._read, epoch, member))

    def _read(self, epoch: int, member: str) -> Reserved | None:
        query = "SELECT users, daily_left, day FROM reserved WHERE epoch = ? AND member = ?"
        with schema.typed(self._path):
            row = first_row(self._open_connection, query, (epoch, member))
        return None if row is None else Reserved(*map(int, row))

    async def write(self, epoch: int, member: str, reserved: Reserved, *, day: int, count: int) -> None:
        """See `BudgetBook.write`."""
        await self._worker.call(partial(self._write, epoch, member, reserved, day, count))

    def _write(self, epoch: int, member: str, reserved: Reserved, day: int, count: int) -> None:
        connection = self._open_connection
        with schema.typed(self._path), transaction(connection):
            connection.execute(_REPLACE, (epoch, member, reserved.users, reserved.daily_left, reserved.day))
            connection.execute(_ADD, (day, epoch, member, count))

    async def totals(self, day: int) -> dict[tuple[int, str], int]:
        """See `BudgetBook.totals`."""
        return await self._worker.call(partial(self._totals, day))

    def _totals(self, day: int) -> dict[tuple[int, str], int]:
        with schema.typed(self._path):
            rows = self._open_connection.execute("SELECT epoch, member, count FROM totals WHERE day = ?", (day,))
            return {(int(epoch), str(member)): int(count) for epoch, member, count in rows}

    async def told_through(self, origin: str) -> int | None:
        """See `BudgetBook.told_through`."""
        return await self._worker.call(partial(self._told_through, origin))

    def _told_through(self, origin: str) -> int | None:
        with schema.typed(self._path):
            row = first_row(self._open_connection, "SELECT day FROM told WHERE origin = ?", (origin,))
        return None if row is None else int(row[0])

    async def note_told(self, origin: str, day: int) -> None:
        """See `BudgetBook.note_told`."""
        await self._worker.call(partial(self._note_told, origin, day))

    def _note_told(self, origin: str, day: int) -> None:
        connection = self._open_connection
        with schema.typed(self._path), transaction(connection):
            connection.execute(_TOLD, (origin, day))

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        if self._worker.closed:
            return
        await self._worker.call(self._close)
        await self._worker.aclose()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def read_totals(path: Path, first_day: int) -> list[tuple[int, int, str, int]]:
    """Return day, epoch, member and evaluations from a day on, in this order; the service may be running.

    Raises `Fatal` when there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise Fatal(
            f"{path}: there is no budget book", reason=Reason.CONFIG, hint="the service makes it when it starts"
        )
    schema.require_format(path, _SCHEMA_VERSION)
    with closing(schema.connect(path, read_only=True)) as connection, schema.typed(path):
        rows = connection.execute("SELECT * FROM totals WHERE day >= ? ORDER BY day, epoch, member", (first_day,))
        return [(int(day), int(epoch), str(member), int(count)) for day, epoch, member, count in rows]

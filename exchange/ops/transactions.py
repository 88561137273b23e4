"""Transactions of SQLite that hold nobody else up: one that writes, and the one behind every question.

apsw's own, ``with connection:``, keeps the interpreter's lock while it commits. A commit writes and syncs, and for as
long as that takes no other thread of the process runs, the event loop's least of all. A statement lets go of the lock.

A question that is not read to its end holds a read transaction until its cursor has gone. While that is kept, as under
a debugger or a profiler, the connection sees what the file held then; where another thread frees it while the
connection is at work, for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import apsw


@contextmanager
def transaction(connection: apsw.Connection, *, immediate: bool = False) -> Iterator[None]:
    """Commit what is done inside; where something is raised, undo all of it and raise that. Not to be nested.

    ``immediate`` takes the file's write lock now, before anything is read; else the first write takes it.
    """
    connection.execute("BEGIN IMMEDIATE" if immediate else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has SQLite undo it by itself
            with suppress(apsw.Error):
                connection.execute("ROLLBACK")
        raise


def all_rows(connection: apsw.Connection, query: str, values: apsw.Bindings = ()) -> list[Any]:
    """Return what a query finds, read to its end before anything is done with it."""
    return connection.execute(query, values).fetchall()


def first_row(connection: apsw.Connection, query: str, values: apsw.Bindings = ()) -> tuple[Any, ...] | None:
    """Return the first row that a query finds, None where it finds none. It should find few, since all are read."""
    rows = all_rows(connection, query, values)
    return rows[0] if rows else None

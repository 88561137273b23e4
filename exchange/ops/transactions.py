"""A transaction of SQLite that holds nobody else up.

apsw's own, ``with connection:``, keeps the interpreter's lock while it commits. A commit writes and syncs, and for as
long as that takes no other thread of the process runs, the event loop's least of all. A statement lets go of the lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

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

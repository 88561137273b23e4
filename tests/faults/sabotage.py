"""One call of the disk that fails once in the middle of a commit, before or after it took effect; and a trace of calls.

What an error becomes is what SQLite's own VFS makes of it: a write without room is SQLITE_FULL, everything else is one
of SQLITE_IOERR's kinds.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from exchange.ports import Group, TreeHead
from exchange.stores import sqlite_schema
from exchange.stores.sqlite import SqliteStore

#: The calls by which a commit, once it is durable, moves the log into the file. SQLite tries again another time.
MOVING = frozenset({"db.write", "db.truncate", "db.sync", "wal.read", "wal.sync-checkpoint"})
_EXTENDED = {
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
}


def failure(call: str, number: int) -> Exception:
    """Return what a call that met this errno raises."""
    file, _, what = call.partition(".")
    if file == "mark":
        return OSError(number, os.strerror(number))
    kind = what.partition("-")[0]
    if number == errno.ENOSPC and kind == "write":
        return apsw.FullError(f"{call}: made to fail")
    error = apsw.IOError(f"{call}: made to fail with {errno.errorcode[number]}")
    vars(error)["extendedresult"] = _EXTENDED[kind]
    return error


def each_group(log: str, begins: Callable[[], None], ends: Callable[[], None]) -> None:
    """Call these around each append to a log of this process."""
    inner = SqliteStore.append

    async def append(store: SqliteStore, expected: TreeHead, group: Group) -> None:
        ours = store._path.parent.name == log
        if ours:
            begins()
        try:
            await inner(store, expected, group)
        finally:
            if ours:
                ends()

    setattr(SqliteStore, "append", append)  # noqa: B010 - the product knows nothing of this


class Saboteur:
    """Makes the first call of this name fail, once, from the ``nth`` group on."""

    def __init__(self, call: str, when: str, number: int, nth: int, fired: Path) -> None:
        self._call = call
        self._when = when
        self._number = number
        self._left = nth
        self._fired = fired
        #: What was raised while SQLite moved its log into the file.
        self._ignored: Exception | None = None

    def install(self, log: str) -> None:
        """Count groups; keep from the hub what SQLite keeps from it."""
        each_group(log, self._begins, lambda: None)
        saboteur = self

        class Connection(apsw.Connection):
            """SQLite ignores what fails while a commit moves the log into the file; apsw would hand it on."""

            def execute(self, *arguments: Any, **options: Any) -> apsw.Cursor:
                try:
                    return super().execute(*arguments, **options)
                except apsw.Error as error:
                    if error is not saboteur._ignored:
                        raise
                    return self.cursor()

        vars(sqlite_schema)["apsw"] = _Apsw(Connection)

    def _begins(self) -> None:
        self._left -= 1

    def before(self, call: str) -> None:
        """See `Listener.before`."""
        self._strike("before", call)

    def after(self, call: str) -> None:
        """See `Listener.after`."""
        self._strike("after", call)

    def _strike(self, when: str, call: str) -> None:
        if (when, call) != (self._when, self._call) or self._left > 0 or self._fired.exists():
            return
        self._fired.write_text(call)
        error = failure(call, self._number)
        if call in MOVING:
            self._ignored = error
        raise error


class Full:
    """A disk without room for the write-ahead log for as long as a file is there."""

    def __init__(self, sign: Path) -> None:
        self._sign = sign

    def before(self, call: str) -> None:
        """See `Listener.before`."""
        if call.startswith("wal.write") and self._sign.exists():
            raise failure(call, errno.ENOSPC)

    def after(self, call: str) -> None:
        """See `Listener.after`."""


class _Apsw:
    """`apsw` with another `Connection`."""

    def __init__(self, connection: type[apsw.Connection]) -> None:
        self.Connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(apsw, name)


class Tracer:
    """Writes down each call between the beginning of an append and its end, and those of the mark, as they come."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._committing = False

    def install(self, log: str) -> None:
        """Note when appends begin and end."""
        each_group(log, lambda: self._say("append", committing=True), lambda: self._say("done", committing=False))

    def _say(self, word: str, *, committing: bool) -> None:
        self._committing = committing
        self._file.write(f"{word}\n")

    def before(self, call: str) -> None:
        """See `Listener.before`."""
        if self._committing or call.startswith("mark."):
            self._file.write(f"{call}\n")

    def after(self, call: str) -> None:
        """See `Listener.after`."""

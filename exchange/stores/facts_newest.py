"""The newest signals of a log, by the beginnings of their ids, in memory; and their way into the index of the file.

They go there sorted, so that each page of the index is met once, and part by part, so that nobody waits for all of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import apsw

from exchange.domain.statement import ID_BYTES
from exchange.ops.transactions import all_rows, first_row
from exchange.stores.inserting import insert

_KEY = struct.Struct(">q")
_LEAST_KEY = -(1 << 63)


def key_of(id_: bytes) -> int:
    """Return by what the index knows a signal."""
    key: int = _KEY.unpack_from(id_)[0]
    return key


def keys_in(ids: bytes) -> tuple[int, ...]:
    """Return the keys of ids that are joined."""
    return struct.unpack(">" + f"q{ID_BYTES - _KEY.size}x" * (len(ids) // ID_BYTES), ids)


def beginning_of(key: int) -> bytes:
    """Return how the ids begin that the index knows by this key."""
    return _KEY.pack(key)


class Newest:
    """Where signals were said, by key: the first place of each, and where that key came again."""

    def __init__(self, end: int) -> None:
        """Nothing yet of what is said from this index on."""
        self._first: dict[int, int] = {}
        self._more: dict[int, list[int]] = {}
        self._again = 0
        #: All that was said below is here, or in the file's index.
        self.end = end

    def __len__(self) -> int:
        return len(self._first) + self._again

    def places(self, key: int) -> list[int]:
        """Return where a key was said, in the order of the log. For every thread."""
        first = self._first.get(key)
        return [] if first is None else [first, *self._more.get(key, ())]

    def note(self, index: int, ids: bytes) -> None:
        """Take a statement's joined ids."""
        self.end = max(self.end, index + 1)
        # Most say one, and the short way takes a third of the time: a start goes it for all the newest.
        keys = (key_of(ids),) if len(ids) == ID_BYTES else keys_in(ids)
        if len(keys) > 1 and self._first.keys().isdisjoint(keys) and len(set(keys)) == len(keys):
            self._first.update(dict.fromkeys(keys, index))
            return
        for key in keys:
            if self._first.setdefault(key, index) != index:
                self._more.setdefault(key, []).append(index)
                self._again += 1

    def settled(self, key: int) -> Sequence[int]:
        """Return where a key came again, and let go of that: it is in the file then."""
        more = self._more.pop(key, [])
        self._again -= len(more)
        return more

    def rows(self) -> Iterator[tuple[int, int]]:
        """Return every key with every place of it. Nothing may be noted from now on."""
        again = [(key, index) for key, more in self._more.items() for index in more]
        return chain(self._first.items(), again)


class Sorting:
    """Newest signals on their way into the index: first into a table in memory, from there in the order of their keys.

    Each part is put in within its caller's transaction. Where that fails, `begin_again`.
    """

    def __init__(self, connection: apsw.Connection, newest: Newest, said_again: Callable[[int, int], None]) -> None:
        """``said_again`` hears of each place of a key that is in the index with another place."""
        self._db = connection
        self.newest = newest
        self._said_again = said_again
        self.begin_again()

    def begin_again(self) -> None:
        """Forget how far it is. What is in the index already may be put there once more."""
        self._rows: Iterator[tuple[int, int]] | None = None
        self._filled = False
        self._next = _LEAST_KEY
        #: Whether all are in the index, once the transaction is committed.
        self.done = False

    def go_on(self, rows: int) -> None:
        """Do so many rows' work: each is filled in once and put in once. In the caller's transaction."""
        if not self._filled:
            rows -= self._fill(rows)
        if rows > 0:
            self._put(rows)

    def _fill(self, most: int) -> int:
        if self._rows is None:
            self._db.execute("DELETE FROM sorting")
            self._rows = self.newest.rows()
        some = list(islice(self._rows, most))
        insert(self._db, "INSERT OR IGNORE INTO sorting", "(?, ?)", some)
        self._filled = len(some) < most
        return len(some)

    def _put(self, most: int) -> None:
        """Put in so many, and all the places of their last key."""
        last = self._one("SELECT key FROM sorting WHERE key >= ? ORDER BY key LIMIT 1 OFFSET ?", self._next, most - 1)
        part = "FROM sorting WHERE key >= ?1" + ("" if last is None else " AND key <= ?2")
        bounds = (self._next,) if last is None else (self._next, last)
        count = self._one(f"SELECT count(*) {part}", *bounds)
        before = self._db.total_changes()
        self._db.execute(f"INSERT OR IGNORE INTO said SELECT key, idx {part} ORDER BY key, idx", bounds)
        if self._db.total_changes() - before != count:
            self._tell_again(part, bounds)
        if last is not None and last < -_LEAST_KEY - 1:
            self._next = last + 1
            return
        self._db.execute("DELETE FROM sorting")
        # What another process has taken meanwhile is not in memory here, and so not in the index.
        self._db.execute("UPDATE place SET sorted = max(sorted, ?)", (self.newest.end,))
        self.done = True

    def _tell_again(self, part: str, bounds: tuple[int, ...]) -> None:
        others = (
            f"SELECT key, some.idx FROM (SELECT key, idx {part}) AS some JOIN said USING (key)"  # noqa: S608 - our own
            " WHERE some.idx != said.idx ORDER BY key, some.idx"
        )
        for key, index in all_rows(self._db, others, bounds):
            self._said_again(key, index)

    def _one(self, query: str, *values: int) -> Any:  # noqa: ANN401 - a number, or None where there is no row
        row = first_row(self._db, query, values)
        return None if row is None else row[0]

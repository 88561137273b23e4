"""Where each signal of a log was said: by its id, whose places in an index are random.

A row put into an index for each signal as it comes writes a page of the file for each, and that cost more than all else
that a hub does. So the ids of a statement are kept as they are said, one row for each statement, in the order of the
log. By id the newest are found in memory; the others in an index that gets them tens of thousands at a time, sorted,
so that each of its pages is met once. It knows an id by its first eight bytes: what is found is held against the ids
themselves, so two that begin alike are two.

`signals` holds those that something was said about, or that were said again: the row comes first, then what refers
to it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from heapq import merge
from itertools import chain
from typing import Any, cast

import apsw

from exchange.domain.statement import ID_BYTES

#: So many of the newest signals are in memory, and those of one transaction, where nobody says less: 120 bytes each.
MOST_NEWEST = 131_072
#: Rows in one statement of SQLite, which runs without the interpreter's lock: as many as fit of the largest, then on.
_AT_ONCE = (512, 64, 8, 1)
_KEY = struct.Struct(">q")


def insert(connection: apsw.Connection, into: str, row: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, many at a time."""
    done = 0
    for size in _AT_ONCE:
        while len(rows) - done >= size:
            connection.execute(_inserting(into, row, size), tuple(chain.from_iterable(rows[done : done + size])))
            done += size


@cache
def _inserting(into: str, row: str, size: int) -> str:
    return f"{into} VALUES " + ", ".join([row] * size)


def key_of(id_: bytes) -> int:
    """Return by what the index knows a signal."""
    key: int = _KEY.unpack_from(id_)[0]
    return key


def keys_in(ids: bytes) -> tuple[int, ...]:
    """Return the keys of ids that are joined."""
    return struct.unpack(">" + f"q{ID_BYTES - _KEY.size}x" * (len(ids) // ID_BYTES), ids)


def ids_in(ids: bytes) -> list[bytes]:
    """Return ids that are joined."""
    return [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]


class Sayings:
    """Those of one file. All but `newest` is for the thread that writes to it."""

    def __init__(self, connection: apsw.Connection, most: int = MOST_NEWEST) -> None:
        """Read the newest signals of this file into memory, where ``most`` of them may be."""
        self._db = connection
        self._most = most
        connection.pragma("temp_store", "MEMORY")
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS sorting(key INTEGER NOT NULL, idx INTEGER NOT NULL)")
        #: Where the newest were said, by key: the first of them, and where that key came again.
        self._first: dict[int, int] = {}
        self._more: dict[int, list[int]] = {}
        self._again = 0
        #: All that was said below is in the index, or in memory here.
        ((self._end,),) = cast("list[tuple[int]]", connection.execute("SELECT sorted FROM place").fetchall())
        newest: Any = connection.execute("SELECT idx, ids FROM ids WHERE idx >= ? ORDER BY idx", (self._end,))
        for index, ids in newest:
            self._note(index, ids)

    def newest(self, ids: Iterable[bytes]) -> Mapping[bytes, Sequence[int]]:
        """Return where among the newest these may have been said. For every thread: ask this before the file."""
        return {id_: places for id_ in ids if (places := self._among_newest(key_of(id_)))}

    def _among_newest(self, key: int) -> list[int]:
        first = self._first.get(key)
        return [] if first is None else [first, *self._more.get(key, ())]

    def _note(self, index: int, ids: bytes) -> None:
        self._end = max(self._end, index + 1)
        keys = keys_in(ids)
        if self._first.keys().isdisjoint(keys) and len(set(keys)) == len(keys):
            self._first.update(dict.fromkeys(keys, index))
            return
        for key in keys:
            if self._first.setdefault(key, index) != index:
                self._more.setdefault(key, []).append(index)
                self._again += 1

    def add(self, said: Sequence[tuple[int, bytes]]) -> None:
        """Take statements, each its index and its joined ids, in the caller's transaction."""
        insert(self._db, "INSERT INTO ids", "(?, ?)", said)
        for index, ids in said:
            self._note(index, ids)
        for again in self._ended_among(said):
            self.settle(again)

    def _ended_among(self, said: Sequence[tuple[int, bytes]]) -> Iterator[list[bytes]]:
        """Yield those of these signals that are erased already: said again, their records go at once."""
        if not self._db.execute("SELECT EXISTS (SELECT 1 FROM endings)").fetchall()[0][0]:
            return
        ids = [id_ for _, joined in said for id_ in ids_in(joined)]
        for at in range(0, len(ids), _AT_ONCE[0]):
            some = ids[at : at + _AT_ONCE[0]]
            marks = ", ".join("?" * len(some))
            query = f"SELECT DISTINCT signal_id FROM endings WHERE erasure = 1 AND signal_id IN ({marks})"  # noqa: S608 - our own
            found: list[Any] = self._db.execute(query, some).fetchall()
            yield [id_ for (id_,) in found]

    def settle(self, ids: Sequence[bytes]) -> None:
        """Have rows in `signals` for those of these that were ever said, and in `repeats` for where they were again."""
        for id_ in ids:
            key = key_of(id_)
            newest = self._among_newest(key)
            first, asked = self._first_of(id_), iter(newest[:1])
            if first is None:
                first, asked = first_place(self._db, id_, newest), _asked(self._db, key, newest)
            if first is None:
                continue
            self._db.execute("INSERT OR IGNORE INTO signals VALUES (?, ?, NULL, NULL, NULL)", (id_, first))
            # Of one that has its row already, what is in the file was noted when it came there.
            for index in asked:
                if index != first and _holds(_ids_at(self._db, index), id_):
                    self._db.execute("INSERT OR IGNORE INTO repeats VALUES (?, ?, 0)", (id_, index))
            # These go there now, so that nobody has to look at them once more.
            for index in self._more.pop(key, ()):
                self._again -= 1
                self._said_again(key, index, newest)

    def _first_of(self, id_: bytes) -> int | None:
        rows: list[Any] = self._db.execute("SELECT idx FROM signals WHERE signal_id = ?", (id_,)).fetchall()
        return int(rows[0][0]) if rows else None

    @property
    def due(self) -> bool:
        """Whether there are so many of the newest that they should be sorted in."""
        return len(self._first) + self._again >= self._most

    def sort_in(self) -> None:
        """Put the newest into the index, in the caller's transaction; call `sorted_in` once that is committed."""
        rows = [*self._first.items(), *((key, index) for key, more in self._more.items() for index in more)]
        insert(self._db, "INSERT INTO sorting", "(?, ?)", rows)
        before = self._db.total_changes()
        self._db.execute("INSERT OR IGNORE INTO said SELECT key, idx FROM sorting ORDER BY key, idx")
        if self._db.total_changes() - before != len(rows):
            others = (
                "SELECT key, sorting.idx FROM sorting JOIN said USING (key) WHERE sorting.idx != said.idx"
                " ORDER BY key, sorting.idx"
            )
            again: list[Any] = self._db.execute(others).fetchall()
            for key, index in again:
                self._said_again(key, index)
        self._db.execute("DELETE FROM sorting")
        # What another process has taken meanwhile is not in memory here, and so not in the index.
        self._db.execute("UPDATE place SET sorted = max(sorted, ?)", (self._end,))

    def sorted_in(self) -> None:
        """Let go of what is in the index now."""
        self._first, self._more, self._again = {}, {}, 0

    def _said_again(self, key: int, index: int, newest: Sequence[int] = ()) -> None:
        """Note another place of a key, be it the same signal or another that begins alike."""
        self._db.execute("INSERT OR IGNORE INTO said_again VALUES (?, ?)", (key, index))
        for id_ in _beginning_with(_ids_at(self._db, index), _KEY.pack(key)):
            first = self._first_of(id_)
            if first is None:
                first = first_place(self._db, id_, newest)
            if first is not None and first != index:
                self._db.execute("INSERT OR IGNORE INTO signals VALUES (?, ?, NULL, NULL, NULL)", (id_, first))
                self._db.execute("INSERT OR IGNORE INTO repeats VALUES (?, ?, 0)", (id_, index))

    def forget(self, below: int, most: int) -> list[bytes]:
        """Forget where signals of entries below this index were said: ``most`` or some more. Return them."""
        first = "SELECT idx, ids FROM ids WHERE idx < ? ORDER BY idx LIMIT 1"
        found: list[bytes] = []
        while len(found) < most:
            rows: list[Any] = self._db.execute(first, (below,)).fetchall()
            if not rows:
                break
            ((index, joined),) = rows
            places = [(key, index) for key in keys_in(joined)]
            self._db.executemany("DELETE FROM said WHERE key = ? AND idx = ?", places)
            self._db.executemany("DELETE FROM said_again WHERE key = ? AND idx = ?", places)
            self._db.execute("DELETE FROM ids WHERE idx = ?", (index,))
            found += ids_in(joined)
        return found


def first_place(connection: apsw.Connection, id_: bytes, newest: Sequence[int]) -> int | None:
    """Return the index of the entry that says a signal first; None where none does. ``newest``: `Sayings.newest`."""
    return next(_places(connection, id_, newest), None)


def _places(connection: apsw.Connection, id_: bytes, newest: Sequence[int]) -> Iterator[int]:
    """Yield where a signal was said, in the order of the log, but for where it is known to have been said again.

    That stays known of one whose first place is forgotten: it does not begin anew.
    """
    repeated = "SELECT EXISTS (SELECT 1 FROM repeats WHERE signal_id = ? AND idx = ?)"
    for index in _asked(connection, key_of(id_), newest):
        if _holds(_ids_at(connection, index), id_) and not connection.execute(repeated, (id_, index)).fetchall()[0][0]:
            yield index


def _asked(connection: apsw.Connection, key: int, newest: Sequence[int]) -> Iterator[int]:
    """Yield where a key was said, in the order of the log."""
    last = -1
    for index in merge(_in_file(connection, key), newest):
        if index != last:
            yield index
        last = index


def _in_file(connection: apsw.Connection, key: int) -> Iterator[int]:
    query = (
        "SELECT min(idx) FROM (SELECT idx FROM said WHERE key = ?1 AND idx > ?2"
        " UNION ALL SELECT min(idx) FROM said_again WHERE key = ?1 AND idx > ?2)"
    )
    last: Any = -1
    while last is not None:
        ((last,),) = connection.execute(query, (key, last)).fetchall()
        if last is not None:
            yield last


def _ids_at(connection: apsw.Connection, index: int) -> bytes:
    rows: list[Any] = connection.execute("SELECT ids FROM ids WHERE idx = ?", (index,)).fetchall()
    ids: bytes = rows[0][0] if rows else b""
    return ids


def _holds(ids: bytes, id_: bytes) -> bool:
    return id_ in _beginning_with(ids, id_)


def _beginning_with(ids: bytes, beginning: bytes) -> Iterator[bytes]:
    """Yield those of joined ids that begin so."""
    at = ids.find(beginning)
    while at >= 0:
        if not at % ID_BYTES:
            yield ids[at : at + ID_BYTES]
        at = ids.find(beginning, at + 1)

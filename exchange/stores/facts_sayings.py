"""Where each signal of a log was said: by its id, whose places in an index are random.

A row put into an index for each signal as it comes writes a page of the file for each, and that cost more than all else
that a hub does. So the ids of a statement are kept as they are said, one row for each statement, in the order of the
log. By id the newest are found in memory; the others in an index that gets them tens of thousands at a time, sorted,
so that each of its pages is met once (`facts_newest`). It knows an id by its first eight bytes: what is found is held
against the ids themselves, so two that begin alike are two.

`signals` holds those that something was said about, or that were said again: the row comes first, then what refers
to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Any

import apsw

from exchange.domain.statement import ID_BYTES
from exchange.ops.transactions import all_rows, first_row
from exchange.stores.facts_newest import Newest, Sorting, beginning_of, key_of, keys_in
from exchange.stores.inserting import AT_ONCE, insert

#: The newest signals begin to be sorted in when they are so many, where nobody says less; until that is done half as
#: many again may come. 120 bytes each.
MOST_NEWEST = 131_072
#: Rows that are sorted in beside what is taken, at least, each once in memory and once in the file: milliseconds' work.
PART = 4_096
#: And so many for each signal that is taken: those that are being sorted in are in before as many more have come.
_FASTER = 4


def ids_in(ids: bytes) -> list[bytes]:
    """Return ids that are joined."""
    return [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]


class Sayings:
    """Those of one file. All but `newest` is for the thread that writes to it."""

    def __init__(self, connection: apsw.Connection, most: int = MOST_NEWEST) -> None:
        """Read the newest signals of this file into memory. They begin to be sorted in when they are so many."""
        self._db = connection
        self._most = most
        connection.pragma("temp_store", "MEMORY")
        connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS"
            " sorting(key INTEGER NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (key, idx)) WITHOUT ROWID"
        )
        ((end,),) = all_rows(connection, "SELECT sorted FROM place")
        self._newest = Newest(end)
        #: Those that are being sorted in.
        self._sorting: Sorting | None = None
        #: Whether all are in the index, once the transaction is committed.
        self._all_in = False
        newest: Any = connection.execute("SELECT idx, ids FROM ids WHERE idx >= ? ORDER BY idx", (end,))
        for index, ids in newest:
            self._newest.note(index, ids)

    def newest(self, ids: Iterable[bytes]) -> Mapping[bytes, Sequence[int]]:
        """Return where among the newest these may have been said. For every thread: ask this before the file."""
        return {id_: places for id_ in ids if (places := self._among_newest(key_of(id_)))}

    def _among_newest(self, key: int) -> list[int]:
        return [place for some in self._in_memory() for place in some.places(key)]

    def _in_memory(self) -> tuple[Newest, ...]:
        # Looked at in this order: whatever leaves the one is in the other by then.
        newest, sorting = self._newest, self._sorting
        return (newest,) if sorting is None or sorting.newest is newest else (sorting.newest, newest)

    def add(self, said: Sequence[tuple[int, bytes]]) -> None:
        """Take statements, each its index and its joined ids, in the caller's transaction."""
        insert(self._db, "INSERT INTO ids", "(?, ?)", said)
        for index, ids in said:
            self._newest.note(index, ids)
        for again in self._ended_among(said):
            self.settle(again)

    def _ended_among(self, said: Sequence[tuple[int, bytes]]) -> Iterator[list[bytes]]:
        """Yield those of these signals that are erased already: said again, their records go at once."""
        if not all_rows(self._db, "SELECT EXISTS (SELECT 1 FROM endings)")[0][0]:
            return
        ids = [id_ for _, joined in said for id_ in ids_in(joined)]
        for at in range(0, len(ids), AT_ONCE[0]):
            some = ids[at : at + AT_ONCE[0]]
            marks = ", ".join("?" * len(some))
            query = f"SELECT DISTINCT signal_id FROM endings WHERE erasure = 1 AND signal_id IN ({marks})"  # noqa: S608 - our own
            found = all_rows(self._db, query, some)
            yield [id_ for (id_,) in found]

    def settle(self, ids: Sequence[bytes]) -> None:
        """Have rows in `signals` for those of these that were ever said, and in `repeats` for where they were again."""
        for id_ in ids:
            key = key_of(id_)
            newest = self._among_newest(key)
            asked: Iterable[int] = [index for some in self._in_memory() for index in some.places(key)[:1]]
            first = self._first_of(id_)
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
            for index in [index for some in self._in_memory() for index in some.settled(key)]:
                self._said_again(key, index, newest)

    def _first_of(self, id_: bytes) -> int | None:
        row = first_row(self._db, "SELECT idx FROM signals WHERE signal_id = ?", (id_,))
        return None if row is None else int(row[0])

    def sort_on(self, taken: int) -> None:
        """Sort in a part of the newest where they are many, beside so many signals that were taken just now.

        In the caller's transaction; call `sorted_in` once that is committed, `undone` where it is not.
        """
        if self._sorting is None and len(self._newest) >= self._most:
            self._sorting = Sorting(self._db, self._newest, self._said_again)
            self._newest = Newest(self._newest.end)
        if self._sorting is not None:
            self._sorting.go_on(max(PART, _FASTER * taken))

    def sort_in(self) -> None:
        """Sort in all of them, as `sort_on` some."""
        if self._sorting is not None:
            self._sorting.go_on(2 * len(self._sorting.newest) + 1)
        Sorting(self._db, self._newest, self._said_again).go_on(2 * len(self._newest) + 1)
        self._all_in = True

    def sorted_in(self) -> None:
        """Let go of what is in the index now."""
        if self._all_in:
            self._newest = Newest(self._newest.end)
        if self._all_in or (self._sorting is not None and self._sorting.done):
            self._sorting = None
        self._all_in = False

    def undone(self) -> None:
        """Know that the transaction did not come to its end: what was sorted in there is not in the index."""
        self._all_in = False
        if self._sorting is not None:
            self._sorting.begin_again()

    def _said_again(self, key: int, index: int, newest: Sequence[int] = ()) -> None:
        """Note another place of a key, be it the same signal or another that begins alike."""
        self._db.execute("INSERT OR IGNORE INTO said_again VALUES (?, ?)", (key, index))
        for id_ in _beginning_with(_ids_at(self._db, index), beginning_of(key)):
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
            row = first_row(self._db, first, (below,))
            if row is None:
                break
            index, joined = row
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
        if _holds(_ids_at(connection, index), id_) and not all_rows(connection, repeated, (id_, index))[0][0]:
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
        ((last,),) = all_rows(connection, query, (key, last))
        if last is not None:
            yield last


def _ids_at(connection: apsw.Connection, index: int) -> bytes:
    row = first_row(connection, "SELECT ids FROM ids WHERE idx = ?", (index,))
    return b"" if row is None else bytes(row[0])


def _holds(ids: bytes, id_: bytes) -> bool:
    return id_ in _beginning_with(ids, id_)


def _beginning_with(ids: bytes, beginning: bytes) -> Iterator[bytes]:
    """Yield those of joined ids that begin so."""
    at = ids.find(beginning)
    while at >= 0:
        if not at % ID_BYTES:
            yield ids[at : at + ID_BYTES]
        at = ids.find(beginning, at + 1)

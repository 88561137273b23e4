"""The rows of signals, written many at a time.

Nearly all of a log is signals, so this is what following it costs. A statement of SQLite with many rows runs without
the interpreter's lock, which one for each row gives back and takes again each time, against the loop that serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import TypeAlias

import apsw

from exchange.domain.bodies import SignalHeader
from exchange.ports import ToldEntry

_Row: TypeAlias = "tuple[apsw.SQLiteValue, ...]"

#: Rows in one statement of SQLite: as many as fit of the largest, then of the next.
_AT_ONCE = (64, 8, 1)
_STATEMENTS = ("INSERT INTO statements VALUES ", "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)")
_SIGNALS = ("INSERT OR IGNORE INTO signals VALUES ", "(?, ?, NULL, NULL, NULL)")


class SignalRows:
    """What is still to be written of signals, in order. Nothing may look at the tables before `flush`."""

    def __init__(self, connection: apsw.Connection) -> None:
        """Write in the caller's transaction."""
        self._db = connection
        self._statements: list[_Row] = []
        self._signals: list[_Row] = []
        self._ids: list[tuple[int, Sequence[bytes]]] = []

    def add(self, entry: ToldEntry, body: SignalHeader, *, in_lag: bool) -> None:
        """Take one statement of signals."""
        header, index = entry.header, entry.index
        audience = None if entry.audience is None else " ".join(sorted(entry.audience))
        self._statements.append(
            (
                index,
                header.publisher,
                body.label,
                body.election,
                body.expires_at_ms,
                entry.received_at_ms,
                body.actioned_at_ms,
                entry.directory_size,
                audience,
                in_lag,
            )
        )
        self._signals.extend([(id_, index) for id_ in header.signal_ids])
        self._ids.append((index, header.signal_ids))

    def flush(self) -> None:
        """Write what was taken."""
        if not self._ids:
            return
        self._insert(*_STATEMENTS, self._statements)
        before = self._db.total_changes()
        # In the order in which they lie, each page of the file is met once. Of one id the first row stays first.
        self._signals.sort(key=itemgetter(0))
        self._insert(*_SIGNALS, self._signals)
        if self._db.total_changes() - before != len(self._signals):
            for index, ids in self._ids:
                self._note_repeats(index, ids)
        for rows in (self._statements, self._signals, self._ids):
            rows.clear()

    def _insert(self, into: str, row: str, rows: Sequence[_Row]) -> None:
        done = 0
        for size in _AT_ONCE:
            query = into + ", ".join([row] * size)
            for at in range(done, len(rows) - size + 1, size):
                self._db.execute(query, tuple(chain.from_iterable(rows[at : at + size])))
                done = at + size

    def _note_repeats(self, index: int, ids: Sequence[bytes]) -> None:
        """Note which signals of an entry were said before: seldom any."""
        count = self._db.execute("SELECT count(*) FROM signals WHERE idx = ?", (index,)).fetchall()
        if count == [(len(ids),)]:
            return
        query = "INSERT OR IGNORE INTO repeats SELECT signal_id, ?, 0 FROM signals WHERE signal_id = ? AND idx != ?"
        self._db.executemany(query, [(index, id_, index) for id_ in ids])

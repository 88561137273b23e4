"""The rows of statements of signals, written many at a time: they are nearly all of a log."""

from __future__ import annotations

from typing import TypeAlias

import apsw

from exchange.domain.bodies import SignalHeader
from exchange.ports import ToldEntry
from exchange.stores.facts_sayings import Sayings
from exchange.stores.inserting import insert

_Row: TypeAlias = "tuple[apsw.SQLiteValue, ...]"

_STATEMENTS = ("INSERT INTO statements", "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)")


def audience_column(entry: ToldEntry) -> str | None:
    """Return who may read an entry, as `statements` holds it."""
    return None if entry.audience is None else " ".join(sorted(entry.audience))


class SignalRows:
    """What is still to be written of signals, in order. Nothing may look at the tables before `flush`."""

    def __init__(self, connection: apsw.Connection, sayings: Sayings) -> None:
        """Write in the caller's transaction."""
        self._db = connection
        self._sayings = sayings
        self._statements: list[_Row] = []
        self._said: list[tuple[int, bytes]] = []

    def add(self, entry: ToldEntry, body: SignalHeader, *, in_lag: bool) -> None:
        """Take one statement of signals."""
        header, index = entry.header, entry.index
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
                audience_column(entry),
                in_lag,
            )
        )
        self._said.append((index, b"".join(header.signal_ids)))

    def flush(self) -> None:
        """Write what was taken."""
        if not self._said:
            return
        insert(self._db, *_STATEMENTS, self._statements)
        self._sayings.add(self._said)
        self._statements.clear()
        self._said.clear()

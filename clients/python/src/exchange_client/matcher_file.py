"""A matcher on a member's own disk: signals, the position in each log, and the platform's own content.

A restart reads no log from its start. The position moves in the same transaction as what was read up to it: a crash
repeats a little, and misses nothing. What was removed or has expired leaves the file.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import apsw

from exchange.errors import Reason, Rejected
from exchange.ops.transactions import all_rows, first_row
from exchange_client.cursors import POSITION_COLUMNS, Position, position_of, position_row
from exchange_client.known_signals import Changes, StatementRow
from exchange_client.matcher import Matcher
from exchange_client.private_database import PrivateDatabase
from exchange_client.state import checked

_SCHEMA_VERSION = 2
#: ``place``: the number of a log, then the index in it. Of a signal that is gone only the id is left.
_TABLES = """
CREATE TABLE logs (number INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE positions (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, hashes BLOB NOT NULL, checkpoint BLOB NOT NULL,
    received_at_ms INTEGER NOT NULL, directory_size INTEGER NOT NULL
) STRICT;
CREATE TABLE statements (
    place INTEGER PRIMARY KEY, publisher TEXT NOT NULL, label INTEGER NOT NULL, severity INTEGER NOT NULL,
    confidence INTEGER NOT NULL, handling INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL, derived INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL, said_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX by_expiry ON statements (expires_at_ms);
CREATE TABLE signals (signal_id BLOB NOT NULL UNIQUE, place INTEGER NOT NULL, indicators BLOB NOT NULL) STRICT;
CREATE TABLE flagged (signal_id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE opinions (
    signal_id BLOB NOT NULL, member TEXT NOT NULL, opinion INTEGER NOT NULL, PRIMARY KEY (signal_id, member)
) STRICT, WITHOUT ROWID;
CREATE TABLE gone (signal_id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE flagged_from (
    origin TEXT NOT NULL, member TEXT NOT NULL, log_index INTEGER NOT NULL, PRIMARY KEY (origin, member)
) STRICT, WITHOUT ROWID;
CREATE TABLE content (reference TEXT PRIMARY KEY, indicators BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE ended (
    signal_id BLOB NOT NULL, origin TEXT NOT NULL, publisher TEXT NOT NULL, PRIMARY KEY (signal_id, origin, publisher)
) STRICT, WITHOUT ROWID;
"""
_INDEX_BITS = 48
_PAGE = 10_000


class MatcherFile:
    """One file and its matcher. A subscription's position is kept here too: ``subscribe(positions=...)``."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it, and read it whole: for very much, do so in a thread.

        Raises `Fatal` (CONFIG) when it cannot be used, and `Rejected` (MALFORMED) when it is damaged.
        """

        def make(connection: apsw.Connection) -> None:
            connection.execute(_TABLES)

        self._file = PrivateDatabase(path, _SCHEMA_VERSION, make)
        #: One transaction after the other: an older state never overwrites a newer one.
        self._lock = asyncio.Lock()
        #: Whether the write-ahead log may hold what has been deleted. An earlier run may have come no further.
        self._deleted = True
        self._numbers: dict[str, int] = {}
        self.matcher = Matcher()
        try:
            with _nothing_collected():
                self._file.now(self._read)
        except KeyError as error:
            self._file.close()
            raise Rejected(Reason.MALFORMED, "the matcher's file has lost a log or a statement") from error
        except BaseException:
            self._file.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether nothing can be stored any more."""
        return self._file.closed

    def close(self) -> None:
        """Close the file. What changed since it was saved is lost; of that, what came from a log is read again."""
        self._file.close()

    async def load(self, origin: str) -> Position | None:
        """Return the position behind what is on disk. Raises `Rejected` (MALFORMED) when it is damaged."""
        query = f"SELECT {POSITION_COLUMNS} FROM positions WHERE origin = ?"  # noqa: S608 - our own
        row = await self._file.run(lambda connection: first_row(connection, query, (origin,)))
        return None if row is None else position_of(row)

    async def store(self, origin: str, position: Position) -> None:
        """Store a position with everything that was read up to it, in one transaction. Raises as `save`."""
        await self._save((origin, *position_row(position)))

    async def save(self) -> None:
        """Store what changed in the matcher, durably; rows of what was removed have left the file when this returns.

        Copies of rows that SQLite moved go as `PrivateDatabase` says: within an hour, and when it is closed.

        A subscription does so about once a second. Raises `Unavailable` when the disk is full, and `Fatal` when the
        file is damaged; nothing is lost then, and it can be tried again.
        """
        await self._save(None)

    async def _save(self, position: tuple[Any, ...] | None) -> None:
        # A caller may be cancelled; what is under way may not, or an older state could be written after a newer one.
        await asyncio.shield(self._save_in_turn(position))

    async def _save_in_turn(self, position: tuple[Any, ...] | None) -> None:
        async with self._lock:
            changes = self.matcher.take_changes()
            statements = {known.statement for known in changes.signals.values() if known is not None}
            for statement in statements:
                self._numbers.setdefault(statement[0], max(self._numbers.values(), default=-1) + 1)

            def job(connection: apsw.Connection) -> bool:
                deleted = _delete(connection, changes)
                connection.executemany(
                    "INSERT OR IGNORE INTO logs VALUES (?, ?)", [(n, origin) for origin, n in self._numbers.items()]
                )
                connection.executemany(
                    "INSERT OR IGNORE INTO statements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(self._place(statement), *statement[2:]) for statement in statements],
                )
                self._insert(connection, changes)
                if position is not None:
                    connection.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?, ?)", position)
                return deleted

            try:
                self._deleted |= await self._file.run(job)
            except BaseException:
                self.matcher.give_back(changes)
                raise
            if self._deleted:
                await self._file.purge()
                self._deleted = False

    def _place(self, statement: StatementRow) -> int:
        origin, index, *_ = statement
        return self._numbers[origin] << _INDEX_BITS | index

    def _insert(self, connection: apsw.Connection, changes: Changes) -> None:
        """Write what there is now in place of what `_delete` has taken out."""
        known = [(id_, signal) for id_, signal in changes.signals.items() if signal is not None]
        connection.executemany(
            "INSERT OR REPLACE INTO signals VALUES (?, ?, ?)",
            [(id_, self._place(signal.statement), signal.packed) for id_, signal in known],
        )
        connection.executemany("INSERT INTO flagged VALUES (?)", [(id_,) for id_, signal in known if signal.flagged])
        opinions = [(id_, *each) for id_, signal in known for each in signal.opinions.items()]
        connection.executemany("INSERT INTO opinions VALUES (?, ?, ?)", opinions)
        connection.executemany("INSERT OR IGNORE INTO gone VALUES (?)", [(id_,) for id_ in changes.gone])
        connection.executemany("INSERT OR IGNORE INTO ended VALUES (?, ?, ?)", list(changes.ended))
        content = [(reference, packed) for reference, packed in changes.content.items() if packed is not None]
        connection.executemany("INSERT INTO content VALUES (?, ?)", content)
        if changes.flagged_from is not None:
            connection.execute("DELETE FROM flagged_from")
            rows = [(*publisher, index) for publisher, index in changes.flagged_from.items()]
            connection.executemany("INSERT INTO flagged_from VALUES (?, ?, ?)", rows)

    def _read(self, connection: apsw.Connection) -> None:
        origins = {}
        for row in all_rows(connection, "SELECT number, origin FROM logs"):
            number, origin = checked(row, int, str)
            origins[number] = origin
            self._numbers[origin] = number
        statements: dict[int, StatementRow] = {}
        for place, *words in _rows(connection, "SELECT * FROM statements", int, str, *[int] * 8):
            number, index = divmod(place, 1 << _INDEX_BITS)
            statements[place] = (origins[number], index, *words)
        query = "SELECT signal_id, place, indicators FROM signals ORDER BY rowid"  # as the statements mostly
        signals = (
            (id_, statements[place], packed) for id_, place, packed in _rows(connection, query, bytes, int, bytes)
        )
        content = (
            (reference.encode(), packed) for reference, packed in _rows(connection, "SELECT * FROM content", str, bytes)
        )
        self.matcher.fill(
            signals,
            content,
            flagged=(row[0] for row in _rows(connection, "SELECT * FROM flagged", bytes)),
            flagged_from={(o, m): i for o, m, i in _rows(connection, "SELECT * FROM flagged_from", str, str, int)},
            opinions=_rows(connection, "SELECT * FROM opinions", bytes, str, int),
            gone=(row[0] for row in _rows(connection, "SELECT * FROM gone", bytes)),
            ended=((i, o, m) for i, o, m in _rows(connection, "SELECT * FROM ended", bytes, str, str)),
        )


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Let Python look for no garbage: all that is read lives on, and looking at it takes longer than reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _delete(connection: apsw.Connection, changes: Changes) -> bool:
    """Take out what is no more, and what others said of signals; return whether any content or signal was there."""
    if changes.expired_ms:
        connection.execute("DELETE FROM statements WHERE expires_at_ms <= ?", (changes.expired_ms,))
    ids = [(id_,) for id_ in changes.signals]
    for table in ("flagged", "opinions"):
        connection.executemany(f"DELETE FROM {table} WHERE signal_id = ?", ids)  # noqa: S608 - our own
    before = connection.total_changes()
    unknown = [(id_,) for id_, signal in changes.signals.items() if signal is None]
    connection.executemany("DELETE FROM signals WHERE signal_id = ?", unknown)
    connection.executemany("DELETE FROM content WHERE reference = ?", [(reference,) for reference in changes.content])
    return connection.total_changes() > before


def _rows(connection: apsw.Connection, query: str, *types: type) -> Iterator[tuple[Any, ...]]:
    """Yield rows with values of these types, as `checked` has it, quickly. Raises `Rejected` (MALFORMED)."""
    rows = connection.execute(query)
    while page := list(islice(rows, _PAGE)):
        for column, type_ in zip(zip(*page, strict=True), types, strict=True):
            if set(map(type, column)) != {type_}:
                raise Rejected(Reason.MALFORMED, "the matcher's file holds a damaged row")
        yield from page

"""The live signals of a community that name accounts, on a member's own disk.

A new signal is held against the accounts that a platform has, and an account that is new to it against the signals that
it has read before. What is taken back, erased or replaced is forgotten for good; what is quarantined is held back until
it is released (`exchange_client.following`). The position in the log lies in the same file, and moves in the same
transaction as what was read up to it: a crash repeats a little, and misses nothing. Nothing here bans anyone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import apsw

from exchange.domain.bodies import SignalHeader
from exchange.domain.identifiers import IndicatorType
from exchange.errors import Fatal, Reason
from exchange.ops.transactions import all_rows, first_row
from exchange_client.cursors import POSITION_COLUMNS, Position, position_of, position_row
from exchange_client.delivery import Delivery
from exchange_client.following import Effect, Ended, Flagged, Released, effect_of
from exchange_client.private_database import PrivateDatabase
from exchange_client.state import checked
from exchange_client.wire import Filter

#: What a subscription asks records of.
WANTED = Filter(indicator_types=frozenset({IndicatorType.PSEUDONYM}))
#: Signals read and not on disk yet, at most: a second's worth otherwise.
_MAX_WAITING = 5_000
#: Signals looked through in one go.
_PAGE = 1_000

_SCHEMA_VERSION = 1
_TABLES = """
CREATE TABLE about (origin TEXT NOT NULL) STRICT;
CREATE TABLE position (
    one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, hashes BLOB NOT NULL, checkpoint BLOB NOT NULL,
    received_at_ms INTEGER NOT NULL, directory_size INTEGER NOT NULL
) STRICT;
CREATE TABLE signals (
    signal_id BLOB PRIMARY KEY, log_index INTEGER NOT NULL, publisher TEXT NOT NULL, label INTEGER NOT NULL,
    severity INTEGER NOT NULL, confidence INTEGER NOT NULL, handling INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL,
    target_class INTEGER NOT NULL, source_action INTEGER NOT NULL
) STRICT;
CREATE INDEX by_place ON signals (log_index, signal_id);
CREATE INDEX by_expiry ON signals (expires_at_ms);
CREATE TABLE named (
    signal_id BLOB NOT NULL, pseudonym BLOB NOT NULL, PRIMARY KEY (signal_id, pseudonym)
) STRICT, WITHOUT ROWID;
CREATE INDEX by_pseudonym ON named (pseudonym);
CREATE TABLE replaced (signal_id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE told (
    signal_id BLOB NOT NULL, reference TEXT NOT NULL, PRIMARY KEY (signal_id, reference)
) STRICT, WITHOUT ROWID;
"""
#: Who ended a signal: its publisher, or (empty) an operator. Beside the first tables since files are followed.
_OF_LIFE = """
CREATE TABLE IF NOT EXISTS ended (
    signal_id BLOB NOT NULL, publisher TEXT NOT NULL, PRIMARY KEY (signal_id, publisher)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS flagged (publisher TEXT PRIMARY KEY, from_index INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO ended SELECT signal_id, '' FROM replaced;
DELETE FROM replaced;
"""
#: A condition on signals: that nobody holds them back.
_NOT_HELD = """NOT EXISTS (
    SELECT 1 FROM flagged WHERE flagged.publisher = signals.publisher AND signals.log_index >= flagged.from_index
)"""
_COLUMNS = """signal_id, log_index, publisher, label, severity, confidence, handling, expires_at_ms, target_class,
 source_action"""


@dataclass(frozen=True, slots=True)
class NamingSignal:
    """A signal that names accounts, as far as a match tells of it."""

    signal_id: bytes
    #: Of its entry in the log.
    index: int
    publisher: str
    label: int
    severity: int
    confidence: int
    handling: int
    expires_at_ms: int
    target_class: int
    source_action: int
    #: Pseudonyms as indicators have them: one account under each epoch that was live, or several accounts.
    pseudonyms: tuple[bytes, ...]


class AccountSignals:
    """One community's, in one file. It is where a subscription's position is kept: ``subscribe(positions=...)``."""

    def __init__(self, path: Path, origin: str) -> None:
        """Open the file, or make it. Raises `Fatal` (CONFIG) when it is another community's, or cannot be used."""
        self.origin = origin

        def make(connection: apsw.Connection) -> None:
            connection.execute(_TABLES)
            connection.execute("INSERT INTO about VALUES (?)", (origin,))

        self._file = PrivateDatabase(path, _SCHEMA_VERSION, make)
        self._waiting: list[NamingSignal | Effect] = []
        rows = self._file.now(lambda connection: all_rows(connection, "SELECT origin FROM about"))
        if rows != [(origin,)]:
            self._file.close()
            raise Fatal(f"{path}: holds the signals of another community", reason=Reason.CONFIG)
        self._file.now(lambda connection: connection.execute(_OF_LIFE))

    @property
    def closed(self) -> bool:
        """Whether nothing can be stored any more."""
        return self._file.closed

    def close(self) -> None:
        """Close the file. What was taken and not stored is read again."""
        self._file.close()

    async def load(self, origin: str) -> Position | None:
        """Return the position behind what is on disk. Raises `Rejected` (MALFORMED) when it is damaged."""
        assert origin == self.origin
        query = f"SELECT {POSITION_COLUMNS} FROM position"  # noqa: S608 - our own
        rows = await self._file.run(lambda connection: all_rows(connection, query))
        return position_of(rows[0]) if rows else None

    async def store(self, origin: str, position: Position) -> None:
        """Store what was taken, and the position behind it, in one transaction."""
        assert origin == self.origin
        await self._store((1, *position_row(position)))

    def take(self, delivery: Delivery) -> list[NamingSignal]:
        """Take what a delivery says; return its signals that name accounts. It counts once `store` has run."""
        header = delivery.signal
        if header is None:
            self._note_effect(delivery)
            return []
        found = [
            _naming(delivery, header, signal.signal_id, pseudonyms)
            for signal in delivery.signals
            if (pseudonyms := tuple(i.value for i in signal.indicators if i.type == IndicatorType.PSEUDONYM))
        ]
        self._waiting += found
        self._note_effect(delivery)
        return found

    def _note_effect(self, delivery: Delivery) -> None:
        effect = effect_of(delivery)
        if effect is not None:
            self._waiting.append(effect)

    async def follow(self, delivery: Delivery) -> list[NamingSignal]:
        """Take what a delivery says, and do at once what it does; return the signals to be held against accounts now.

        Those are its own, where nobody has ended or flagged them before; or those that it releases.
        """
        found = self.take(delivery)
        effect = effect_of(delivery)
        released: list[NamingSignal] = []
        if isinstance(effect, Released):
            released = await self._held(effect.member)
        if effect is not None:
            await self._store(None)
        else:
            await self.keep_up()
        return released or await self._standing(found)

    async def _held(self, member: str) -> list[NamingSignal]:
        """Return what is held back of a member."""
        await self._store(None, leave=1)
        query = f"SELECT {_COLUMNS} FROM signals WHERE publisher = ? AND NOT {_NOT_HELD} ORDER BY log_index, signal_id"  # noqa: S608
        return await self._file.run(lambda c: _with_pseudonyms(c, all_rows(c, query, (member,))))

    async def _standing(self, found: list[NamingSignal]) -> list[NamingSignal]:
        """Return those of new signals that nobody has ended or flagged."""
        if not found:
            return []

        def job(connection: apsw.Connection) -> list[NamingSignal]:
            query = "SELECT 1 FROM flagged WHERE publisher = ? AND from_index <= ?"
            return [
                signal
                for signal in found
                if first_row(connection, query, (signal.publisher, signal.index)) is None
                and not _is_ended(connection, signal)
            ]

        return await self._file.run(job)

    async def keep_up(self) -> None:
        """Move what was taken to disk when it is much: memory does not grow with what is read."""
        if len(self._waiting) >= _MAX_WAITING:
            await self._store(None)

    async def _store(self, position: tuple[Any, ...] | None, *, leave: int = 0) -> None:
        """Store what was taken, but for the last ones that are to be left, and a position where there is one."""
        upto = len(self._waiting) - leave
        waiting, self._waiting = self._waiting[:upto], self._waiting[upto:]

        def job(connection: apsw.Connection) -> None:
            for taken in waiting:
                _apply(connection, taken)
            if position is not None:
                connection.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?, ?)", position)

        try:
            await self._file.run(job)
        except BaseException:
            self._waiting[:0] = waiting
            raise

    async def expire(self, *, now_ms: int) -> None:
        """Forget signals whose time is over."""
        await self._file.run(lambda connection: _forget(connection, "expires_at_ms <= ?", (now_ms,)))

    async def naming(self, pseudonyms: Collection[bytes], *, now_ms: int) -> list[NamingSignal]:
        """Return the live signals that name any of these pseudonyms (36 bytes each), in the order of the log.

        Not those that are held back.
        """

        def job(connection: apsw.Connection) -> list[NamingSignal]:
            ids = {
                bytes(signal_id)
                for pseudonym in pseudonyms
                for (signal_id,) in all_rows(
                    connection, "SELECT signal_id FROM named WHERE pseudonym = ?", (pseudonym,)
                )
            }
            query = f"SELECT {_COLUMNS} FROM signals WHERE signal_id = ? AND expires_at_ms > ? AND {_NOT_HELD}"  # noqa: S608
            rows = [row for id_ in ids for row in all_rows(connection, query, (id_, now_ms))]
            return sorted(_with_pseudonyms(connection, rows), key=lambda signal: (signal.index, signal.signal_id))

        return await self._file.run(job)

    async def live(self, *, now_ms: int) -> AsyncIterator[list[NamingSignal]]:
        """Yield the live signals that are not held back, in the order of the log, page by page."""
        query = (
            f"SELECT {_COLUMNS} FROM signals WHERE (log_index, signal_id) > (?, ?) AND expires_at_ms > ?"  # noqa: S608
            f" AND {_NOT_HELD} ORDER BY log_index, signal_id LIMIT {_PAGE}"
        )
        place = (-1, b"")
        while True:

            def job(connection: apsw.Connection, place: tuple[int, bytes] = place) -> list[NamingSignal]:
                return _with_pseudonyms(connection, all_rows(connection, query, (*place, now_ms)))

            page = await self._file.run(job)
            if not page:
                return
            yield page
            place = (page[-1].index, page[-1].signal_id)

    async def untold(self, pairs: Iterable[tuple[bytes, str]]) -> set[tuple[bytes, str]]:
        """Return which of these (signal id, reference) `tell` has not been told of."""
        query = "SELECT 1 FROM told WHERE signal_id = ? AND reference = ?"

        def job(connection: apsw.Connection) -> set[tuple[bytes, str]]:
            return {pair for pair in pairs if first_row(connection, query, pair) is None}

        return await self._file.run(job)

    async def tell(self, pairs: Collection[tuple[bytes, str]]) -> None:
        """Note that somebody was told of these (signal id, reference), for as long as the signal is known."""
        query = "INSERT OR IGNORE INTO told VALUES (?, ?)"
        await self._file.run(lambda connection: connection.executemany(query, list(pairs)))

    async def forget_told(self, references: Iterable[str]) -> None:
        """Forget what was told of these accounts of the platform."""
        rows = [(reference,) for reference in references]
        await self._file.run(lambda connection: connection.executemany("DELETE FROM told WHERE reference = ?", rows))
        await self._file.purge()


def _naming(delivery: Delivery, header: SignalHeader, signal_id: bytes, pseudonyms: tuple[bytes, ...]) -> NamingSignal:
    words = (header.label, header.severity, header.confidence, header.handling, header.expires_at_ms)
    further = (header.target_class, header.source_action)
    return NamingSignal(signal_id, delivery.index, delivery.publisher, *words, *further, pseudonyms)


def _apply(connection: apsw.Connection, taken: NamingSignal | Effect) -> None:
    match taken:
        case NamingSignal():
            _insert(connection, taken)
        case Ended(_, signal_ids, publisher):
            for signal_id in signal_ids:
                connection.execute("INSERT OR IGNORE INTO ended VALUES (?, ?)", (signal_id, publisher))
                _forget(connection, "signal_id = ? AND ? IN ('', publisher)", (signal_id, publisher))
        case Flagged(_, member, from_index):
            keep = "ON CONFLICT DO UPDATE SET from_index = min(from_index, excluded.from_index)"
            connection.execute(f"INSERT INTO flagged VALUES (?, ?) {keep}", (member, from_index))  # noqa: S608
        case Released(_, member):
            connection.execute("DELETE FROM flagged WHERE publisher = ?", (member,))


def _is_ended(connection: apsw.Connection, signal: NamingSignal) -> bool:
    query = "SELECT 1 FROM ended WHERE signal_id = ? AND publisher IN ('', ?)"
    return first_row(connection, query, (signal.signal_id, signal.publisher)) is not None


def _insert(connection: apsw.Connection, signal: NamingSignal) -> None:
    """The first header of a signal wins; one that was ended does not come back."""
    if _is_ended(connection, signal):
        return
    row = astuple(signal)[:-1]
    connection.execute("INSERT OR IGNORE INTO signals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    pairs = [(signal.signal_id, pseudonym) for pseudonym in signal.pseudonyms]
    connection.executemany("INSERT OR IGNORE INTO named VALUES (?, ?)", pairs)


def _forget(connection: apsw.Connection, which: str, values: tuple[object, ...]) -> None:
    ids = all_rows(connection, f"SELECT signal_id FROM signals WHERE {which}", values)  # noqa: S608 - our own
    for table in ("signals", "named", "told"):
        connection.executemany(f"DELETE FROM {table} WHERE signal_id = ?", ids)  # noqa: S608 - our own


def _with_pseudonyms(connection: apsw.Connection, rows: Iterable[tuple[Any, ...]]) -> list[NamingSignal]:
    found = []
    for row in rows:
        values = checked(row, bytes, int, str, *[int] * 7)
        named = all_rows(connection, "SELECT pseudonym FROM named WHERE signal_id = ?", values[:1])
        pseudonyms = tuple(checked(each, bytes)[0] for each in named)
        found.append(NamingSignal(*(*values, pseudonyms)))
    return found

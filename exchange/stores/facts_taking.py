"""Taking a log's entries into the tables of its life, in order: what each kind of statement changes.

The first word about a signal wins: a signal id that comes again is ignored, and so is a second retraction, erasure or
replacement. Of opinions and dispositions the last one counts. Only their publisher replaces signals. What is kept out
of lag: late statements, backfill, and times that nobody gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from exchange.domain.addressed import Note, Referral, ReferralUpdate
from exchange.domain.bodies import (
    AboutSignals,
    Acknowledgement,
    Disposition,
    Erasure,
    Opinion,
    Quarantine,
    Release,
    Retraction,
    SignalHeader,
)
from exchange.domain.kinds import FEW
from exchange.domain.lag import Stage, bucket_of, lags_of
from exchange.domain.validation import DAY_MS
from exchange.errors import Unavailable
from exchange.ledger.merkle import CompactRange
from exchange.ops.transactions import all_rows, first_row, transaction
from exchange.ports import ToldEntry
from exchange.stores.facts_bare import note_bare
from exchange.stores.facts_sayings import Sayings
from exchange.stores.facts_signals import SignalRows
from exchange.stores.referrals_taking import erase_addressed, take_addressed

_ADD_LAG = "INSERT INTO lag VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
_ADD_ACTIVITY = (
    "INSERT INTO activity VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET statements = statements + excluded.statements, signals = signals + excluded.signals"
)
_ACKNOWLEDGED = (
    "INSERT INTO members (member, processed_through, acknowledged_at_ms, clock_offset_ms, clock_error_ms)"
    " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET processed_through = excluded.processed_through,"
    " acknowledged_at_ms = excluded.acknowledged_at_ms, clock_offset_ms = excluded.clock_offset_ms,"
    " clock_error_ms = excluded.clock_error_ms"
    " WHERE processed_through IS NULL OR processed_through < excluded.processed_through"
)
_QUARANTINE = (
    "INSERT INTO members (member, quarantined_from) VALUES (?, ?) ON CONFLICT DO UPDATE SET"
    " quarantined_from = min(coalesce(quarantined_from, excluded.quarantined_from), excluded.quarantined_from)"
)
_OF_SIGNAL = (
    "SELECT statements.publisher, label, election, statements.received_at_ms, statements.actioned_at_ms, in_lag,"
    " retracted_at, endings.received_at_ms FROM signals JOIN statements USING (idx)"
    " LEFT JOIN endings ON endings.idx = retracted_at AND endings.signal_id = signals.signal_id"
    " WHERE signals.signal_id = ?"
)


@dataclass(frozen=True, slots=True)
class _Signal:
    """What lag is counted by: a row of `_OF_SIGNAL`."""

    #: Publisher, label, election.
    key: tuple[str, int, bytes]
    received_ms: int
    actioned_ms: int
    in_lag: int
    #: Index of its retraction, and when that was received.
    retracted_at: int | None
    retracted_ms: int | None


def take(connection: apsw.Connection, sayings: Sayings, entries: Sequence[ToldEntry], place: CompactRange) -> None:
    """Take the next entries, in the order of the log, and the place after them: both or neither.

    Where that fails, ``sayings`` is not what is in the file any more. Raises `Unavailable` where the file is not at the
    first of them: another process has written to it.
    """
    with transaction(connection):
        # First: so this transaction writes from its beginning on, and nobody else does.
        moved = "UPDATE place SET size = ?, hashes = ? WHERE size = coalesce(?, size)"
        start = entries[0].index if entries else None
        connection.execute(moved, (place.size, b"".join(place.hashes), start))
        if connection.changes() != 1:
            raise Unavailable("the fold of this log's life is at another place")
        taking = _Taking(connection, sayings)
        for entry in entries:
            taking.take(entry)
        taking.flush()
        if any(entry.bare for entry in entries):
            sayings.sort_in()  # what may come back is judged by whether it was said before
        else:
            sayings.sort_on(sum(len(entry.header.signal_ids) for entry in entries))
    sayings.sorted_in()


class _Taking:
    """One page of entries. Lag and activity are added up and written once."""

    def __init__(self, connection: apsw.Connection, sayings: Sayings) -> None:
        self._db = connection
        self._sayings = sayings
        self._signals = SignalRows(connection, sayings)
        self._lag: dict[tuple[int, int, str, str, int, bytes, int], int] = {}
        self._activity: dict[tuple[int, str, int, int, bytes], tuple[int, int]] = {}

    def flush(self) -> None:
        """Write what was added up."""
        self._signals.flush()
        self._db.executemany(_ADD_LAG, [(*key, count) for key, count in self._lag.items()])
        self._db.executemany(_ADD_ACTIVITY, [(*key, *counts) for key, counts in self._activity.items()])

    def take(self, entry: ToldEntry) -> None:
        """Take one entry."""
        self._note_entry(entry)
        if entry.header.kind in FEW:
            self._db.execute("INSERT INTO few VALUES (?)", (entry.index,))
        if isinstance(entry.header.body, SignalHeader):
            self._signal(entry, entry.header.body)
            return
        self._signals.flush()
        if isinstance(entry.header.body, AboutSignals):
            self._sayings.settle(entry.header.body.targets)
        self._said(entry)

    def _said(self, entry: ToldEntry) -> None:
        """Take what is no signal."""
        match entry.header.body:
            case Retraction() as body:
                self._ending(entry, body.targets, body.reason, "retracted_at")
                if body.decided_at_ms and not entry.late:
                    self._note_retraction(entry, body)
            case Erasure() as body:
                self._ending(entry, body.targets, body.reason, "erased_at")
                erase_addressed(self._db, entry, body.targets)
            case Opinion() as body:
                rows = [(id_, entry.header.publisher, entry.index, body.category, body.reason) for id_ in body.targets]
                self._db.executemany("INSERT OR REPLACE INTO opinions VALUES (?, ?, ?, ?, ?)", rows)
            case Disposition() as body:
                self._disposition(entry, body)
            case Acknowledgement() as body:
                self._acknowledgement(entry, body)
            case Referral() | ReferralUpdate() | Note():
                take_addressed(self._db, entry)
            case _:
                self._operators(entry)

    def _note_entry(self, entry: ToldEntry) -> None:
        self._count_activity(entry)
        if entry.bare:
            note_bare(self._db, entry)

    def _operators(self, entry: ToldEntry) -> None:
        """Take what only operators say."""
        match entry.header.body:
            case Quarantine() as body:
                self._db.execute(_QUARANTINE, (body.member, body.from_index))
            case Release() as body:
                query = "UPDATE members SET quarantined_from = NULL, released_at = ? WHERE member = ?"
                self._db.execute(query, (entry.index, body.member))
            case _:
                pass

    def _signal(self, entry: ToldEntry, body: SignalHeader) -> None:
        in_lag = not (entry.late or body.backfill)
        self._signals.add(entry, body, in_lag=in_lag)
        if body.replaces:
            self._replace(entry, body)
        if in_lag:
            key = (entry.header.publisher, body.label, body.election)
            if body.actioned_at_ms:
                self._note(Stage.REPORTED, entry, key, "", entry.received_at_ms - body.actioned_at_ms)
            self._note(Stage.RECEIVED, entry, key, "", entry.received_at_ms - entry.header.created_at_ms)

    def _replace(self, entry: ToldEntry, body: SignalHeader) -> None:
        self._signals.flush()
        self._sayings.settle(body.replaces)
        for id_ in body.replaces:
            self._db.execute(
                "UPDATE signals SET replaced_at = ? WHERE signal_id = ? AND replaced_at IS NULL"
                " AND (SELECT publisher FROM statements WHERE statements.idx = signals.idx) = ?",
                (entry.index, id_, entry.header.publisher),
            )

    def _acknowledged(self, signal_id: bytes) -> str:
        """Return who has acknowledged a signal by now."""
        query = (
            "SELECT coalesce(group_concat(member, ' '), '') FROM members"
            " WHERE processed_through >= (SELECT idx FROM signals WHERE signal_id = ?)"
        )
        ((members,),) = all_rows(self._db, query, (signal_id,))
        return str(members)

    def _ending(self, entry: ToldEntry, targets: Sequence[bytes], reason: int, column: str) -> None:
        """Note what ends signals: the first of its sort counts for each."""
        for id_ in targets:
            self._db.execute(
                f"UPDATE signals SET {column} = ? WHERE signal_id = ? AND {column} IS NULL",  # noqa: S608 - our own
                (entry.index, id_),
            )
            if self._db.changes():
                erasure = column == "erased_at"
                who, when = (entry.header.publisher, entry.received_at_ms), entry.directory_size
                # Who acknowledges what is erased already has not been given it.
                acknowledged = self._acknowledged(id_) if erasure else None
                row = (entry.index, id_, erasure, reason, *who, when, acknowledged)
                self._db.execute("INSERT INTO endings VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)", row)

    def _note_retraction(self, entry: ToldEntry, body: Retraction) -> None:
        for id_ in body.targets:
            signal = self._signal_of(id_)
            if signal is not None and signal.retracted_at == entry.index:
                self._note(Stage.UNDO_REPORTED, entry, signal.key, "", entry.received_at_ms - body.decided_at_ms)

    def _disposition(self, entry: ToldEntry, body: Disposition) -> None:
        member = entry.header.publisher
        for id_ in body.targets:
            before = first_row(
                self._db, "SELECT counted FROM dispositions WHERE signal_id = ? AND member = ?", (id_, member)
            )
            counted = before[0] if before is not None and isinstance(before[0], int) else 0
            signal = self._signal_of(id_)
            if signal is not None and not entry.late:
                counted = self._note_disposition(entry, body, signal, counted)
            values = (body.state, body.action, body.reason, body.matched_at_ms, body.actioned_at_ms)
            self._db.execute(
                "INSERT OR REPLACE INTO dispositions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (id_, member, entry.index, *values, entry.received_at_ms, counted),
            )

    def _signal_of(self, id_: bytes) -> _Signal | None:
        row = first_row(self._db, _OF_SIGNAL, (id_,))
        return None if row is None else _Signal(row[:3], *row[3:])

    def _note_disposition(self, entry: ToldEntry, body: Disposition, signal: _Signal, counted: int) -> int:
        """Count what a disposition tells of lag: each stage once for a signal and a member. Return what is counted."""
        times = {"received_ms": signal.received_ms, "actioned_ms": signal.actioned_ms}
        for stage, lag_ms in lags_of(body, **times, retracted_ms=signal.retracted_ms).items():
            if (signal.in_lag or stage is Stage.UNDONE) and not counted & 1 << stage:
                counted |= 1 << stage
                self._note(stage, entry, signal.key, entry.header.publisher, lag_ms)
        return counted

    def _acknowledgement(self, entry: ToldEntry, body: Acknowledgement) -> None:
        member = entry.header.publisher
        row = (member, body.processed_through, entry.received_at_ms, body.clock_offset_ms, body.clock_error_ms)
        self._db.execute(_ACKNOWLEDGED, row)
        if not self._db.changes() or entry.late:
            return
        for cell in body.cells:
            stage = Stage.UNDO_DELIVERED if cell.retraction else Stage.DELIVERED
            for bucket, count in enumerate(cell.counts):
                if count:
                    key = (cell.publisher, cell.label, cell.election)
                    self._count(stage, entry, key, member, bucket, count)

    def _count_activity(self, entry: ToldEntry) -> None:
        header, body = entry.header, entry.header.body
        label, election = (body.label, body.election) if isinstance(body, SignalHeader) else (0, b"")
        key = (entry.received_at_ms // DAY_MS, header.publisher, header.kind, label, election)
        statements, signals = self._activity.get(key, (0, 0))
        named = len(body.targets) if isinstance(body, AboutSignals) else len(header.signal_ids)
        self._activity[key] = (statements + 1, signals + named)

    def _note(self, stage: Stage, entry: ToldEntry, key: tuple[str, int, bytes], receiver: str, lag_ms: int) -> None:
        self._count(stage, entry, key, receiver, bucket_of(lag_ms), 1)

    def _count(
        self, stage: Stage, entry: ToldEntry, key: tuple[str, int, bytes], receiver: str, bucket: int, count: int
    ) -> None:
        publisher, label, election = key
        row = (entry.received_at_ms // DAY_MS, int(stage), publisher, receiver, label, election, bucket)
        self._lag[row] = self._lag.get(row, 0) + count

"""The outbox: a statement is kept before it is first sent, and for a day after its receipt was verified.

So no component in the middle has to be trusted with durability: what a hub loses after its receipt is still here to
be sent again. It also remembers which signal ids each case of ours became, and which of them are ended by now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from functools import partial

import apsw

from exchange import codec
from exchange.domain.bodies import Erasure, Retraction, SignalHeader
from exchange.domain.statement import Statement, statement_id
from exchange.ops.transactions import all_rows, first_row
from exchange_client.state import StateFile, checked

#: A part of a transaction.
Job = Callable[[apsw.Connection], None]
KEEP_MS = 24 * 3_600_000
PRUNE_EVERY_S = 3_600.0
#: So many statements are looked at in one transaction, so that what is published meanwhile does not wait for all.
PRUNE_AT_ONCE = 256
_PIECE_END = "SELECT max(rowid) FROM (SELECT rowid FROM outbox WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?)"


class Outbox:
    """The statements of one log that may still be needed."""

    def __init__(self, state: StateFile, origin: str, part: str = "") -> None:
        """Keep them in this file. ``part`` names what another sender of ours has for itself."""
        self._state = state
        #: What another sender of ours keeps here, where this is not for signals and what is said of them.
        self.part = part
        self._origin = f"{origin} {part}".rstrip()

    async def add(
        self,
        statements: Sequence[Statement],
        cases: Sequence[tuple[str, bytes]],
        *,
        now_ms: int,
        beside: Job | None = None,
    ) -> None:
        """Keep new statements durably, with the (case reference, signal id) pairs in them, and what is ``beside``."""
        rows = [(statement_id(s.payload), self._origin, codec.encode_statement(s), now_ms) for s in statements]
        named = [(self._origin, case_ref, id_) for case_ref, id_ in cases if case_ref]

        def job(connection: apsw.Connection) -> None:
            connection.executemany("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, ?, NULL, NULL)", rows)
            connection.executemany("INSERT OR IGNORE INTO cases VALUES (?, ?, ?)", named)
            if beside is not None:
                beside(connection)

        await self._state.run(job)

    async def replace(self, statement: Statement) -> None:
        """Keep a statement as it is now signed: what is said, and so its id, is the same."""
        row = (codec.encode_statement(statement), statement_id(statement.payload))
        await self._state.run(lambda c: c.execute("UPDATE outbox SET statement = ? WHERE statement_id = ?", row))

    async def settle(
        self, *, receipts: Sequence[tuple[Statement, int]] = (), refused: Sequence[Statement] = (), now_ms: int
    ) -> None:
        """Note verified receipts as (statement, index), and forget statements that the hub refused for good."""
        rows = [(index, now_ms, statement_id(statement.payload)) for statement, index in receipts]
        ended = [(self._origin, id_, erased) for statement, _ in receipts for id_, erased in _ended_by(statement)]
        gone = [(statement_id(statement.payload),) for statement in refused]
        unsaid = [
            (self._origin, id_)
            for statement in refused
            for id_ in codec.decode_header(statement.payload, strict=False).signal_ids
        ]

        def job(connection: apsw.Connection) -> None:
            connection.executemany(
                "UPDATE outbox SET receipt_index = ?, receipt_at_ms = ? WHERE statement_id = ?", rows
            )
            connection.executemany("INSERT OR IGNORE INTO ended VALUES (?, ?, ?)", ended)
            connection.executemany("DELETE FROM outbox WHERE statement_id = ?", gone)
            connection.executemany("DELETE FROM cases WHERE origin = ? AND signal_id = ?", unsaid)

        await self._state.run(job)

    async def pending(self) -> list[Statement]:
        """Return the statements that have no verified receipt, oldest first."""
        return await self._read("receipt_index IS NULL")

    async def kept(self) -> list[Statement]:
        """Return every statement that is still kept, oldest first."""
        return await self._read("1")

    async def receipted(self, indices: Collection[int]) -> list[bytes]:
        """Return the ids of statements that have a receipt for one of these places, in the order of the log."""
        wanted = frozenset(indices)
        query = (
            "SELECT receipt_index, statement_id FROM outbox"
            " WHERE origin = ? AND receipt_index IS NOT NULL ORDER BY receipt_index"
        )

        def job(connection: apsw.Connection) -> list[bytes]:
            with closing(connection.execute(query, (self._origin,))) as rows:
                return [id_ for index, id_ in (checked(row, int, bytes) for row in rows) if index in wanted]

        return await self._state.run(job)

    async def statements(self, ids: Sequence[bytes]) -> list[Statement]:
        """Return the statements with these ids that are still kept, but none whose every signal we have erased."""
        query = "SELECT statement FROM outbox WHERE statement_id = ?"

        def job(connection: apsw.Connection) -> list[Statement]:
            rows = (checked(row, bytes) for id_ in ids for row in all_rows(connection, query, (id_,)))
            found = (codec.decode_statement(data) for (data,) in rows)
            return [statement for statement in found if not self._erased(connection, statement)]

        return await self._state.run(job)

    def _erased(self, connection: apsw.Connection, statement: Statement) -> bool:
        query = "SELECT 1 FROM ended WHERE origin = ? AND signal_id = ? AND erased = 1"
        ids = codec.decode_header(statement.payload, strict=False).signal_ids
        return bool(ids) and all(first_row(connection, query, (self._origin, id_)) for id_ in ids)

    async def _read(self, condition: str) -> list[Statement]:
        query = f"SELECT statement FROM outbox WHERE origin = ? AND {condition} ORDER BY kept_at_ms, rowid"  # noqa: S608

        def job(connection: apsw.Connection) -> list[bytes]:
            return [checked(row, bytes)[0] for row in all_rows(connection, query, (self._origin,))]

        return [codec.decode_statement(data) for data in await self._state.run(job)]

    async def prune(self, *, now_ms: int) -> None:
        """Drop what was receipted more than a day ago."""
        await prune(self._state, now_ms)

    async def witnessed(self, size: int) -> None:
        """Drop what lies in a tree of this size, whose checkpoint a witness has cosigned: it cannot be lost now.

        For when there are witnesses: nothing calls it yet.
        """
        await self._state.run(
            lambda c: c.execute(
                "DELETE FROM outbox WHERE origin = ? AND receipt_index IS NOT NULL AND receipt_index < ?",
                (self._origin, size),
            )
        )

    async def signal_ids(self, case_ref: str) -> list[bytes]:
        """Return the signal ids that were published under one of our case references, ended or not."""

        def job(connection: apsw.Connection) -> list[bytes]:
            query = "SELECT signal_id FROM cases WHERE origin = ? AND case_ref = ?"
            return [checked(row, bytes)[0] for row in all_rows(connection, query, (self._origin, case_ref))]

        return await self._state.run(job)

    async def not_ended(self, case_ref: str, *, erased: bool) -> list[bytes]:
        """Return those of a case's signal ids that we have not taken back or replaced, or (``erased``) not erased."""
        query = "SELECT 1 FROM ended WHERE origin = ? AND signal_id = ? AND erased = ?"
        ids = await self.signal_ids(case_ref)

        def job(connection: apsw.Connection) -> list[bytes]:
            return [id_ for id_ in ids if first_row(connection, query, (self._origin, id_, erased)) is None]

        return await self._state.run(job)


async def prune(state: StateFile, now_ms: int) -> None:
    """Drop from every outbox in a state file what was receipted more than a day ago. Raises as `StateFile.run`."""
    before = now_ms - KEEP_MS
    first, last = await state.run(lambda c: first_row(c, "SELECT min(rowid), max(rowid) FROM outbox") or (None, None))
    # As far as it reached at first: what is kept meanwhile is younger.
    behind: int | None = None if first is None else first - 1
    while behind is not None:
        behind = await state.run(partial(_prune_piece, behind=behind, last=last, before=before))


def _prune_piece(connection: apsw.Connection, *, behind: int, last: int, before: int) -> int | None:
    """Prune the next rows; return the last of them, None when there are no more, or the file's order is damaged."""
    (end,) = first_row(connection, _PIECE_END, (behind, last, PRUNE_AT_ONCE)) or (None,)
    if end is None or end <= behind:
        return None
    query = "DELETE FROM outbox WHERE rowid > ? AND rowid <= ? AND receipt_at_ms < ?"
    connection.execute(query, (behind, end, before))
    return int(end)


async def prune_hourly(state: StateFile, now_ms: Callable[[], int]) -> None:
    """Prune until cancelled: also where nobody says anything, and no publisher is closed, for months."""
    while True:
        await asyncio.sleep(PRUNE_EVERY_S)
        try:
            await prune(state, now_ms())
        except Exception as error:  # noqa: BLE001 - told, and tried again an hour later: this must not end unseen
            logging.getLogger("exchange_client").warning("the outbox was not pruned: %s", error)


def things_in(statement: Statement) -> int:
    """Return how many things a statement says: signals, or the one that is said without records."""
    return len(statement.records) or 1


def _ended_by(statement: Statement) -> list[tuple[bytes, bool]]:
    """Return the signals of ours that a statement ends, each with whether it erases it."""
    if len(statement.records) > 1:
        return []  # many signals: what replaces one stands alone
    body = codec.decode_header(statement.payload, strict=False).body
    if isinstance(body, Retraction | Erasure):
        return [(target, isinstance(body, Erasure)) for target in body.targets]
    return [(id_, False) for id_ in body.replaces] if isinstance(body, SignalHeader) else []

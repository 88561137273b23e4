"""Entries without their records in the tables of a log's life, and what becomes of the tables when records come back.

An entry is *bare* that came without the records that it had, whoever took them. It is *lost* where nobody did: its time
is not over, and no erasure names it. Then its publisher may bring them back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import apsw

from exchange.domain.addressed import Addressed
from exchange.domain.bodies import SignalHeader
from exchange.ops.transactions import all_rows, first_row
from exchange.ports import ToldEntry
from exchange.stores.facts_signals import audience_column
from exchange.stores.referrals_taking import take_addressed

#: What something that is put back just now can be over at most.
_LONG_MS = 3_600_000
#: Whether a signal that was first said in an entry was not erased. One that has no row has nothing said about it.
_FIRST_LIVES = (
    "(SELECT length(ids) / 32 FROM ids WHERE ids.idx = {0}.idx) > (SELECT count(*) FROM signals"
    " WHERE signals.idx = {0}.idx AND erased_at IS NOT NULL)"
    " + (SELECT count(*) FROM repeats WHERE repeats.idx = {0}.idx)"
)
#: A signal in a bare entry that was not erased; what was said before goes when the first one does.
_LIVES = (
    f"({_FIRST_LIVES.format('bare')} OR EXISTS"  # noqa: S608 - our own
    " (SELECT 1 FROM repeats JOIN signals USING (signal_id) JOIN statements ON statements.idx = signals.idx"
    " WHERE repeats.idx = bare.idx AND repeats.gone = 0 AND erased_at IS NULL AND statements.expires_at_ms > ?1))"
)
#: The limit is of those that are looked at: most may be erased or over.
_LOST = (
    "SELECT idx, CASE WHEN ends_at_ms > 0 AND ends_at_ms <= ?1 THEN 0"  # noqa: S608 - our own
    f" WHEN id = x'' THEN {_LIVES} ELSE NOT EXISTS (SELECT 1 FROM tombs WHERE tombs.id = bare.id) END"
    " FROM (SELECT idx, ends_at_ms, id FROM bare WHERE publisher = ?2 AND idx >= ?3 ORDER BY idx LIMIT ?4) AS bare"
    " ORDER BY idx"
)
#: The plus keeps the planner from sorting all that expires: the newest is nearly always the first that is looked at.
_WHOLE = (
    "SELECT idx FROM statements WHERE gone = 0 AND +expires_at_ms > ?"  # noqa: S608 - our own
    " AND NOT EXISTS (SELECT 1 FROM bare WHERE bare.idx = statements.idx)"
    f" AND {_FIRST_LIVES.format('statements')}"
)
_ERASED = (
    "SELECT EXISTS (SELECT 1 FROM tombs WHERE id = ?1)"
    " OR EXISTS (SELECT 1 FROM signals WHERE signal_id = ?1 AND erased_at IS NOT NULL)"
)
_BURY = (
    "UPDATE addressed SET erased_at = coalesce((SELECT tombs.idx FROM tombs WHERE tombs.id = addressed.id),"
    " (SELECT tombs.idx FROM tombs WHERE tombs.id = target),"
    " (SELECT signals.erased_at FROM signals WHERE signal_id = target))"
    " WHERE target = ? AND addressed.erased_at IS NULL"
)


def note_bare(connection: apsw.Connection, entry: ToldEntry) -> None:
    """Note that an entry came without its records."""
    header, body = entry.header, entry.header.body
    ends_at_ms = body.expires_at_ms if isinstance(body, SignalHeader) else 0
    id_ = header.signal_ids[0] if isinstance(body, Addressed) else b""
    row = (entry.index, header.publisher, ends_at_ms, id_, header.kind)
    connection.execute("INSERT OR IGNORE INTO bare VALUES (?, ?, ?, ?, ?)", row)


def bare_in(connection: apsw.Connection, *, now_ms: int) -> list[int]:
    """Return the entries that are bare; forget those that were over long before anything under way began."""
    connection.execute("DELETE FROM bare WHERE ends_at_ms > 0 AND ends_at_ms < ?", (now_ms - _LONG_MS,))
    rows = all_rows(connection, "SELECT idx FROM bare ORDER BY idx")
    return [index for (index,) in rows]


def lost_in(
    connection: apsw.Connection, publisher: str, start: int, limit: int, *, now_ms: int
) -> tuple[list[int], int]:
    """Look at so many of a publisher's bare entries, from an index on; return the lost ones, and where to look on."""
    rows = all_rows(connection, _LOST, (now_ms, publisher, start, limit))
    return [index for index, is_lost in rows if is_lost], rows[-1][0] + 1 if len(rows) == limit else 0


def newest_whole_in(connection: apsw.Connection, *, now_ms: int) -> int | None:
    """Return the newest entry with signals that must have its records; None where there is none."""
    row = first_row(connection, f"{_WHOLE} ORDER BY idx DESC LIMIT 1", (now_ms,))
    return None if row is None else int(row[0])


def is_whole(connection: apsw.Connection, index: int, *, now_ms: int) -> bool:
    """Whether an entry with signals must have its records."""
    return first_row(connection, f"{_WHOLE} AND idx = ?", (now_ms, index)) is not None


def is_erased(connection: apsw.Connection, ids: Collection[bytes]) -> bool:
    """Whether an erasure names any of these."""
    return any(first_row(connection, _ERASED, (id_,)) == (1,) for id_ in ids)


def take_back(connection: apsw.Connection, entry: ToldEntry) -> None:
    """Take signals whose records have come back: who may read them, and that what has to go must be looked for again.

    Whatever the tables say: an erasure may have come between the judgement and the records, and found nothing to erase.
    """
    row = (audience_column(entry), entry.index)
    connection.execute("UPDATE statements SET audience = ?, gone = 0 WHERE idx = ?", row)
    connection.execute("UPDATE repeats SET gone = 0 WHERE idx = ?", (entry.index,))
    connection.executemany(
        "UPDATE endings SET gone = 0 WHERE erasure = 1 AND signal_id = ?",
        [(id_,) for id_ in entry.header.signal_ids],
    )
    connection.execute("DELETE FROM bare WHERE idx = ?", (entry.index,))


def said_of(connection: apsw.Connection, target: bytes) -> list[int]:
    """Return the entries of what was said of a referral or noted on a signal, and of the referral itself."""
    rows = all_rows(connection, "SELECT idx FROM addressed WHERE target = ? AND erased_at IS NULL", (target,))
    return [index for (index,) in rows]


def take_again(connection: apsw.Connection, target: bytes, entries: Sequence[ToldEntry]) -> bool:
    """Take anew all that was said of a referral or noted on a signal, in its order; some of it has come back.

    False, with nothing changed, where there is more of it than these entries.
    """
    if not set(said_of(connection, target)) <= {entry.index for entry in entries}:
        return False
    connection.executemany("DELETE FROM addressed WHERE idx = ?", [(entry.index,) for entry in entries])
    connection.execute("DELETE FROM referrals WHERE id = ?", (target,))
    for entry in sorted(entries, key=lambda each: each.index):
        take_addressed(connection, entry)
        connection.execute("DELETE FROM bare WHERE idx = ?", (entry.index,))
    connection.execute(_BURY, (target,))
    connection.execute("DELETE FROM referrals WHERE id = ?1 AND EXISTS (SELECT 1 FROM tombs WHERE id = ?1)", (target,))
    return True

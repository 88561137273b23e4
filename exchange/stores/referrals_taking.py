"""Taking what is said to named members into the tables of a log's life, and its erasure out of them.

The first word counts: a record that comes again, and an update that another one came before, change nothing; they are
noted all the same, so that an erasure finds every copy. What was erased changes nothing when it is said anew, and goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from exchange.domain.addressed import ReferralRecord, UpdateRecord
from exchange.domain.kinds import Kind
from exchange.domain.referral_facts import ReferralFacts, after, target_of
from exchange.ops.transactions import all_rows, first_row
from exchange.ports import Doomed, ToldEntry

REFERRAL = (
    "SELECT id, idx, publisher, authority, received_at_ms, due_ms, state, outcome, acknowledged, updates FROM referrals"
)


def facts_of(row: tuple[Any, ...]) -> ReferralFacts:
    """Return what a row of `REFERRAL` says."""
    id_, index, publisher, authority, *numbers = row
    received_at_ms, due_ms, state, outcome, acknowledged, updates = numbers
    moments = received_at_ms, due_ms
    return ReferralFacts(id_, index, publisher, authority, *moments, state, outcome, bool(acknowledged), updates)


def take_addressed(connection: apsw.Connection, entry: ToldEntry) -> None:
    """Take an entry that is for named members; of one whose record is gone there is nothing to take."""
    record, ids = entry.record, entry.header.signal_ids
    if record is None or len(ids) != 1:
        return
    target = target_of(ids[0], record)
    query = "SELECT min(idx) FROM tombs WHERE id IN (?, ?)"
    ((erased_at,),) = all_rows(connection, query, (ids[0], target))
    first = first_row(connection, "SELECT 1 FROM addressed WHERE id = ? LIMIT 1", ids) is None
    counts = first and erased_at is None
    match record:
        case ReferralRecord() if counts:
            _refer(connection, entry, record)
        case UpdateRecord() if counts:
            counts = _update(connection, entry, record)
        case _:
            pass
    audience = " ".join(sorted(entry.audience or ()))
    who, when = entry.header.publisher, entry.received_at_ms
    connection.execute(
        "INSERT INTO addressed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (ids[0], entry.index, entry.header.kind, who, target, when, audience, counts, erased_at),
    )


def _refer(connection: apsw.Connection, entry: ToldEntry, record: ReferralRecord) -> None:
    who = (entry.header.publisher, record.authority)
    row = (entry.header.signal_ids[0], entry.index, *who, entry.received_at_ms, record.respond_by_ms)
    connection.execute("INSERT OR IGNORE INTO referrals VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 0)", row)


def _update(connection: apsw.Connection, entry: ToldEntry, record: UpdateRecord) -> bool:
    """Whether an update changes its referral: then it does."""
    row = first_row(connection, f"{REFERRAL} WHERE id = ?", (record.referral,))
    now = None if row is None else after(facts_of(row), entry.header.publisher, record)
    if now is None:
        return False
    connection.execute(
        "UPDATE referrals SET due_ms = ?, state = ?, outcome = ?, acknowledged = ?, updates = ? WHERE id = ?",
        (now.due_ms, now.state, now.outcome, now.acknowledged, now.updates, now.id),
    )
    return True


def erase_addressed(connection: apsw.Connection, entry: ToldEntry, ids: Sequence[bytes]) -> None:
    """Note what is to be erased: what was said of a referral, or noted on a signal, goes with it."""
    for id_ in ids:
        connection.execute(
            "UPDATE addressed SET erased_at = ? WHERE (id = ? AND kind != ? OR target = ?) AND erased_at IS NULL",
            (entry.index, id_, Kind.REFERRAL_UPDATE, id_),
        )
        connection.execute("DELETE FROM referrals WHERE id = ?", (id_,))
        connection.execute(
            "INSERT OR IGNORE INTO tombs SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM signals WHERE signal_id = ?)",
            (id_, entry.index, id_),
        )


def doomed_addressed(connection: apsw.Connection, limit: int) -> list[Doomed]:
    """Return entries whose record was erased and is not known to be gone."""
    rows = all_rows(
        connection, "SELECT idx, id FROM addressed WHERE erased_at IS NOT NULL ORDER BY idx LIMIT ?", (limit,)
    )
    return [Doomed(index, frozenset({id_})) for index, id_ in rows]


def note_addressed_gone(connection: apsw.Connection, entry: Doomed) -> None:
    """Forget what is in no store any more."""
    gone = [(id_, entry.index) for id_ in entry.signal_ids or ()]
    connection.executemany("DELETE FROM addressed WHERE id = ? AND idx = ? AND erased_at IS NOT NULL", gone)


def forget_addressed(connection: apsw.Connection, below: int) -> None:
    """Forget what entries below this index said: their records are gone."""
    connection.execute("DELETE FROM addressed WHERE idx < ?", (below,))
    connection.execute("DELETE FROM referrals WHERE idx < ?", (below,))
    connection.execute("DELETE FROM tombs WHERE idx < ?", (below,))  # what it names lies below it


#: Kinds of what is said of a referral or a signal.
STEPS = (Kind.REFERRAL_UPDATE, Kind.NOTE)

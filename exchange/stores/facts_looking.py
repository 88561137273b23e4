"""What is looked up in the tables of a log's life, and what is done to single rows of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from exchange.domain.life import SignalFacts
from exchange.ops.transactions import all_rows, first_row
from exchange.ports import Doomed
from exchange.stores.facts_sayings import Sayings, first_place
from exchange.stores.referrals_taking import doomed_addressed, forget_addressed, note_addressed_gone

_COLUMNS = (
    "SELECT signal_id, idx, publisher, label, expires_at_ms, received_at_ms, directory_size, election, actioned_at_ms,"
    " audience, retracted_at, erased_at, replaced_at, CASE WHEN retracted_at IS NOT NULL THEN"
    " (SELECT endings.received_at_ms FROM endings WHERE endings.idx = retracted_at AND endings.signal_id = ?1) END,"
    " in_lag"
)
SIGNAL = f"{_COLUMNS} FROM signals JOIN statements USING (idx) WHERE signal_id = ?1"
#: Of one that nothing was said about: by its id and where it was said.
_UNTOUCHED = (
    f"{_COLUMNS} FROM (SELECT ?1 AS signal_id, ?2 AS idx, NULL AS retracted_at, NULL AS erased_at, NULL AS replaced_at)"
    " JOIN statements USING (idx)"
)
MEMBER_COLUMNS = "processed_through, acknowledged_at_ms, clock_offset_ms, clock_error_ms, quarantined_from, released_at"
_AUDIENCE = 9
#: Signals that are forgotten in one transaction: others that write wait no longer than that takes.
_FORGOTTEN_AT_ONCE = 2_000


def signal_of(row: tuple[Any, ...]) -> SignalFacts:
    """Return what a row of `SIGNAL` says."""
    names = [name for name in SignalFacts.__slots__ if name != "audience"]
    values = dict(zip(names, (*row[:_AUDIENCE], *row[_AUDIENCE + 1 : -1], bool(row[-1])), strict=True))
    audience: str | None = row[_AUDIENCE]
    return SignalFacts(**values, audience=None if audience is None else frozenset(audience.split()))


def doomed_in(connection: apsw.Connection, now_ms: int, limit: int) -> list[Doomed]:
    """Return entries whose records have to go: what is over, what was erased, and wherever that was said again."""
    over = all_rows(
        connection,
        "SELECT idx FROM statements WHERE gone = 0 AND expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?",
        (now_ms, limit),
    )
    erased = all_rows(
        connection,
        "SELECT signals.idx, endings.signal_id FROM endings JOIN signals USING (signal_id)"
        " WHERE erasure = 1 AND gone = 0 ORDER BY endings.idx LIMIT ?",
        (limit,),
    )
    again = all_rows(
        connection,
        "SELECT repeats.idx, repeats.signal_id FROM repeats JOIN signals USING (signal_id)"
        " JOIN statements ON statements.idx = signals.idx"
        " WHERE repeats.gone = 0 AND (erased_at IS NOT NULL OR expires_at_ms <= ?) ORDER BY repeats.idx LIMIT ?",
        (now_ms, limit),
    )
    asked: dict[int, set[bytes]] = {}
    for index, id_ in (*erased, *again):
        asked.setdefault(index, set()).add(id_)
    found = [Doomed(index, None) for (index,) in over]
    found += [Doomed(index, frozenset(ids)) for index, ids in asked.items()]
    return found + doomed_addressed(connection, limit)


def next_doom_ms(connection: apsw.Connection) -> float:
    """Return when the next records are over, wherever they were said; infinity where none are left to go."""
    first = all_rows(connection, "SELECT min(expires_at_ms) FROM statements WHERE gone = 0")
    again = all_rows(
        connection,
        "SELECT min(expires_at_ms) FROM repeats JOIN signals USING (signal_id)"
        " JOIN statements ON statements.idx = signals.idx WHERE repeats.gone = 0",
    )
    return min((at for ((at,),) in (first, again) if at is not None), default=math.inf)


def note_gone(connection: apsw.Connection, doomed: Sequence[Doomed]) -> None:
    """Note that these records are in no store any more."""
    for entry in doomed:
        if entry.signal_ids is None:
            connection.execute("UPDATE statements SET gone = 1 WHERE idx = ?", (entry.index,))
        note_addressed_gone(connection, entry)
        for id_ in entry.signal_ids or ():
            connection.execute("UPDATE repeats SET gone = 1 WHERE signal_id = ? AND idx = ?", (id_, entry.index))
            # What was said elsewhere goes by itself: an erasure is done where the first one's record is gone.
            connection.execute(
                "UPDATE endings SET gone = 1 WHERE erasure = 1 AND signal_id = ?"
                " AND (SELECT idx FROM signals WHERE signals.signal_id = endings.signal_id) = ?",
                (id_, entry.index),
            )


def facts_of(
    connection: apsw.Connection, ids: Sequence[bytes], newest: Mapping[bytes, Sequence[int]]
) -> dict[bytes, SignalFacts]:
    """Return what is known of these signals. ``newest`` are places that are not in the index (`Sayings.newest`)."""
    found: dict[bytes, SignalFacts] = {}
    for id_ in ids:
        row = first_row(connection, SIGNAL, (id_,))
        if row is None and (place := first_place(connection, id_, newest.get(id_, ()))) is not None:
            row = first_row(connection, _UNTOUCHED, (id_, place))
        if row is not None:
            found[id_] = signal_of(row)
    return found


def forget_some(connection: apsw.Connection, sayings: Sayings, below: int) -> int:
    """Forget some signals of entries below this index, and all that was said of them; return how many there were.

    All of them must be sorted in.
    """
    found = sayings.forget(below, _FORGOTTEN_AT_ONCE)
    # Where they were said again stays known: those do not become new ones.
    for table in ("endings", "dispositions", "opinions", "signals"):
        connection.executemany(f"DELETE FROM {table} WHERE signal_id = ?", [(id_,) for id_ in found])  # noqa: S608 - our own
    if len(found) < _FORGOTTEN_AT_ONCE:
        connection.execute("DELETE FROM statements WHERE idx < ?", (below,))
        connection.execute("DELETE FROM repeats WHERE idx < ?", (below,))
        forget_addressed(connection, below)
        connection.execute("DELETE FROM bare WHERE idx < ?", (below,))
        return 0
    return len(found)

"""What the tables of a log's life add up to: see `exchange.ports.Reports`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from exchange.domain.bodies import OpinionCategory
from exchange.domain.debts import Ending, Said
from exchange.domain.kinds import Kind
from exchange.domain.life import MemberFacts
from exchange.ops.transactions import all_rows
from exchange.ports import ActivityRow, LagRow, OpinionRow, Period
from exchange.stores.facts import FactsFile
from exchange.stores.facts_looking import MEMBER_COLUMNS

_FOREVER = 1 << 40


class FactsReports:
    """`Reports` of one log's facts."""

    def __init__(self, facts: FactsFile) -> None:
        """Read this file."""
        self._facts = facts

    async def endings(self, after: tuple[int, bytes], limit: int) -> Sequence[Ending]:
        """See `Reports.endings`."""
        query = (
            "SELECT idx, signal_id, erasure, reason, publisher, received_at_ms, directory_size, acknowledged"
            " FROM endings WHERE (idx, signal_id) > (?, ?) ORDER BY idx, signal_id LIMIT ?"
        )

        def job(connection: apsw.Connection) -> list[Ending]:
            rows = all_rows(connection, query, (*after, limit))
            return [_ending(*row) for row in rows]

        return await self._facts.reads(job)

    async def said(self, ids: Sequence[bytes]) -> Mapping[tuple[bytes, str], Said]:
        """See `Reports.said`."""
        query = (
            "SELECT member, idx, state, action, reason, matched_at_ms, actioned_at_ms, received_at_ms"
            " FROM dispositions WHERE signal_id = ?"
        )

        def job(connection: apsw.Connection) -> dict[tuple[bytes, str], Said]:
            found: dict[tuple[bytes, str], Said] = {}
            for id_ in ids:
                rows = all_rows(connection, query, (id_,))
                found.update(((id_, row[0]), Said(*row[1:])) for row in rows)
            return found

        return await self._facts.reads(job)

    async def opinions(self, id_: bytes) -> Sequence[OpinionRow]:
        """See `Reports.opinions`."""
        query = "SELECT member, category, reason, idx FROM opinions WHERE signal_id = ? ORDER BY member"

        def job(connection: apsw.Connection) -> list[OpinionRow]:
            return [OpinionRow(*row) for row in all_rows(connection, query, (id_,))]

        return await self._facts.reads(job)

    async def members(self) -> Mapping[str, MemberFacts]:
        """See `Reports.members`."""
        query = f"SELECT member, {MEMBER_COLUMNS} FROM members"  # noqa: S608 - our own

        def job(connection: apsw.Connection) -> dict[str, MemberFacts]:
            return {member: MemberFacts(*values) for member, *values in all_rows(connection, query)}

        return await self._facts.reads(job)

    async def disputed(self, member: str, by: int) -> tuple[int, int]:
        """See `Reports.disputed`."""
        disputed = (
            "SELECT count(*) FROM (SELECT signal_id FROM opinions JOIN signals USING (signal_id)"
            " JOIN statements ON statements.idx = signals.idx WHERE publisher = ? AND category = ?"
            " AND signals.idx >= (SELECT coalesce(max(released_at), 0) FROM members WHERE member = publisher)"
            " GROUP BY signal_id HAVING count(*) >= ?)"
        )
        said = "SELECT coalesce(sum(signals), 0) FROM activity WHERE member = ? AND kind = ?"

        def job(connection: apsw.Connection) -> tuple[int, int]:
            wrong = all_rows(connection, disputed, (member, OpinionCategory.NEGATIVE_CLASS, by))
            signals = all_rows(connection, said, (member, Kind.SIGNAL))
            counts: tuple[Any, Any] = (wrong[0][0], signals[0][0])
            return counts

        return await self._facts.reads(job)

    async def lag(self, period: Period, election: bytes) -> Sequence[LagRow]:
        """See `Reports.lag`."""
        query = (
            "SELECT stage, publisher, receiver, label, bucket, sum(count) FROM lag WHERE day BETWEEN ? AND ?"
            " AND (? = x'' OR election = ?) GROUP BY stage, publisher, receiver, label, bucket"
            " ORDER BY stage, publisher, receiver, label, bucket"
        )

        def job(connection: apsw.Connection) -> list[LagRow]:
            found: dict[tuple[int, str, str, int], list[int]] = {}
            for *key, bucket, count in all_rows(connection, query, (*_days(period), election, election)):
                stage, publisher, receiver, label = key
                counts = found.setdefault((stage, publisher, receiver, label), [])
                counts.extend([0] * (bucket + 1 - len(counts)))
                counts[bucket] = count
            return [LagRow(*key, tuple(counts)) for key, counts in found.items()]

        return await self._facts.reads(job)

    async def activity(self, period: Period, election: bytes) -> Sequence[ActivityRow]:
        """See `Reports.activity`."""
        query = (
            "SELECT member, kind, label, sum(statements), sum(signals) FROM activity WHERE day BETWEEN ? AND ?"
            " AND (? = x'' OR election = ?) GROUP BY member, kind, label ORDER BY member, kind, label"
        )

        def job(connection: apsw.Connection) -> list[ActivityRow]:
            return [ActivityRow(*row) for row in all_rows(connection, query, (*_days(period), election, election))]

        return await self._facts.reads(job)


def _ending(
    index: int, id_: bytes, erasure: int, reason: int, by: str, at_ms: int, directory_size: int, told: str | None
) -> Ending:
    acknowledged = None if told is None else frozenset(told.split())
    return Ending(index, id_, bool(erasure), reason, by, at_ms, directory_size, acknowledged)


def _days(period: Period) -> tuple[int, int]:
    return period.from_day, period.to_day or _FOREVER

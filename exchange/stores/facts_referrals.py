"""`Referrals` of one log's facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from exchange.domain.addressed import ReferralState
from exchange.domain.kinds import Kind
from exchange.domain.referral_facts import AddressedFacts, ReferralFacts, SaidBy
from exchange.ops.transactions import all_rows, first_row
from exchange.ports import SaidOf
from exchange.stores.facts import FactsFile
from exchange.stores.referrals_taking import REFERRAL, STEPS, facts_of

#: Of one referral or signal: more than the rules let anybody say.
_MOST_SAID = 1_000


class FactsReferrals:
    """See `Referrals`."""

    def __init__(self, facts: FactsFile) -> None:
        """Read this file."""
        self._file = facts

    @property
    def facts(self) -> AddressedFacts:
        """See `Referrals.facts`."""
        return AddressedFacts(self._said, self._referral, self._opinions, self._notes, self._erased)

    def _said(self, ids: Sequence[bytes]) -> Mapping[bytes, SaidBy]:
        # Also what has been lost: else nobody could have it erased, and it would come back.
        query = (
            "SELECT publisher, kind FROM addressed WHERE id = ?1 AND erased_at IS NULL"
            " UNION ALL SELECT publisher, kind FROM bare WHERE id = ?1 AND id != x''"
            " AND NOT EXISTS (SELECT 1 FROM tombs WHERE tombs.id = ?1) LIMIT 1"
        )

        def job(connection: apsw.Connection) -> dict[bytes, SaidBy]:
            return {id_: SaidBy(*row) for id_ in ids for row in all_rows(connection, query, (id_,))}

        return self._file.looks(job)

    def _erased(self, ids: Sequence[bytes]) -> bool:
        query = "SELECT 1 FROM tombs WHERE id = ?"

        def job(connection: apsw.Connection) -> bool:
            return any(first_row(connection, query, (id_,)) for id_ in ids)

        return self._file.looks(job)

    def _referral(self, id_: bytes) -> ReferralFacts | None:
        def job(connection: apsw.Connection) -> ReferralFacts | None:
            row = first_row(connection, f"{REFERRAL} WHERE id = ?", (id_,))
            return None if row is None else facts_of(row)

        return self._file.looks(job)

    def _opinions(self, signal_id: bytes) -> Mapping[str, int]:
        query = "SELECT member, category FROM opinions WHERE signal_id = ?"

        def job(connection: apsw.Connection) -> dict[str, int]:
            rows = all_rows(connection, query, (signal_id,))
            return dict(rows)

        return self._file.looks(job)

    def _notes(self, target: bytes) -> int:
        query = "SELECT count(*) FROM addressed WHERE target = ? AND kind = ? AND counts = 1 AND erased_at IS NULL"

        def job(connection: apsw.Connection) -> int:
            rows = all_rows(connection, query, (target, Kind.NOTE))
            return int(rows[0][0])

        return self._file.looks(job)

    async def of(self, member: str, before: int, limit: int) -> Sequence[ReferralFacts]:
        """See `Referrals.of`."""
        query = (
            f"SELECT * FROM ({REFERRAL} WHERE publisher = ? AND idx < ? ORDER BY idx DESC LIMIT ?)"  # noqa: S608 - our own
            f" UNION SELECT * FROM ({REFERRAL} WHERE authority = ? AND idx < ? ORDER BY idx DESC LIMIT ?)"
            " ORDER BY idx DESC LIMIT ?"
        )

        def job(connection: apsw.Connection) -> list[ReferralFacts]:
            found = all_rows(connection, query, (member, before, limit, member, before, limit, limit))
            return [facts_of(row) for row in found]

        return await self._file.reads(job)

    async def said_of(self, target: bytes) -> Sequence[SaidOf]:
        """See `Referrals.said_of`."""
        query = (
            "SELECT id, idx, kind, publisher, received_at_ms, audience FROM addressed"
            " WHERE target = ? AND kind IN (?, ?) AND counts = 1 AND erased_at IS NULL ORDER BY idx LIMIT ?"
        )

        def job(connection: apsw.Connection) -> list[SaidOf]:
            rows = all_rows(connection, query, (target, *STEPS, _MOST_SAID))
            return [
                SaidOf(id_, index, kind, publisher, at_ms, frozenset(audience.split()))
                for id_, index, kind, publisher, at_ms, audience in rows
            ]

        return await self._file.reads(job)

    def counts(self, now_ms: int) -> tuple[int, int]:
        """See `Referrals.counts`."""
        query = "SELECT count(*), coalesce(sum(due_ms > 0 AND due_ms < ?), 0) FROM referrals WHERE state != ?"

        def job(connection: apsw.Connection) -> tuple[int, int]:
            rows = all_rows(connection, query, (now_ms, ReferralState.CLOSED))
            ((still_open, overdue),) = rows
            return int(still_open), int(overdue)

        return self._file.looks(job)

"""What the tables of a log's life add up to for a progress report: counts of signals, never a single one.

Of opinions and dispositions the last one of each member on each signal counts, as ever. ``since`` is the index of the
first entry of the period; what came behind its end was never taken into the file.
"""

from __future__ import annotations

from typing import Any

import apsw

from exchange.domain.bodies import OpinionCategory
from exchange.stores.facts import FactsFile

_OF_SIGNAL = " JOIN signals USING (signal_id) JOIN statements ON statements.idx = signals.idx"
_WANTED = " >= ? AND (? = x'' OR statements.election = ?)"


class FactsFigures:
    """Figures of one log's facts; of signals that name an election, or (empty) of all."""

    def __init__(self, facts: FactsFile) -> None:
        """Read this file."""
        self._facts = facts

    async def dispositions(self, since: int, election: bytes) -> dict[tuple[int, int], int]:
        """Return how many signals members did what with, by state and action."""
        query = (
            f"SELECT state, action, count(*) FROM dispositions{_OF_SIGNAL} WHERE dispositions.idx{_WANTED}"  # noqa: S608 - our own
            " GROUP BY state, action"
        )
        return {(state, action): count for state, action, count in await self._rows(query, since, election)}

    async def endings(self, since: int, election: bytes) -> dict[tuple[bool, int], int]:
        """Return how many signals were taken back, or erased (True), by reason."""
        query = (
            f"SELECT erasure, reason, count(*) FROM endings{_OF_SIGNAL} WHERE endings.idx{_WANTED}"  # noqa: S608 - our own
            " GROUP BY erasure, reason"
        )
        return {(bool(erasure), reason): count for erasure, reason, count in await self._rows(query, since, election)}

    async def disputed(self, since: int, election: bytes) -> dict[str, int]:
        """Return how many signals of each publisher another member calls wrong."""
        query = (
            f"SELECT publisher, count(DISTINCT opinions.signal_id) FROM opinions{_OF_SIGNAL}"  # noqa: S608 - our own
            f" WHERE opinions.idx{_WANTED} AND category = {int(OpinionCategory.NEGATIVE_CLASS)} GROUP BY publisher"
        )
        return {publisher: count for publisher, count in await self._rows(query, since, election)}  # noqa: C416 - typed

    async def _rows(self, query: str, since: int, election: bytes) -> list[tuple[Any, ...]]:
        def job(connection: apsw.Connection) -> list[tuple[Any, ...]]:
            return list(connection.execute(query, (since, election, election)))

        return await self._facts.reads(job)

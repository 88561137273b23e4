"""Telling each community, once a day, how many evaluations its members have used: rounded, on the ledger.

A day is noted as told after its statement is in the ledger. A crash between the two tells it again; the first counts.
"""

from __future__ import annotations

from collections.abc import Collection

from exchange.domain.bodies import Budget, BudgetTotal
from exchange.domain.validation import DAY_MS
from exchange.pseudonyms.budget import BudgetBook, Budgets
from exchange.pseudonyms.ledgers import Ledgers

#: Days that are told at once after the service was away; what lies further back is not told any more.
MOST_DAYS = 31
#: After midnight: the hub refuses a day that is not over by its own clock, which may be so far behind.
GRACE_MS = 300_000


class DayTotals:
    """Tells the totals of days that are over."""

    def __init__(self, ledgers: Ledgers, budgets: Budgets, book: BudgetBook) -> None:
        """``book`` remembers what was told."""
        self._ledgers = ledgers
        self._budgets = budgets
        self._book = book

    async def tell(self, origin: str, members: Collection[str], now_ms: int) -> list[int]:
        """Tell a community what is due, of these members of its; return the days told. Raises `ExchangeError`."""
        last = (now_ms - GRACE_MS) // DAY_MS - 1
        told = await self._book.told_through(origin)
        first = last - MOST_DAYS + 1 if told is None else max(told + 1, last - MOST_DAYS + 1)
        said = []
        for day in range(first, last + 1):
            used = await self._budgets.rounded_totals(day)
            totals = sorted((member, epoch, count) for (epoch, member), count in used.items() if member in members)
            if totals:
                await self._ledgers.say(origin, Budget(day, tuple(BudgetTotal(*total) for total in totals)))
                said.append(day)
            await self._book.note_told(origin, day)
        return said

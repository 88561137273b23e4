"""How many evaluations a member may ask for, so that a key that nobody can copy is no dictionary either.

Once an epoch a member may index its own accounts: as many evaluations as it has declared users. Besides it gets a daily
increment, which does not pile up beyond `HELD_DAYS`. Both are counted for each epoch.

Evaluations are reserved in blocks, durably, *before* any is made: a crash can waste part of a block, and never gives
one back. What a member has used is told rounded up, by `ROUNDED_TO` a day, so that a total says little of its users.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from exchange.domain.validation import DAY_MS
from exchange.errors import OverQuota

#: Evaluations reserved at once: one durable write for so many.
BLOCK = 1_000
#: A restart wastes the rest of a block: at most one such part of what a member has left.
PARTS = 10
#: Days of the increment that may be saved up.
HELD_DAYS = 7
ROUNDED_TO = 1_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What a member may use of an epoch."""

    #: Accounts that it has declared, to be indexed once.
    users: int
    #: Evaluations a day besides.
    daily: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """What is reserved of an epoch for one member, as it stands on disk."""

    #: Of the declared users.
    users: int = 0
    #: Of the increments, and the day (since 1970, UTC) up to which increments have been counted.
    daily_left: int = 0
    day: int = 0


class BudgetBook(Protocol):
    """Remembers, durably, what has been reserved."""

    async def read(self, epoch: int, member: str) -> Reserved | None:
        """Return what is reserved; None for a member that has asked for nothing yet."""
        ...

    async def write(self, epoch: int, member: str, reserved: Reserved, *, day: int, count: int) -> None:
        """Replace what is reserved, and add ``count`` to the member's total of this day; durable on return."""
        ...

    async def totals(self, day: int) -> dict[tuple[int, str], int]:
        """Return what was reserved on a day, by epoch and member."""
        ...

    async def told_through(self, origin: str) -> int | None:
        """Return the last day whose totals a community's ledger has; None when it was told of none."""
        ...

    async def note_told(self, origin: str, day: int) -> None:
        """Note that a community's ledger has the totals up to this day; durable on return."""
        ...


class Budgets:
    """The budgets of all members."""

    def __init__(self, book: BudgetBook, terms: Callable[[str], Terms], now_ms: Callable[[], int]) -> None:
        """``terms`` are those of a member at present; ``now_ms`` is the wall clock."""
        self._book = book
        self._terms = terms
        self._now_ms = now_ms
        #: Of blocks that are reserved on disk: what is not used yet.
        self._loose: defaultdict[tuple[int, str], int] = defaultdict(int)
        #: What could be reserved besides, when it was last looked at.
        self._rest: defaultdict[tuple[int, str], int] = defaultdict(int)
        #: One call at a time for each: else two would reserve the same block.
        self._turns: defaultdict[tuple[int, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(self, epoch: int, member: str, count: int) -> int:
        """Reserve so many evaluations; return how many are left today.

        Raises `OverQuota`, with nothing taken, when the member has not so many left. Whoever stops waiting has taken
        them, and no more than them: a block that is being reserved is not lost.
        """
        return await asyncio.shield(asyncio.ensure_future(self._take(epoch, member, count)))

    async def _take(self, epoch: int, member: str, count: int) -> int:
        async with self._turns[epoch, member]:
            missing = count - self._loose[epoch, member]
            if missing > 0:
                self._loose[epoch, member] += await self._reserve(epoch, member, missing)
            self._loose[epoch, member] -= count
            return self._loose[epoch, member] + self._rest[epoch, member]

    async def _reserve(self, epoch: int, member: str, least: int) -> int:
        """Reserve a block, a smaller one of a small budget, or ``least`` where that is more. Return its size."""
        today = self._now_ms() // DAY_MS
        terms = self._terms(member)
        before = self._grown(await self._book.read(epoch, member), terms, today)
        users_left = max(0, terms.users - before.users)
        available = users_left + before.daily_left
        if available < least:
            raise OverQuota(
                "this member has used up its evaluations", retry_after_ms=(today + 1) * DAY_MS - self._now_ms()
            )
        size = max(least, min(BLOCK, available // PARTS))
        of_users = min(size, users_left)
        after = Reserved(before.users + of_users, before.daily_left - (size - of_users), before.day)
        await self._book.write(epoch, member, after, day=today, count=size)
        self._rest[epoch, member] = available - size
        return size

    @staticmethod
    def _grown(reserved: Reserved | None, terms: Terms, today: int) -> Reserved:
        """Add the increments of the days since. A clock that went back adds none, and takes none away."""
        if reserved is None:
            return Reserved(0, terms.daily, today)
        days = max(0, today - reserved.day)
        left = min(reserved.daily_left + days * terms.daily, HELD_DAYS * terms.daily)
        return Reserved(reserved.users, left, max(today, reserved.day))

    async def rounded_totals(self, day: int) -> dict[tuple[int, str], int]:
        """Return what each member reserved on a day (since 1970, UTC), rounded up."""
        totals = await self._book.totals(day)
        return {key: -(-count // ROUNDED_TO) * ROUNDED_TO for key, count in totals.items() if count}

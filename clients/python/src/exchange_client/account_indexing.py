"""Bringing a platform's accounts into its indices: batches under way side by side, each kept as soon as it is made.

What must stay true: what has been evaluated is paid for, so whatever ends the work, unless it is cancelled, what was
sent is waited for and kept; an account that is there is not sent again; memory does not grow with the accounts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from exchange.errors import OverQuota
from exchange.normal.accounts import Account
from exchange_client.pseudonyms import BATCH, UNDER_WAY


@dataclass(frozen=True, slots=True)
class Own:
    """One of a platform's accounts: its own reference, opaque to everyone else, and one identifier of it."""

    reference: str
    account: Account


@dataclass(frozen=True, slots=True)
class Progress:
    """How far indexing has come."""

    #: Identifiers that are settled: there already, evaluated now, or left.
    read: int = 0
    #: Evaluations, in all indices together.
    evaluated: int = 0
    #: Evaluations that are still to be made, for lack of budget.
    left: int = 0


class Index(Protocol):
    """What accounts are brought into."""

    async def missing(self, accounts: Sequence[Own]) -> list[Own]:
        """Return which of these are not there yet."""
        ...

    async def insert(self, accounts: Sequence[Own]) -> None:
        """Have these evaluated, and keep them durably."""
        ...


async def index_accounts(
    indexes: Sequence[Index], accounts: AsyncIterable[Own], progress: Callable[[Progress], None]
) -> Progress:
    """Bring accounts into each of these indices, where they are not yet; ``progress`` hears of what is on disk.

    When the budget of one is used up, all that is left for it is counted, behind which `OverQuota` is raised. Anything
    else that goes wrong is raised at once, as `Pseudonyms.of` raises it. The next call goes on from what is there.
    """
    work = _Indexing(indexes, progress)
    under_way: set[asyncio.Task[None]] = set()
    try:
        async with aclosing(_batches(accounts)) as batches:
            async for batch in batches:
                if len(under_way) == UNDER_WAY:
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                under_way.add(asyncio.create_task(work.settle(batch)))
        await asyncio.gather(*under_way)
    except asyncio.CancelledError:
        for task in under_way:
            task.cancel()
        raise
    finally:
        await asyncio.gather(*under_way, return_exceptions=True)
    if work.over is not None:
        raise work.over
    return work.progress


class _Indexing:
    def __init__(self, indexes: Sequence[Index], told: Callable[[Progress], None]) -> None:
        self._indexes = indexes
        self._told = told
        #: Those whose budget is used up: nothing more is sent for them.
        self._without_budget: set[int] = set()
        self.over: OverQuota | None = None
        self.progress = Progress()

    async def settle(self, batch: Sequence[Own]) -> None:
        evaluated = left = 0
        for place, index in enumerate(self._indexes):
            missing = await index.missing(batch)
            inserted = await self._insert(place, missing) if missing else 0
            evaluated, left = evaluated + inserted, left + len(missing) - inserted
        before = self.progress
        self.progress = Progress(before.read + len(batch), before.evaluated + evaluated, before.left + left)
        self._told(self.progress)

    async def _insert(self, place: int, missing: Sequence[Own]) -> int:
        """Insert as many of these as the budget gives, and return how many: it may be too small for all at once."""
        if place in self._without_budget:
            return 0
        try:
            await self._indexes[place].insert(missing)
        except OverQuota as error:
            if len(missing) > 1:
                half = len(missing) // 2
                return await self._insert(place, missing[:half]) + await self._insert(place, missing[half:])
            self._without_budget.add(place)
            self.over = error
            return 0
        return len(missing)


async def _batches(accounts: AsyncIterable[Own]) -> AsyncGenerator[list[Own], None]:
    batch: list[Own] = []
    async for own in accounts:
        batch.append(own)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch

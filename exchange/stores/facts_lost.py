"""`exchange.views.lost.Lost` of one log's facts: which entries are bare, and what has come back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from exchange.ops.transactions import first_row
from exchange.ports import ToldEntry
from exchange.stores import facts_bare
from exchange.stores.facts import FactsFile


class FactsLost:
    """See `Lost`."""

    def __init__(self, facts: FactsFile, now_ms: Callable[[], int]) -> None:
        """Read and change this file; what is over by this clock is not lost."""
        self._file = facts
        self._now_ms = now_ms

    def is_bare(self, index: int) -> bool:
        """See `Lost.is_bare`."""
        query = "SELECT 1 FROM bare WHERE idx = ?"
        return self._file.looks(lambda file: first_row(file, query, (index,)) is not None)

    def is_erased(self, ids: Collection[bytes]) -> bool:
        """See `Lost.is_erased`."""
        return self._file.looks(partial(facts_bare.is_erased, ids=ids))

    async def bare(self) -> Sequence[int]:
        """See `Lost.bare`."""
        return await self._file.writes(partial(facts_bare.bare_in, now_ms=self._now_ms()))

    async def of(self, publisher: str, start: int, limit: int) -> tuple[Sequence[int], int]:
        """Look at so many of a publisher's bare entries, from an index on: return the lost ones, and where to look on.

        That is zero where these were all; before that there may be none among those that were looked at.
        """
        now_ms = self._now_ms()
        return await self._file.reads(lambda file: facts_bare.lost_in(file, publisher, start, limit, now_ms=now_ms))

    async def newest_whole(self) -> int | None:
        """See `Lost.newest_whole`."""
        await self._file.sort()
        return await self._file.reads(partial(facts_bare.newest_whole_in, now_ms=self._now_ms()))

    def is_whole(self, index: int) -> bool:
        """See `Lost.is_whole`."""
        return self._file.looks(partial(facts_bare.is_whole, index=index, now_ms=self._now_ms()))

    async def said_of(self, target: bytes) -> Sequence[int]:
        """See `Lost.said_of`."""
        return await self._file.reads(partial(facts_bare.said_of, target=target))

    async def take_back(self, entry: ToldEntry) -> None:
        """See `Lost.take_back`."""
        await self._file.writes(partial(facts_bare.take_back, entry=entry))

    async def take_again(self, target: bytes, entries: Sequence[ToldEntry]) -> bool:
        """See `Lost.take_again`."""
        return await self._file.writes(partial(facts_bare.take_again, target=target, entries=entries))

"""Taking a long log into a `FactsFile` in a process beside: it needs no turn of the loop, and has a core for itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from exchange.ledger.merkle import CompactRange
from exchange.ops.child_process import ChildProcess
from exchange.stores.facts import FactsFile
from exchange.stores.facts_page import Page, pack

#: A page takes a twentieth of a second, and a commit a second or two; a disk may be slow, and a machine full.
_ANSWER_S = 120.0
_log = structlog.get_logger()


class FactsBeside:
    """See `exchange.views.making.Making`. Use `beside`."""

    def __init__(self, facts: FactsFile, child: ChildProcess) -> None:
        """Use `beside`."""
        self._facts = facts
        self.child = child
        self._next = facts.place().size

    async def take(self, entries: Sequence[tuple[bytes, bytes]], place: CompactRange | None) -> bool:
        """See `exchange.views.making.Making.take`."""
        await self.child.ask(pack(Page(self._next, entries, place)), within_s=_ANSWER_S)
        self._next += len(entries)
        if self.child.given_up:
            _log.warning("fold_process_given_up", error=repr(self.child.failure))
        elif place is not None:
            await self._facts.reread(place_alone=True)
        return not self.child.given_up


@asynccontextmanager
async def beside(facts: FactsFile, turn: asyncio.Lock) -> AsyncIterator[FactsBeside]:
    """Have a process for as long as the block lasts. Nobody else may take entries meanwhile.

    Whoever has the ``turn`` has one: so a hub has one at a time. What it took is in the fold afterwards, however it
    ended: the file is asked once nobody can write to it any more.
    """
    async with turn:
        child = ChildProcess("exchange.stores.facts_worker")
        try:
            await facts.lend()
            await child.ask(b"%d %s" % (facts.most_newest, os.fsencode(facts.path.absolute())))
            yield FactsBeside(facts, child)
        finally:
            await child.aclose()
            await facts.reread()

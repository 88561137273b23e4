"""A community's log in memory, and the view that follows it into a real file of facts: what the view's tests stand on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

from msgspec import structs

from exchange import codec
from exchange.domain.statement import Leaf, Statement, statement_id
from exchange.errors import Unavailable
from exchange.ledger.merkle import leaf_hash
from exchange.ports import StoredEntry
from exchange.stores.backup.frames import bare_frame
from exchange.stores.facts import FactsFile
from exchange.stores.facts_lost import FactsLost
from exchange.stores.facts_referrals import FactsReferrals
from exchange.stores.facts_schema import remove_file
from exchange.views.just_said import JustSaid
from exchange.views.life import LifeView
from exchange.views.making import Making
from tests.contract.builders import Chain, seal
from tests.contract.memory_store import MemoryStore
from tests.unit.builders import NOW_MS, pdq_record, signal_statement
from tests.unit.views.directory_log import Clock

DEADLINE_S = 20.0


def entry(index: int, statement: Statement) -> StoredEntry:
    """Return a statement as it is stored."""
    leaf = codec.encode_leaf(Leaf(index, NOW_MS + index, False, 9, statement.payload, statement.signatures))
    frame = codec.full_frame(leaf, statement.records, statement.audience_record)
    return StoredEntry(index, statement_id(statement.payload), leaf_hash(leaf), NOW_MS + index, frame)


def a_signal(name: str, **changes: object) -> Statement:
    """Return a signal about one photograph."""
    return signal_statement(records=[pdq_record(name)], seed=name, **changes).statement  # type: ignore[arg-type]


def ids_of(statement: Statement) -> tuple[bytes, ...]:
    return codec.decode_header(statement.payload, strict=True).signal_ids


class CountingStore(MemoryStore):
    """Remembers which entries were read, and what was done in which order."""

    def __init__(self) -> None:
        super().__init__(read_at_most=50)
        self.read_indices: set[int] = set()
        self.done: list[str] = []

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        found = await super().read(start, limit)
        self.read_indices.update(each.index for each in found)
        return found

    async def erase(self, frames: Mapping[int, bytes]) -> None:
        await super().erase(frames)
        self.done.append(f"store {sorted(frames)}")

    async def put_back(self, index: int, was: bytes, frame: bytes) -> None:
        await super().put_back(index, was, frame)
        self.done.append(f"back {index}")


class Community:
    """A community's log, and what follows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = CountingStore()
        self.chain = Chain()
        self.now_ms = NOW_MS
        self.facts: FactsFile
        #: What follows it; it ends with what is wrong with the log.
        self.run: asyncio.Task[None]
        self.lost: FactsLost

    async def say(self, *statements: Statement) -> None:
        """Commit statements as one group."""
        grown, group = self.chain.grow_by(
            tuple(entry(self.chain.size + at, each) for at, each in enumerate(statements))
        )
        await self.store.append(self.chain.head, group)
        await seal(self.store, grown.head)
        self.chain = grown

    def lose(self, start: int, *, fold: bool = True) -> None:
        """Leave of each entry from an index on what somebody's leaves give back; the ``fold`` is lost with the store."""
        entries = self.store._disk.entries
        for index in range(start, len(entries)):
            entries[index] = structs.replace(entries[index], frame=bare_frame(codec.frame_leaf(entries[index].frame)))
        if fold:
            remove_file(self.folder / "life")

    def frames(self) -> list[bytes]:
        """Return what the store holds."""
        return [each.frame for each in self.store._disk.entries]

    @asynccontextmanager
    async def following(
        self,
        just_said: JustSaid | None = None,
        *,
        making: Callable[[FactsFile], AbstractAsyncContextManager[Making]] | None = None,
    ) -> AsyncIterator[LifeView]:
        """Run the view for as long as the block lasts."""
        facts = self.facts = await FactsFile.open(self.folder / "life")
        self.lost = FactsLost(facts, lambda: self.now_ms)
        view = LifeView(
            self.store,
            self.store,
            facts,
            Clock(),
            just_said=just_said,
            addressed=FactsReferrals(facts).facts,
            lost=self.lost,
            making=None if making is None else lambda: making(facts),
        )
        task = self.run = asyncio.create_task(_follow(view))
        try:
            yield view
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.facts.aclose()


async def _follow(view: LifeView) -> None:
    """Run it as a hub does: again where it says later."""
    while True:
        with suppress(Unavailable):
            await view.run()
        await asyncio.sleep(0.001)


async def caught_up(view: LifeView, size: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await view.reached(size)
                view.current()
            except Unavailable:
                await asyncio.sleep(0.01)
            else:
                return

"""The load that runs across every fault, and its own record of what it was told.

One publisher of the SDK with its outbox, four loops wide, and two verifying subscribers. What they were told is
written down here as it comes, and held at the end against the hub's files: nothing of the hub is asked for the truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from exchange.codec import decode_leaf
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.note import Verifier
from exchange_client import ExchangeClient
from exchange_client.publisher import Publisher
from tests.e2e.exchange_fixture import UK, Exchange
from tests.e2e.sdk_clients import a_signal, client_config

LOOPS = 4
#: Between a loop's receipt and its next signal: a platform that has something to say all the time, not a flood.
PAUSE_S = 0.01
DEADLINE_S = 45.0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One verified receipt, as it came."""

    at_s: float
    index: int
    leaf: bytes
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """One verified delivery, as it came."""

    index: int
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Tally:
    """What a fault cost. All but the first and the last must be 0."""

    acknowledged: int
    #: Acknowledged, and not at their place in the files.
    lost: int
    #: Signed roots that are not the root of the entries in the files, and delivered leaves that are not theirs.
    forks: int
    #: Entries that a subscriber never got.
    gaps: int
    #: Entries that a subscriber got twice or out of order, and statements with two places.
    duplicates: int
    #: Between two receipts in a row.
    longest_gap_ms: int

    @property
    def clean(self) -> bool:
        """Whether the fault cost nothing but time."""
        return self.acknowledged > 0 and not (self.lost or self.forks or self.gaps or self.duplicates)


class Load:
    """Publisher and subscribers at work. Use `running`."""

    def __init__(self, start: int) -> None:
        #: Where the subscribers begin.
        self._start = start
        self.acknowledged: list[Acknowledged] = []
        self.heard: dict[str, list[Heard]] = {}
        self._news = asyncio.Event()
        self._stop = asyncio.Event()
        #: Whether something new may be said.
        self._speak = asyncio.Event()
        self._speak.set()
        self._speaking = 0
        self._loops: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, exchange: Exchange, *ports: int, folder: Path, start: int = 0) -> AsyncIterator[Load]:
        """Keep publishing and listening for the length of a ``with`` block; the hubs must be up at its start.

        Where there are several, each has a publisher that begins there, and a subscriber.
        """
        load = cls(start)
        turned = [tuple(f"localhost:{port}" for port in (*ports[at:], *ports[:at])) for at in range(len(ports))]

        def client(member: str, at: int, name: str) -> ExchangeClient:
            first = turned[at % len(turned)]
            return ExchangeClient(client_config(exchange, 0, member, folder / name, addresses=first))

        async with AsyncExitStack() as clients:
            for at, member in enumerate(("beta", "gamma")):
                reader = await clients.enter_async_context(client(member, at, member))
                load._tasks.append(asyncio.create_task(load._listen(reader, load.heard.setdefault(member, []))))
            for at, member in enumerate(("alpha", "beta")[: len(ports)]):
                speaker = await clients.enter_async_context(client(member, at, f"{member}-speaks"))
                publisher = await clients.enter_async_context(speaker.publisher(UK))
                load._loops += [asyncio.create_task(load._publish(publisher)) for _ in range(LOOPS)]
            load._tasks += load._loops
            for task in load._tasks:
                task.add_done_callback(lambda _: load._news.set())
            try:
                yield load
            finally:
                for task in load._tasks:
                    task.cancel()
                await asyncio.gather(*load._tasks, return_exceptions=True)

    async def _publish(self, publisher: Publisher) -> None:
        while not self._stop.is_set():
            await self._speak.wait()
            self._speaking += 1
            (outcome,) = await publisher.publish([a_signal()])
            self._speaking -= 1
            assert outcome.receipt is not None, f"the load was refused: {outcome.error}"
            receipt = outcome.receipt
            self.acknowledged.append(Acknowledged(time.monotonic(), receipt.index, receipt.leaf, receipt.checkpoint))
            self._news.set()
            await asyncio.sleep(PAUSE_S)

    async def _listen(self, client: ExchangeClient, heard: list[Heard]) -> None:
        async with contextlib.aclosing(client.subscribe(UK, cursor=self._start)) as stream:
            async for delivery in stream:
                heard.append(Heard(delivery.index, delivery.leaf))
                self._news.set()

    async def until(self, happened: Callable[[], bool], *, timeout_s: float = DEADLINE_S, every_s: float = 1.0) -> None:
        """Return when something has happened, looking at each piece of news and ever so often.

        Raises what the load died of, and TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while not happened():
                for task in self._tasks:
                    if task.done():
                        task.result()
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), every_s)

    async def more(self, count: int) -> None:
        """Return when so many further statements have been acknowledged."""
        wanted = len(self.acknowledged) + count
        await self.until(lambda: len(self.acknowledged) >= wanted)

    async def finish(self) -> None:
        """Say nothing new; return when all that was said is acknowledged, and heard by everyone."""
        self._stop.set()
        await self.until(lambda: all(task.done() for task in self._loops))
        await self._all_heard()

    async def _all_heard(self) -> None:
        size = 1 + max(each.index for each in self.acknowledged)
        await self.until(lambda: all(heard and heard[-1].index >= size - 1 for heard in self.heard.values()))

    @asynccontextmanager
    async def rest(self) -> AsyncIterator[None]:
        """Say nothing new for the length of a block; at its start, all that was said is acknowledged and heard."""
        self._speak.clear()
        try:
            await self.until(lambda: not self._speaking)
            await self._all_heard()
            yield
        finally:
            self._speak.set()

    def tally(self, leaves: Sequence[bytes], notes: Sequence[bytes], verifier: Verifier) -> Tally:
        """Hold everything that was told against the leaves in the hub's files; ``notes`` are further checkpoints."""
        lost = sum(leaves[each.index : each.index + 1] != [each.leaf] for each in self.acknowledged)
        indices = [each.index for each in self.acknowledged]
        twice = len(indices) - len(set(indices)) + len(leaves) - len(set(map(_without_place, leaves)))
        others = gaps = 0
        for heard in self.heard.values():
            seen = [each.index for each in heard]
            gaps += len(set(range(self._start, len(leaves))) - set(seen))
            twice += sum(after <= before for before, after in pairwise(seen))
            others += sum(leaves[each.index : each.index + 1] != [each.leaf] for each in heard)
        times = [each.at_s for each in self.acknowledged]
        return Tally(
            acknowledged=len(self.acknowledged),
            lost=lost,
            forks=others + _forks([*(each.checkpoint for each in self.acknowledged), *notes], leaves, verifier),
            gaps=gaps,
            duplicates=twice,
            longest_gap_ms=round(1000 * max((b - a for a, b in pairwise(times)), default=0.0)),
        )


def _without_place(leaf: bytes) -> bytes:
    return decode_leaf(leaf).payload


def _forks(notes: Sequence[bytes], leaves: Sequence[bytes], verifier: Verifier) -> int:
    """Return how many signed (size, root) pairs are not of the tree over these leaves."""
    wanted = {(each.size, each.root) for each in (open_checkpoint(note, verifier) for note in set(notes))}
    found = set()
    tree = CompactRange()
    for leaf in (None, *leaves):
        if leaf is not None:
            tree = tree.extend([leaf_hash(leaf)])
        found.add((tree.size, tree.root()))
    return len(wanted - found)

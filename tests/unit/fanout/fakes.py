"""A log to read from and a subscriber to read it with: entries of real statements, and feed messages taken apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from exchange import codec
from exchange.codec import Delivered
from exchange.domain.policy import Sight
from exchange.domain.statement import Leaf, statement_id
from exchange.errors import ExchangeError
from exchange.fanout.feed import Feed, Filter
from exchange.fanout.tail import RING_BYTES, Tail
from exchange.ledger.merkle import leaf_hash
from exchange.ports import StoredEntry
from exchange.v1 import feed_pb2 as pb
from tests.contract.builders import Chain, checkpoint
from tests.contract.memory_store import Disk, MemoryStore
from tests.unit.builders import BETA, NOW_MS, Actor, Said, signal_statement

#: Nothing here waits for anything but itself: whoever waits so long waits for ever.
DEADLINE_S = 5.0
#: Longer than the deadline: nobody lives on heartbeats.
NO_HEARTBEAT_S = 60.0


class Wire:
    """The small parts of feed messages, as the servicer makes them."""

    def checkpoint(self, note: bytes) -> bytes:
        return pb.SubscribeResponse(checkpoint=note).SerializeToString()

    def heartbeat(self, sealed_size: int) -> bytes:
        return pb.SubscribeResponse(heartbeat=pb.Heartbeat(sealed_size=sealed_size)).SerializeToString()

    def draining(self, cursor: int) -> bytes:
        return pb.SubscribeResponse(draining=pb.Draining(cursor=cursor)).SerializeToString()

    def probe(self, state: bytes) -> bytes:
        return pb.SubscribeResponse(probe=pb.ProbeEcho(state=state)).SerializeToString()


def entry_of(said: Said, index: int) -> StoredEntry:
    """Return a statement as the store holds it."""
    statement = said.statement
    leaf = codec.encode_leaf(Leaf(index, NOW_MS, False, 1, statement.payload, statement.signatures))
    frame = codec.full_frame(leaf, statement.records, statement.audience_record)
    return StoredEntry(index, statement_id(statement.payload), leaf_hash(leaf), NOW_MS, frame)


@dataclass
class Shelf:
    """A log that grows when told to."""

    store: MemoryStore
    chain: Chain = field(default_factory=Chain)
    #: The signed checkpoint of each sealed size.
    notes: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def new(cls, *, read_at_most: int = 1_000) -> Shelf:
        return cls(MemoryStore(Disk(), read_at_most=read_at_most))

    @property
    def leaves(self) -> list[bytes]:
        return self.chain.leaves

    async def append(self, *said: Said) -> None:
        """Make a group durable, not yet visible."""
        new = tuple(entry_of(each, self.chain.size + at) for at, each in enumerate(said))
        grown, group = self.chain.grow_by(new)
        await self.store.append(self.chain.head, group)
        self.chain = grown

    async def seal(self) -> None:
        note = self.notes[self.chain.size] = checkpoint(self.chain.head)
        await self.store.seal(self.chain.head, note)

    async def add(self, *said: Said) -> None:
        """Append and seal a group."""
        await self.append(*said)
        await self.seal()

    async def add_plain(self, count: int) -> None:
        """Append and seal a group of signals for everyone."""
        await self.add(*(signal_statement(seed=str(self.chain.size + at)) for at in range(count)))

    async def tail(self, *, ring_bytes: int = RING_BYTES, clock_s: Callable[[], float] = lambda: 0.0) -> Tail:
        """Return an opened tail; it moves when told to, or when `running`."""
        made = Tail(self.store, clock_s, ring_bytes=ring_bytes)
        await made.open()
        return made


@asynccontextmanager
async def running(tail: Tail) -> AsyncIterator[None]:
    """Let a tail follow its log for the length of a block."""
    task = asyncio.create_task(tail.run())
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError | ExchangeError), repr(ended)


class Ended(Exception):
    """The feed has said all it will."""


def always(sight: Sight) -> Callable[[], Sight]:
    """Return a standing that never changes."""
    return lambda: sight


class Subscriber:
    """A feed, and what came of it."""

    def __init__(
        self,
        tail: Tail,
        who: Actor = BETA,
        *,
        cursor: int = 0,
        wanted: Filter | None = None,
        standing: Callable[[], Sight] = lambda: Sight.RECORDS,
        heartbeat_s: float = NO_HEARTBEAT_S,
    ) -> None:
        self.start = cursor
        self.feed = Feed(
            tail,
            Wire(),
            who.workload,
            cursor=cursor,
            wanted=wanted or Filter(),
            standing=standing,
            heartbeat_s=heartbeat_s,
        )
        self._messages = self.feed.messages()
        self._waiting: asyncio.Task[bytes] | None = None
        self.raw: list[bytes] = []
        self.messages: list[pb.SubscribeResponse] = []
        self.entries: list[Delivered] = []

    def _ask(self) -> asyncio.Task[bytes]:
        async def one() -> bytes:
            return await anext(self._messages)

        if self._waiting is None:
            self._waiting = asyncio.create_task(one())
        return self._waiting

    async def next(self) -> pb.SubscribeResponse:
        """Return the next message. Raises `Ended` at the end, TimeoutError when none comes."""
        waiting = self._ask()
        done, _ = await asyncio.wait([waiting], timeout=DEADLINE_S)
        if not done:
            raise TimeoutError
        self._waiting = None
        try:
            self.raw.append(waiting.result())
        except StopAsyncIteration as end:
            raise Ended from end
        self.messages.append(pb.SubscribeResponse.FromString(self.raw[-1]))
        self.entries.extend(codec.delivered(entry) for entry in self.messages[-1].entries)
        return self.messages[-1]

    async def until(self, size: int) -> Sequence[Delivered]:
        """Read until the feed has reached this size; return all entries so far."""
        while self.start + len(self.entries) < size:
            await self.next()
        return self.entries

    async def silent(self) -> bool:
        """Whether nothing comes now. The feed goes on waiting, and `next` returns what it then gets."""
        waiting = self._ask()
        for _ in range(20):
            await asyncio.sleep(0)
        return not waiting.done()

    async def leave(self) -> None:
        """Go away, as a subscriber that cancels its stream."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)

"""A hub's publishing side without a hub: two clocks, a mark, a script of faults, and a sequencer over them.

The store is the contract tests' own asserting one (`MemoryStore`), behind their `FaultyStore`. A fault is
"(applied?, error)": the call takes effect first, or not, and then raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from exchange import codec
from exchange.codec import SequencedHeader
from exchange.domain.directory import Directory
from exchange.domain.statement import Header, Statement, statement_id
from exchange.errors import ExchangeError
from exchange.ledger.checkpoint import Checkpoint, log_verifier, open_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.proofs import verify_inclusion
from exchange.ports import Head
from exchange.publish.clock import WatchedClock
from exchange.publish.intake import Candidate
from exchange.publish.sequencer import Committed, Sequencer
from exchange.publish.waiting import MAX_GROUP, Receipt
from tests.contract.faulty_store import FaultyStore
from tests.contract.memory_store import Disk, MemoryStore
from tests.unit.builders import NOW_MS, UK, Said, digest, make_directory

LOG_KEY = SigningKey(digest(f"log key of {UK}"))
#: Nothing here waits for anything but itself: whoever waits so long waits for ever.
DEADLINE_S = 5.0
T = TypeVar("T")
Fault = tuple[bool, Exception | None]
OK: Fault = (True, None)


async def soon(awaitable: Awaitable[T]) -> T:
    """Return what comes, or fail the test."""
    async with asyncio.timeout(DEADLINE_S):
        return await awaitable


@dataclass
class FakeClock:
    """A wall and a monotonic clock, in milliseconds. Whole exchanges live in them without waiting."""

    wall: int = NOW_MS
    monotonic: int = 1_000

    def pass_ms(self, ms: int) -> None:
        """Let time pass, for both."""
        self.wall += ms
        self.monotonic += ms

    def watched(self) -> WatchedClock:
        return WatchedClock(lambda: self.wall, lambda: self.monotonic)


@dataclass
class Faults:
    """What fails next, by the name of the call; and every call in order."""

    plan: dict[str, list[Fault]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def next(self, name: str, *faults: Fault) -> None:
        """The next calls of this name go so; those after them go well."""
        self.plan.setdefault(name, []).extend(faults)

    def __call__(self, name: str) -> Fault:
        self.calls.append(name)
        planned = self.plan.get(name)
        return planned.pop(0) if planned else OK


@dataclass
class Mark:
    """A `SealedMark` in memory that never goes back."""

    faults: Faults
    note: bytes | None = None
    notes: dict[int, bytes] = field(default_factory=dict)

    async def load(self) -> bytes | None:
        return self.note

    async def record(self, checkpoint: bytes) -> None:
        applied, error = self.faults("record")
        if applied:
            seen = opened(checkpoint)
            assert self.notes.setdefault(seen.size, checkpoint) == checkpoint, "two checkpoints for one size"
            assert self.note is None or opened(self.note).size <= seen.size, "a smaller tree after a larger one"
            self.note = checkpoint
        if error is not None:
            raise error


def opened(checkpoint: bytes) -> Checkpoint:
    """Return what a checkpoint of the log says."""
    return open_checkpoint(checkpoint, log_verifier(UK, LOG_KEY.public_key))


def verify(receipt: Receipt, said: Said) -> None:
    """Check a receipt as a publisher does."""
    head = opened(receipt.checkpoint)
    verify_inclusion(
        leaf_hash=leaf_hash(receipt.leaf),
        index=receipt.index,
        size=head.size,
        proof=receipt.inclusion_proof,
        root=head.root,
    )
    leaf = codec.decode_leaf(receipt.leaf)
    assert (receipt.origin, leaf.index) == (UK, receipt.index)
    assert (leaf.payload, leaf.signatures) == (said.statement.payload, said.statement.signatures)


@dataclass
class Rig:
    """One log on a disk, and the hub that writes it; `running` starts the hub, anew each time."""

    directory: Directory = field(default_factory=make_directory)
    clock: FakeClock = field(default_factory=FakeClock)
    faults: Faults = field(default_factory=Faults)
    disk: Disk = field(default_factory=Disk)
    max_group: int = MAX_GROUP
    judge: Callable[[Candidate], int] | None = None
    ready: Callable[[int], Awaitable[None]] | None = None
    mark: Mark = field(init=False)
    store: MemoryStore | None = None
    committed: list[tuple[int, int]] = field(default_factory=list)
    #: What was told of statements that came again, and what it is answered with.
    repeated: list[tuple[int, Statement, Header]] = field(default_factory=list)
    repeat_fault: ExchangeError | None = None
    #: What was told of each entry, by its index.
    told: dict[int, SequencedHeader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mark = Mark(self.faults)

    def candidate(self, said: Said, *, late: bool = False) -> Candidate:
        id_ = statement_id(said.statement.payload)
        keys = tuple(said.keys(self.directory))
        return Candidate(id_, said.statement, said.header, said.signers[0].workload, keys, late)

    def _judge(self, candidate: Candidate) -> int:
        return self.directory.size if self.judge is None else self.judge(candidate)

    async def _ready(self, head: Head) -> None:
        if self.ready is not None:
            await self.ready(head.durable.size)

    def sequencer(self, store: MemoryStore, mark: Mark | None = None) -> Sequencer:
        faulty = FaultyStore(store, self.faults)
        return Sequencer(
            UK,
            faulty,
            faulty,
            mark or self.mark,
            LOG_KEY,
            self.clock.watched(),
            judge=self._judge,
            ready=self._ready,
            max_group=self.max_group,
            committed=self._hear,
            repeated=self._repeat,
        )

    async def _repeat(self, index: int, statement: Statement, header: Header) -> None:
        await asyncio.sleep(0)
        self.repeated.append((index, statement, header))
        if self.repeat_fault is not None:
            raise self.repeat_fault

    def _hear(self, done: Committed) -> None:
        self.committed.append((len(done.said), done.records))
        self.told.update(enumerate(done.said, start=done.first))

    async def open(self, *, adopt: bool = False) -> Sequencer:
        """Start the hub again, as after a crash."""
        if self.store is not None:
            await self.store.aclose()
        self.store = MemoryStore(self.disk)
        sequencer = self.sequencer(self.store)
        await sequencer.open(adopt=adopt)
        return sequencer

    @asynccontextmanager
    async def running(self, *, adopt: bool = False) -> AsyncIterator[Sequencer]:
        """Open and run; whatever ends the sequencer, the block goes on."""
        sequencer = await self.open(adopt=adopt)
        async with run(sequencer):
            yield sequencer

    def payloads(self) -> list[bytes]:
        """Return what the log holds, durable or sealed."""
        return [codec.decode_leaf(codec.frame_leaf(entry.frame)).payload for entry in self.disk.entries]


@asynccontextmanager
async def run(sequencer: Sequencer) -> AsyncIterator[asyncio.Task[None]]:
    """Run a sequencer for the length of a block."""
    task = asyncio.create_task(sequencer.run())
    try:
        yield task
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError | ExchangeError), repr(ended)


async def publish(sequencer: Sequencer, rig: Rig, *said: Said) -> list[Receipt]:
    """Offer statements at once and return their receipts, verified."""
    answers = [sequencer.offer(rig.candidate(each)) for each in said]
    receipts = [await soon(answer) for answer in answers]
    for receipt, each in zip(receipts, said, strict=True):
        verify(receipt, each)
    return receipts


async def error_of(answer: Awaitable[object]) -> ExchangeError:
    """Return the error that an answer turns out to be."""
    with pytest.raises(ExchangeError) as caught:
        await soon(answer)
    return caught.value

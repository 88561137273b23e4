"""A subscriber that believes nothing: it checks order, recomputes the root from the hello's compact range, and
compares it with every signed checkpoint it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc

from exchange import codec
from exchange.domain.statement import Leaf
from exchange.ledger.checkpoint import Checkpoint, open_checkpoint
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.note import Verifier
from exchange.ledger.proofs import verify_consistency
from exchange.v1 import feed_pb2
from exchange.v1 import statement_pb2 as pb
from tests.e2e.answers import Refusal, read_refusal
from tests.e2e.exchange_fixture import TIMEOUT_S, Party


class Follower:
    """One live stream and everything that came through it."""

    def __init__(self, party: Party, verifier: Verifier, request: feed_pb2.SubscribeRequest) -> None:
        self.verifier = verifier
        self.request = request
        self.hello = feed_pb2.Hello()
        self.entries: list[pb.Entry] = []
        self.checkpoints: list[Checkpoint] = []
        self.heartbeats: list[feed_pb2.Heartbeat] = []
        self.echoes: list[feed_pb2.ProbeEcho] = []
        self.draining: feed_pb2.Draining | None = None
        self.ended: Refusal | None = None
        self.finished = False
        self.last_note = b""
        self._range = CompactRange()
        self._last = Leaf(0, 0, False, 0, b"", ())
        self._news = asyncio.Event()
        self._call = party.feed.Subscribe(request)
        self._task: asyncio.Task[None]

    @classmethod
    async def start(
        cls,
        party: Party,
        verifier: Verifier,
        *,
        cursor: int = 0,
        last_checkpoint: bytes = b"",
        wanted: feed_pb2.Filter | None = None,
    ) -> Follower:
        """Subscribe and take the hello. Raises what the call was refused with."""
        request = feed_pb2.SubscribeRequest(
            origin=verifier.name, cursor=cursor, last_checkpoint=last_checkpoint, filter=wanted
        )
        made = cls(party, verifier, request)
        async with asyncio.timeout(TIMEOUT_S):
            first = await made._call.read()
        assert isinstance(first, feed_pb2.SubscribeResponse), "the stream ended before its hello"
        made._take_hello(first)
        made._task = asyncio.create_task(made._read())
        return made

    def _take_hello(self, message: feed_pb2.SubscribeResponse) -> None:
        assert message.HasField("hello")
        assert not message.entries
        self.hello = message.hello
        self.last_note = self.hello.checkpoint
        now = open_checkpoint(self.hello.checkpoint, self.verifier)
        self._range = CompactRange.of(self.request.cursor, self.hello.compact_range)
        if self.request.cursor == now.size:
            assert self._range.root() == now.root
        if self.request.last_checkpoint:
            last = open_checkpoint(self.request.last_checkpoint, self.verifier)
            verify_consistency(
                old_size=last.size,
                new_size=now.size,
                old_root=last.root,
                new_root=now.root,
                proof=self.hello.consistency_proof,
            )

    async def _read(self) -> None:
        try:
            while isinstance(message := await self._call.read(), feed_pb2.SubscribeResponse):
                self._take(message)
                self._news.set()
        except grpc.aio.AioRpcError as error:
            self.ended = read_refusal(error)
        finally:
            self.finished = True
            self._news.set()

    def _take(self, message: feed_pb2.SubscribeResponse) -> None:
        for entry in message.entries:
            leaf = codec.decode_leaf(entry.leaf)
            assert leaf.index == self._range.size
            assert leaf.received_at_ms >= self._last.received_at_ms
            assert leaf.directory_size >= self._last.directory_size
            self._last = leaf
            self._range = self._range.extend([leaf_hash(entry.leaf)])
        self.entries.extend(message.entries)
        if message.checkpoint:
            checkpoint = open_checkpoint(message.checkpoint, self.verifier)
            assert (checkpoint.size, checkpoint.root) == (self._range.size, self._range.root())
            self.checkpoints.append(checkpoint)
            self.last_note = message.checkpoint
        if message.HasField("heartbeat"):
            self.heartbeats.append(message.heartbeat)
        if message.HasField("probe"):
            self.echoes.append(message.probe)
        if message.HasField("draining"):
            self.draining = message.draining

    @property
    def next(self) -> int:
        """The next index this subscriber wants."""
        return self._range.size

    @property
    def leaves(self) -> list[Leaf]:
        """The leaves received, as values."""
        return [codec.decode_leaf(entry.leaf) for entry in self.entries]

    async def until(self, happened: Callable[[], bool], *, timeout_s: float = TIMEOUT_S) -> None:
        """Return when something has happened; fail at the deadline, or when the stream ends without it."""
        async with asyncio.timeout(timeout_s):
            while not happened():
                if self._task.done():
                    await self._task
                    assert happened(), f"the stream ended: {self.ended}"
                    return
                self._news.clear()
                await self._news.wait()

    async def reach(self, size: int, *, timeout_s: float = TIMEOUT_S) -> None:
        """Return when every entry below ``size`` has come, and a checkpoint that covers them."""
        await self.until(
            lambda: self.next >= size and bool(self.checkpoints) and self.checkpoints[-1].size >= size,
            timeout_s=timeout_s,
        )

    async def end(self, *, timeout_s: float = TIMEOUT_S) -> Refusal | None:
        """Wait for the stream's end; return how it was refused, or None when it ended well."""
        async with asyncio.timeout(timeout_s):
            await self._task
        return self.ended

    async def stop(self) -> None:
        """Leave. Raises what the reader found wrong."""
        self._call.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            assert self._task.cancelled()

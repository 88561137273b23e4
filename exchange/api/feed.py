"""FeedService: the hello, then one feed a stream, and probes.

Subscribe is registered by hand: its messages are ready bytes, so its response serialiser passes them through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from exchange.api.guard import caller
from exchange.api.logs import Hub, Log
from exchange.domain.policy import Sight, may_subscribe
from exchange.errors import CursorAboveSize, CursorBelowFloor, Denied, Reason, Rejected, Unavailable
from exchange.fanout.feed import HEARTBEAT_S, Feed, Filter
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ops.metrics import Metrics
from exchange.proving import compact_range, consistency_proof
from exchange.publish.turns import PROOF_WORK
from exchange.v1 import feed_pb2 as pb

SERVICE = "exchange.v1.FeedService"
MAX_PROBE_BYTES = 64
MAX_FILTER = 256

_Context = grpc.aio.ServicerContext[Any, Any]


class _Wire:
    """The small parts of feed messages (`exchange.fanout.wire.FeedWire`)."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms

    def checkpoint(self, note: bytes) -> bytes:
        return pb.SubscribeResponse(checkpoint=note).SerializeToString()

    def heartbeat(self, sealed_size: int) -> bytes:
        beat = pb.Heartbeat(sealed_size=sealed_size, hub_time_ms=self._now_ms())
        return pb.SubscribeResponse(heartbeat=beat).SerializeToString()

    def draining(self, cursor: int) -> bytes:
        return pb.SubscribeResponse(draining=pb.Draining(cursor=cursor)).SerializeToString()

    def probe(self, state: bytes) -> bytes:
        echo = pb.ProbeEcho(state=state, hub_time_ms=self._now_ms())
        return pb.SubscribeResponse(probe=echo).SerializeToString()


class FeedServicer:
    """Opens feeds and remembers the live ones."""

    def __init__(
        self, hub: Hub, now_ms: Callable[[], int], metrics: Metrics, *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        """Feed from this hub's logs."""
        self._hub = hub
        self._now_ms = now_ms
        self._metrics = metrics
        self._heartbeat_s = heartbeat_s
        self._wire = _Wire(now_ms)
        #: Live feeds, each with how many of its entries are in the metrics already.
        self._live: dict[str, dict[Feed, int]] = {}

    def count(self) -> None:
        """Bring the metrics up to what live streams have been sent; to be called when somebody reads them."""
        for origin, live in self._live.items():
            for feed in live:
                self._count(origin, feed)

    def _count(self, origin: str, feed: Feed) -> None:
        live = self._live[origin]
        self._metrics.feed_entries.labels(origin).inc(feed.sent_entries - live[feed])
        live[feed] = feed.sent_entries

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the service's handlers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Subscribe": grpc.unary_stream_rpc_method_handler(
                    self.subscribe,
                    request_deserializer=pb.SubscribeRequest.FromString,
                    response_serializer=lambda message: message,
                ),
                "Probe": grpc.unary_unary_rpc_method_handler(
                    self.probe,
                    request_deserializer=pb.ProbeRequest.FromString,
                    response_serializer=pb.ProbeResponse.SerializeToString,
                ),
            },
        )

    async def subscribe(self, request: pb.SubscribeRequest, context: _Context) -> AsyncIterator[bytes]:  # noqa: ARG002
        """Serve one subscriber until it leaves, loses its standing, or the hub drains."""
        workload, origin = caller(), request.origin
        log, sight = self._hub.log_to_read(workload, origin, self._now_ms())

        judged_at = self._hub.view.directory.size

        def standing() -> Sight:
            nonlocal judged_at
            directory = self._hub.view.directory
            # Only sight of leaves alone can end by time passing; of records, by a change of the directory.
            if directory.size != judged_at or sight is Sight.LEAVES:
                judged_at = directory.size
                if may_subscribe(directory, workload, origin, now_ms=self._now_ms()) is not sight:
                    raise Denied("what this member may see has changed", hint="subscribe again")
            return sight

        if log.tail.draining:
            raise Unavailable("the hub is going away", retry_after_ms=1_000, reason=Reason.DRAINING)
        wanted = _filter(request.filter)
        yield await self._hello(log, request)
        feed = Feed(
            log.tail,
            self._wire,
            workload,
            cursor=request.cursor,
            wanted=wanted,
            standing=standing,
            heartbeat_s=self._heartbeat_s,
        )
        live = self._live.setdefault(origin, {})
        live[feed] = 0
        self._metrics.feed_streams.labels(origin).inc()
        written = self._metrics.feed_messages.labels(origin)
        try:
            async for message in feed.messages():
                written.inc()
                yield message
        finally:
            self._count(origin, feed)
            del live[feed]
            self._metrics.feed_streams.labels(origin).dec()

    async def _hello(self, log: Log, request: pb.SubscribeRequest) -> bytes:
        head = await log.store.head()
        size = head.sealed.size
        if size > log.tail.sealed.size:
            await log.tail.advance()  # another hub may have sealed it: nothing that is said here may be beyond the tail
        if request.cursor > size:
            raise CursorAboveSize(size)
        if request.cursor < head.floor:
            raise CursorBelowFloor(head.floor)
        proof: tuple[bytes, ...] = ()
        if request.last_checkpoint:
            last = open_checkpoint(request.last_checkpoint, log.verifier)
            if last.size > size:
                raise CursorAboveSize(size)
            await self._hub.turns.take(caller().member, PROOF_WORK)
            proof = await consistency_proof(log.history, last.size, size)
        await self._hub.turns.take(caller().member, PROOF_WORK)
        prefix = await compact_range(log.history, request.cursor)
        hello = pb.Hello(
            floor=head.floor, checkpoint=head.checkpoint, compact_range=prefix.hashes, consistency_proof=proof
        )
        return pb.SubscribeResponse(hello=hello).SerializeToString()

    async def probe(self, request: pb.ProbeRequest, context: _Context) -> pb.ProbeResponse:  # noqa: ARG002
        """Echo a state on the caller's live streams of one log."""
        if len(request.state) > MAX_PROBE_BYTES:
            raise Rejected(Reason.TOO_LARGE, f"a probe's state has at most {MAX_PROBE_BYTES} bytes")
        workload = caller()
        log, _ = self._hub.log_to_read(workload, request.origin, self._now_ms())
        feeds = [feed for feed in self._live.get(request.origin, ()) if feed.workload == workload]
        for feed in feeds:
            feed.probe(request.state)
        return pb.ProbeResponse(streams=len(feeds), sealed_size=log.tail.sealed.size, hub_time_ms=self._now_ms())


def _filter(message: pb.Filter) -> Filter:
    if max(len(message.labels), len(message.indicator_types), len(message.elections)) > MAX_FILTER:
        raise Rejected(Reason.TOO_LARGE, f"a filter names at most {MAX_FILTER} of a kind")
    return Filter(frozenset(message.labels), frozenset(message.indicator_types), frozenset(message.elections))

"""The hub's load: raw streams that count and check framing, a raw publisher, and one full SDK that verifies all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from exchange.ledger.ed25519 import SigningKey
from exchange.v1 import feed_pb2, publish_pb2
from exchange_client import ClientConfig, ExchangeClient
from tests.bench.arrivals import Arrivals, findings, open_loop
from tests.bench.processes import Turn
from tests.bench.workload import WINDOW, Load, count_entries, framed_statements, repeated, statements

SUBSCRIBE = "/exchange.v1.FeedService/Subscribe"
PUBLISH_STREAM = "/exchange.v1.PublishService/PublishStream"
_MESSAGE_LIMIT = 8 * 1024 * 1024
#: The SDK's own linger: what is due within it travels together.
LINGER_S = 0.004


@dataclass(frozen=True, slots=True)
class Access:
    """Where a server is, and the caller's certificate for it (paths of PEM files)."""

    address: str
    authority: str
    certificate: str
    key: str

    def channel(self) -> grpc.aio.Channel:
        """Return a connection of its own, with mutual TLS."""
        authority, key, certificate = (Path(p).read_bytes() for p in (self.authority, self.key, self.certificate))
        options = (
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
            ("grpc.max_send_message_length", _MESSAGE_LIMIT),
        )
        credentials = grpc.ssl_channel_credentials(authority, key, certificate)
        return grpc.aio.secure_channel(self.address, credentials, options=options)


async def subscribe(
    turn: Turn,
    *,
    access: list[dict[str, str]],
    origin: str,
    cursor: int,
    entries: int,
    latency: bool = False,
) -> dict[str, Any]:
    """Follow a log on one stream for each access, until ``entries`` have come on every one."""
    channels = [Access(**one).channel() for one in access]
    request = feed_pb2.SubscribeRequest(origin=origin, cursor=cursor).SerializeToString()
    streams = [Arrivals(entries) for _ in channels]
    calls: list[Any] = [channel.unary_stream(SUBSCRIBE)(request) for channel in channels]  # type: ignore[arg-type] # raw bytes
    for call in calls:
        await call.read()  # the hello
    opened = time.monotonic_ns()
    turn.ready()
    await asyncio.gather(*(count(call, stream) for call, stream in zip(calls, streams, strict=True)))
    found = await findings(turn, streams, latency=latency)
    for channel in channels:
        await channel.close()
    return {**found, "opened_ns": opened}


async def count(call: Any, stream: Arrivals) -> None:
    """Count a stream's entries, message by message, until all have come."""
    while (message := await call.read()) is not grpc.aio.EOF:
        entries = count_entries(message)
        if entries and stream.add(entries):
            call.cancel()
            return
    raise AssertionError(f"the stream ended after {stream.total} of {stream.expected} entries")


class _Publishing:
    """One publish stream with a bounded number of statements under way."""

    def __init__(self, channel: grpc.aio.Channel, in_flight: int) -> None:
        self._call: Any = channel.stream_stream(
            PUBLISH_STREAM, response_deserializer=publish_pb2.PublishStreamResponse.FromString
        )()
        self._room = asyncio.Semaphore(in_flight)
        self.answered = 0
        self.finished_ns = 0

    async def send(self, message: bytes, count: int, *, wait: bool = True) -> None:
        """Send a message of ``count`` statements, when there is room for them."""
        if wait:
            for _ in range(count):
                await self._room.acquire()
        await self._call.write(message)

    async def read(self, expected: int) -> None:
        """Take results until all statements are answered. Raises AssertionError when one was refused."""
        while self.answered < expected:
            answer = await self._call.read()
            assert answer is not grpc.aio.EOF, "the hub ended the stream"
            for result in answer.results:
                assert result.HasField("receipt"), result.rejection
                self._room.release()
            self.answered += len(answer.results)
        self.finished_ns = time.monotonic_ns()
        await self._call.done_writing()


async def publish(
    turn: Turn, *, access: dict[str, str], member: str, seed: str, origin: str, records: int, per_statement: int
) -> dict[str, Any]:
    """Publish a load as fast as the window lets it; every statement must be answered with a receipt."""
    load = Load(records, per_statement)
    messages = framed_statements(member, origin, SigningKey(bytes.fromhex(seed)), load)
    channel = Access(**access).channel()
    stream = _Publishing(channel, WINDOW * load.statements_per_message)
    turn.ready()
    await turn.go()
    started = time.monotonic_ns()
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.read(load.statements))
        for at, message in enumerate(messages):
            count = min(load.statements_per_message, load.statements - at * load.statements_per_message)
            await stream.send(message, count)
    await channel.close()
    return {"started_ns": started, "acked_ns": stream.finished_ns}


async def publish_steadily(
    turn: Turn, *, access: dict[str, str], member: str, seed: str, origin: str, rate: float, seconds: float
) -> dict[str, Any]:
    """Publish single-record statements at a fixed rate, whether or not the hub keeps up."""
    total = int(rate * seconds)
    key = SigningKey(bytes.fromhex(seed))
    ready = list(statements(member, origin, key, total, 1, every_ms=1_000 / rate))
    channel = Access(**access).channel()
    stream = _Publishing(channel, total)
    turn.ready()
    await turn.go()

    async def send(first: int, last: int) -> None:
        await stream.send(repeated(ready[first:last]), last - first, wait=False)

    async with asyncio.TaskGroup() as group:  # a refusal ends it: nobody reads on, and the hub would let us wait
        group.create_task(stream.read(total))
        started = await open_loop(total, rate, LINGER_S, send)
    await channel.close()
    return {"started_ns": started, "acked_ns": stream.finished_ns, "period_ns": 1e9 / rate}


async def follow_verified(
    turn: Turn, *, config: str, origin: str, cursor: int, entries: int, processes: int
) -> dict[str, Any]:
    """Follow a log with the whole SDK, every entry verified, until ``entries`` have been delivered."""
    lags: list[int] = []
    indicators = 0
    async with ExchangeClient(ClientConfig.load(Path(config))) as client:
        await client.directory()
        turn.ready()
        first = time.monotonic_ns()
        async with aclosing(_deliveries(client, origin, cursor, processes)) as deliveries:
            async for received_ms, delivered_ms, count in deliveries:
                indicators += count
                lags.append(delivered_ms - received_ms)
                if len(lags) == entries:
                    break
    tail = sorted(lags[-max(1, len(lags) // 10) :])
    return {
        "first_ns": first,
        "last_ns": time.monotonic_ns(),
        "indicators": indicators,
        "last_lag_p50_ms": tail[len(tail) // 2],
        "worst_lag_ms": max(lags),
    }


async def _deliveries(
    client: ExchangeClient, origin: str, cursor: int, processes: int
) -> AsyncGenerator[tuple[int, int, int], None]:
    async for delivery in client.subscribe(origin, cursor=cursor, processes=processes):
        # A signal is taken apart when it is looked at: whoever matches looks at all of them.
        indicators = sum(len(signal.indicators) for signal in delivery.signals)
        yield delivery.received_at_ms, delivery.delivered_at_ms, indicators

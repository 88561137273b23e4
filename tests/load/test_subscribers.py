"""Subscribers that misbehave, in numbers: never reading, all coming back at once, cancelling again and again."""

from __future__ import annotations

import asyncio
import re
import signal as signals
import time

import pytest

from exchange.config import Connections
from exchange.domain.bodies import Quota
from exchange.domain.identifiers import IndicatorType
from exchange.v1 import feed_pb2
from tests.e2e.answers import get
from tests.e2e.child_hub import ChildHub
from tests.e2e.drafts import signal, video
from tests.e2e.exchange_fixture import UK, Party
from tests.e2e.follower import Follower
from tests.load.measures import LONG, rss_bytes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MIB = 1024 * 1024
#: What gRPC keeps for a stream that nobody reads, with room to spare.
STALLED_BYTES = 8 * MIB


async def live_feeds(hub: ChildHub) -> int:
    """Return how many subscribers the hub counts."""
    _, page = await get(hub.ops_port, "/metrics")
    return int(
        sum(float(value) for value in re.findall(rb"^signal_exchange_feed_streams\{.*\} (\S+)$", page, re.MULTILINE))
    )


async def no_feeds(hub: ChildHub) -> None:
    """Wait until the hub has seen every cancellation."""
    async with asyncio.timeout(20):
        while await live_feeds(hub):
            await asyncio.sleep(0.05)


async def publish_large(party: Party, count: int) -> int:
    """Publish so many statements of about 650 KiB; return the size of the log then."""
    receipt = None
    for _ in range(count):
        records = [video(1_400) for _ in range(12)]
        receipt = await party.publish(signal(party.member, UK, records=records, indicator_types=(IndicatorType.VPDQ,)))
    assert receipt is not None
    return receipt.index + 1


async def test_a_subscriber_that_never_reads_costs_a_constant_and_nobody_else(hub: ChildHub) -> None:
    alpha, verifier = hub.party("alpha"), hub.exchange.verifier(UK)
    size = await publish_large(alpha, 8)  # the ring is full from here on
    sleepers = []
    for _ in range(6):
        call = hub.party("gamma").feed.Subscribe(feed_pb2.SubscribeRequest(origin=UK, cursor=size))
        assert isinstance(await call.read(), feed_pb2.SubscribeResponse)
        sleepers.append(call)
    reader = await Follower.start(hub.party("beta"), verifier, cursor=size)
    before = rss_bytes(hub.process.pid)
    count = 400 if LONG else 50
    size = await publish_large(alpha, count)
    await reader.reach(size)
    grown = rss_bytes(hub.process.pid) - before
    print(f"\n6 subscribers that never read, {count * 650 // 1024} MiB past them: hub memory {grown / MIB:+.1f} MiB")
    assert grown < len(sleepers) * STALLED_BYTES + 32 * MIB < len(sleepers) * count * 650 * 1024
    if LONG:
        async with asyncio.timeout(2 * Connections().stalled_s):
            while await live_feeds(hub) > 1:  # the hub ends what is not read for a minute
                await asyncio.sleep(0.5)
    assert reader.ended is None
    for call in sleepers:
        call.cancel()
    await reader.stop()


async def test_two_hundred_subscribers_come_back_at_once_after_a_crash(hub: ChildHub) -> None:
    members = ("alpha", "beta", "gamma", "police")
    for member in members[:3]:
        await hub.registrar.say(Quota(member, records_per_minute=0, statements_per_minute=0, streams=100))
    alpha, verifier = hub.party("alpha"), hub.exchange.verifier(UK)
    await alpha.stream([signal("alpha", UK).sign(alpha.key) for _ in range(64)])
    parties = [hub.party(members[number % 3]) for number in range(200)]
    followers = list(await asyncio.gather(*(Follower.start(party, verifier) for party in parties)))
    for follower in followers:
        await follower.reach(64)
    hub.send(signals.SIGKILL)
    await hub.ended()
    for follower in followers:
        await follower.end()
    places = [(follower.next, follower.last_note) for follower in followers]
    assert {next_ for next_, _ in places} == {64}
    again = await ChildHub.start(hub.exchange)
    try:
        alpha = again.party("alpha")
        parties = [again.party(members[number % 3]) for number in range(200)]
        started = time.monotonic()
        back = asyncio.gather(
            *(
                Follower.start(party, verifier, cursor=next_, last_checkpoint=note)
                for party, (next_, note) in zip(parties, places, strict=True)
            )
        )
        results = await alpha.stream([signal("alpha", UK).sign(alpha.key) for _ in range(64)])
        assert all(result.HasField("receipt") for result in results)
        followers = list(await back)
        live = time.monotonic() - started
        for follower in followers:
            await follower.reach(128)  # the follower checks that there is no gap, no duplicate, and every root
        print(
            f"\n200 subscribers back after a crash: the last had its hello after {live:.2f} s, all 64 new entries ",
            end="",
        )
        print(f"after {time.monotonic() - started:.2f} s")
        assert await live_feeds(again) == 200
        for follower in followers:
            await follower.stop()
    finally:
        await again.aclose()


async def cancel_streams(party: Party, count: int, cursor: int) -> None:
    """Subscribe and cancel so often, sixteen at a time."""

    async def some(share: int) -> None:
        for _ in range(share):
            call = party.feed.Subscribe(feed_pb2.SubscribeRequest(origin=UK, cursor=cursor))
            assert isinstance(await call.read(), feed_pb2.SubscribeResponse)
            call.cancel()

    await asyncio.gather(*(some(count // 16) for _ in range(16)))


async def test_cancelled_streams_leave_next_to_nothing(hub: ChildHub) -> None:
    party = hub.party("gamma")
    receipt = await hub.party("alpha").publish(signal("alpha", UK))
    await cancel_streams(party, 2_000 if LONG else 480, receipt.index + 1)
    await no_feeds(hub)
    before, count = rss_bytes(hub.process.pid), 10_000 if LONG else 1_600
    await cancel_streams(party, count, receipt.index + 1)
    await no_feeds(hub)
    grown = rss_bytes(hub.process.pid) - before
    print(f"\n{count} cancelled streams: hub memory {grown / 1024:+.0f} KiB, {grown / count:.0f} bytes a stream")
    # Small numbers are the allocator's noise; the long form shows the slope.
    assert grown < (400 * count if LONG else 4 * MIB)

"""One member publishes as fast as it is let, beside one that says a little: the quiet one is not held up.

Nothing counts that was said when the flooder had little left to say.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.note import Verifier
from exchange.ops.certificates import authority_files, issued_files
from exchange.publish.waiting import SHARE
from exchange.v1 import publish_pb2
from tests.e2e.child_hub import ROOT, ChildHub
from tests.e2e.drafts import signal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, Party
from tests.load.flooder import write_messages
from tests.load.measures import LONG, quantile

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PublishStream = grpc.aio.StreamStreamCall[publish_pb2.PublishStreamRequest, publish_pb2.PublishStreamResponse]

MESSAGE = 64
#: The quiet member's p99 beside the flood, over its p99 alone.
GATE = 2.0
#: What the quiet member says beside the flood, and as few as count.
SAID, LEAST = 40, 20
SAID_LONG, LEAST_LONG = 1_000, 800


@asynccontextmanager
async def flooding(hub: ChildHub, supply: Path, statements: int) -> AsyncIterator[asyncio.Task[bytes]]:
    """Flood the hub as alpha, from a process of its own, for the length of a block.

    The task is done when the flood ebbs: until then thousands of its statements are under way.
    """
    alpha, files = hub.party("alpha"), issued_files(hub.exchange.pki, "alpha", "pipeline")
    signed = [signal("alpha", UK).sign(alpha.key) for _ in range(statements)]
    requests = (
        publish_pb2.PublishStreamRequest(statements=signed[at : at + MESSAGE]) for at in range(0, statements, MESSAGE)
    )
    write_messages(supply, (request.SerializeToString() for request in requests))
    arguments = [hub.port, authority_files(hub.exchange.pki).certificate, files.certificate, files.key, supply]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.load.flooder",
        *map(str, arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            assert await process.stdout.readline() == b"flooding\n"
        ebbing = asyncio.create_task(process.stdout.readline())
        try:
            yield ebbing
        finally:
            ebbing.cancel()
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def size_of(party: Party, verifier: Verifier) -> int:
    return open_checkpoint(await party.checkpoint(UK), verifier).size


async def say(party: Party, count: int, ebbing: asyncio.Task[bytes] | None = None) -> list[float]:
    """Publish single statements on one stream, while a flood lasts; return how long each took to its receipt."""
    took: list[float] = []
    call = party.publishing.PublishStream()
    while len(took) < count:
        request = publish_pb2.PublishStreamRequest(statements=[signal(party.member, UK).sign(party.key)])
        started = time.perf_counter()
        await call.write(request)
        await receipt_of(call)
        seconds = time.perf_counter() - started
        if ebbing is not None and ebbing.done():
            break
        took.append(seconds)
        await asyncio.sleep(0.02)  # what makes it quiet
    call.cancel()
    return took


async def receipt_of(call: PublishStream) -> publish_pb2.Receipt:
    answer = await call.read()
    assert isinstance(answer, publish_pb2.PublishStreamResponse)
    assert answer.results[0].HasField("receipt"), answer.results[0]
    return answer.results[0].receipt


@dataclass(frozen=True, slots=True)
class Place:
    """Where one statement got to in the log, and how large that was right before and right after it was sent."""

    before: int
    after: int
    index: int


async def places(party: Party, verifier: Verifier, count: int, ebbing: asyncio.Task[bytes]) -> list[Place]:
    """Publish single statements while a flood lasts; return their places."""
    found: list[Place] = []
    call = party.publishing.PublishStream()
    while len(found) < count:
        request = publish_pb2.PublishStreamRequest(statements=[signal(party.member, UK).sign(party.key)])
        before = await size_of(party, verifier)
        await call.write(request)
        after = await size_of(party, verifier)
        place = Place(before, after, (await receipt_of(call)).index)
        if ebbing.done():
            break
        found.append(place)
        await asyncio.sleep(0.02)
    call.cancel()
    return found


async def drained(party: Party, verifier: Verifier) -> None:
    """Return once the log does not grow any more."""
    size = -1
    while (now := await size_of(party, verifier)) != size:
        size = now
        await asyncio.sleep(0.5)


async def test_a_quiet_members_statement_passes_a_flooders_backlog(hub: ChildHub, tmp_path: Path) -> None:
    beta, verifier = hub.party("beta"), hub.exchange.verifier(UK)
    async with flooding(hub, tmp_path / "supply", 24_000) as ebbing:
        await say(beta, 5)  # until then the flooder was alone, and had the groups to itself
        start = await size_of(beta, verifier)
        said = await places(beta, verifier, SAID, ebbing)
        end = await size_of(beta, verifier)
    # The log grows while a statement is sent, most where this process is slow: that is not waiting. Where it grew by
    # two groups at most, the statement's place tells what it waited for.
    few = 2 * 2 * SHARE
    known = [place for place in said if place.after - place.before <= few]
    assert len(known) >= LEAST, f"{len(said)} statements were said beside the flood, and {len(known)} tell"
    # Thousands of the flooder's statements wait all the time: the group under way and its own came before, no more.
    assert max(place.index - place.after for place in known) <= few
    # And the flooder is not starved.
    assert end - start - len(said) > 2 * SHARE


@pytest.mark.skipif(not LONG, reason="extra: a measurement, made by make load")
async def test_a_quiet_members_p99_beside_a_flood(hub: ChildHub, tmp_path: Path) -> None:
    beta, verifier = hub.party("beta"), hub.exchange.verifier(UK)
    await say(beta, 20)
    alone = await say(beta, SAID_LONG // 2)
    async with flooding(hub, tmp_path / "supply", 60_000) as ebbing:
        size, started = await size_of(beta, verifier), time.monotonic()
        beside = await say(beta, SAID_LONG, ebbing)
        flood = (await size_of(beta, verifier) - size - len(beside)) / (time.monotonic() - started)
    assert len(beside) >= LEAST_LONG, "the flood was over too soon to tell"
    await drained(beta, verifier)
    alone += await say(beta, SAID_LONG // 2)
    print(f"\nbeside a flood of {flood:.0f} statements a second, publish to receipt of a quiet member, in ms:")
    print(f"  {len(beside)} statements beside it, {len(alone)} alone")
    for share in (0.5, 0.9, 0.99):
        one, two = quantile(alone, share) * 1000, quantile(beside, share) * 1000
        print(f"  p{share * 100:g}: alone {one:.1f}, beside {two:.1f}, ratio {two / one:.2f}")
    assert quantile(beside, 0.99) <= GATE * quantile(alone, 0.99)

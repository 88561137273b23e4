"""One member publishes as fast as it is let, beside one that says a little: the quiet one is not held up."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

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

MESSAGE = 64
#: The quiet member's p99 beside the flood, over its p99 alone.
GATE = 2.0


@asynccontextmanager
async def flooding(hub: ChildHub, supply: Path, statements: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Flood the hub as alpha, from a process of its own, for the length of a block."""
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
        yield process
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def say(party: Party, verifier: Verifier, count: int) -> tuple[list[float], list[int]]:
    """Publish single statements on one stream; return how long each took, and how many entries came before it."""
    took, passed = [], []
    call = party.publishing.PublishStream()
    for _ in range(count):
        size = open_checkpoint(await party.checkpoint(UK), verifier).size
        statement = signal(party.member, UK).sign(party.key)
        started = time.perf_counter()
        await call.write(publish_pb2.PublishStreamRequest(statements=[statement]))
        answer = await call.read()
        took.append(time.perf_counter() - started)
        assert isinstance(answer, publish_pb2.PublishStreamResponse)
        assert answer.results[0].HasField("receipt"), answer.results[0]
        passed.append(answer.results[0].receipt.index - size)
        await asyncio.sleep(0.02)  # what makes it quiet
    call.cancel()
    return took, passed


async def drained(party: Party, verifier: Verifier) -> int:
    """Return the log's size once it does not grow any more."""
    size = -1
    while (now := open_checkpoint(await party.checkpoint(UK), verifier).size) != size:
        size = now
        await asyncio.sleep(0.5)
    return size


async def test_a_quiet_members_statement_passes_a_flooders_backlog(hub: ChildHub, tmp_path: Path) -> None:
    beta, verifier = hub.party("beta"), hub.exchange.verifier(UK)
    async with flooding(hub, tmp_path / "supply", 24_000) as process:
        start = open_checkpoint(await beta.checkpoint(UK), verifier).size
        _, passed = await say(beta, verifier, 40)
        end = open_checkpoint(await beta.checkpoint(UK), verifier).size
        assert process.returncode is None, "the flood ended before the quiet member had spoken"
    # Thousands of the flooder's statements wait all the time: a few groups' worth came before, no more.
    assert max(passed) <= 4 * 2 * SHARE
    # And the flooder is not starved.
    assert end - start > 40 + 2 * SHARE


@pytest.mark.skipif(not LONG, reason="extra: a measurement, made by make load")
async def test_a_quiet_members_p99_beside_a_flood(hub: ChildHub, tmp_path: Path) -> None:
    beta, verifier = hub.party("beta"), hub.exchange.verifier(UK)
    await say(beta, verifier, 20)
    alone, _ = await say(beta, verifier, 200)
    async with flooding(hub, tmp_path / "supply", 60_000):
        size, started = open_checkpoint(await beta.checkpoint(UK), verifier).size, time.monotonic()
        beside, _ = await say(beta, verifier, 400)
        flood = (open_checkpoint(await beta.checkpoint(UK), verifier).size - size) / (time.monotonic() - started)
    await drained(beta, verifier)
    after, _ = await say(beta, verifier, 200)
    alone += after
    print(f"\nbeside a flood of {flood:.0f} statements a second, publish to receipt of a quiet member, in ms:")
    for share in (0.5, 0.9, 0.99):
        one, two = quantile(alone, share) * 1000, quantile(beside, share) * 1000
        print(f"  p{share * 100:g}: alone {one:.1f}, beside {two:.1f}, ratio {two / one:.2f}")
    assert quantile(beside, 0.99) <= GATE * quantile(alone, 0.99)

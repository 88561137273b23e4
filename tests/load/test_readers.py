"""One member reads the ledger as fast as it is let, beside one that publishes a little: the quiet one is not held up."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from exchange.ops.certificates import authority_files, issued_files
from exchange.v1 import ledger_pb2
from tests.e2e.child_hub import ROOT, ChildHub
from tests.e2e.drafts import signal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK
from tests.load.measures import LONG, quantile
from tests.load.test_flood import say

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ENTRIES = 3_000
SAID = 200
#: The quiet member's median beside pages without end, over its median alone. Small calls cost the hub their handling
#: whatever turns they take: what they do to others is printed, and bounded by their number a minute.
GATE = 2.0
ASKED = {
    "GetCheckpoint": ledger_pb2.GetCheckpointRequest(origin=UK),
    "ListEntries": ledger_pb2.ListEntriesRequest(origin=UK),
    "GetInclusionProof": ledger_pb2.GetInclusionProofRequest(origin=UK, index=7),
    "GetConsistencyProof": ledger_pb2.GetConsistencyProofRequest(origin=UK, old_size=77),
}
Answered = Callable[[], Awaitable[int]]


@asynccontextmanager
async def asking(hub: ChildHub, what: str) -> AsyncIterator[Answered]:
    """Ask as beta, from a process of its own, for the length of a block; the call tells how many answers it has had."""
    files = issued_files(hub.exchange.pki, "beta", "pipeline")
    method, request = f"/exchange.v1.LedgerService/{what}", ASKED[what].SerializeToString().hex()
    authority = authority_files(hub.exchange.pki).certificate
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.load.asker",
        *map(str, (hub.port, authority, files.certificate, files.key, method, request)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    async def answered() -> int:
        stdin.write(b"\n")
        return int(await stdout.readline())

    try:
        async with asyncio.timeout(TIMEOUT_S):
            assert await stdout.readline() == b"flooding\n"
        yield answered
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def fill(hub: ChildHub) -> None:
    """Give the ledger entries to read."""
    alpha = hub.party("alpha")
    await alpha.stream([signal("alpha", UK).sign(alpha.key) for _ in range(ENTRIES)])


@pytest.mark.skipif(not LONG, reason="extra: a measurement, made by make load")
@pytest.mark.parametrize("what", ASKED)
async def test_a_quiet_member_publishes_beside_one_that_reads_without_end(hub: ChildHub, what: str) -> None:
    gamma = hub.party("gamma")
    await fill(hub)
    await say(gamma, 10)
    alone = await say(gamma, SAID)
    async with asking(hub, what) as answered:
        before, started = await answered(), time.monotonic()
        beside = await say(gamma, SAID)
        rate = (await answered() - before) / (time.monotonic() - started)
    alone += await say(gamma, SAID)
    print(f"\nbeside {rate:.0f} answers of {what} a second, publish to receipt of a quiet member, in ms:")
    for share in (0.5, 0.9, 0.99):
        one, two = quantile(alone, share) * 1000, quantile(beside, share) * 1000
        print(f"  p{share * 100:g}: alone {one:.1f}, beside {two:.1f}, ratio {two / one:.2f}")
    assert rate > 0, "whoever reads is starved"
    assert what != "ListEntries" or quantile(beside, 0.5) <= GATE * quantile(alone, 0.5)

"""Signatures checked in a process beside the hub's: the same verdicts, also when that process is gone or hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from exchange.publish.signatures import FEWEST
from exchange.signatures.child import Child
from exchange.v1 import statement_pb2 as pb
from tests.e2e.bad_statements import ALPHA, good
from tests.e2e.exchange_fixture import Party, World

pytestmark = pytest.mark.e2e

COUNT = 3 * FEWEST
FORGED = 5


@pytest.fixture
async def alpha(world: World) -> AsyncIterator[Party]:
    async with asyncio.timeout(60):
        yield world.party(*ALPHA)


async def outcomes(alpha: Party) -> list[str]:
    """Publish a message in which one signature is not over what it says; return what became of each statement."""
    statements = [good().sign(alpha.key) for _ in range(COUNT)]
    statements[FORGED].signatures[0].CopyFrom(
        pb.Signature(key_id=statements[0].signatures[0].key_id, signature=statements[0].signatures[0].signature)
    )
    found = await alpha.stream(statements)
    return [result.rejection.reason if result.WhichOneof("outcome") == "rejection" else "" for result in found]


def expected() -> list[str]:
    return ["bad_signature" if number == FORGED else "" for number in range(COUNT)]


async def child_of(world: World, alpha: Party) -> Child:
    """Return the process, once the hub has one: it starts at the first message that is worth it."""
    while (child := world.app.signatures.child) is None:
        assert await outcomes(alpha) == expected()
    return child


async def test_a_forged_signature_is_refused_and_the_others_are_not(world: World, alpha: Party) -> None:
    await child_of(world, alpha)
    assert await outcomes(alpha) == expected()


@pytest.mark.parametrize("with_", [signal.SIGKILL, signal.SIGSTOP])
async def test_publishing_goes_on_when_the_process_is_killed_or_hangs(
    world: World, alpha: Party, with_: signal.Signals
) -> None:
    child = await child_of(world, alpha)
    assert child.process is not None
    os.kill(child.process.pid, with_)
    assert await outcomes(alpha) == expected()
    assert child.given_up

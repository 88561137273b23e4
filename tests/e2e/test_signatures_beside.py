"""Signatures checked in a process beside the hub's: the same verdicts, also when that process is gone or hangs."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from exchange.api.offering import Message, Offering
from exchange.api.publish import AHEAD, MEMBER_AHEAD
from exchange.domain.statement import statement_id
from exchange.ledger import ed25519
from exchange.publish import signatures
from exchange.publish.signatures import FEWEST
from exchange.signatures.child import Child
from exchange.v1 import publish_pb2
from exchange.v1 import statement_pb2 as pb
from tests.e2e.bad_statements import ALPHA, good
from tests.e2e.exchange_fixture import Party, World
from tests.waits import until

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


async def test_what_the_process_says_is_used(world: World, alpha: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    await child_of(world, alpha)
    checked_here: list[bytes] = []
    verify = ed25519.verify

    def counted(key: bytes, signature: bytes, message: bytes) -> None:
        checked_here.append(signature)
        verify(key, signature, message)

    monkeypatch.setattr(ed25519, "verify", counted)
    statements = [good().sign(alpha.key) for _ in range(COUNT)]
    forged = statements[FORGED].signatures[0]
    forged.signature = statements[0].signatures[0].signature
    await alpha.stream(statements)
    # Only of what the process did not vouch for does the hub look itself; it tells the reason.
    assert checked_here == [forged.signature]


async def test_each_statement_gets_its_own_verdict_also_between_refused_ones(world: World, alpha: Party) -> None:
    await child_of(world, alpha)
    statements = [good().sign(alpha.key) for _ in range(4 * FEWEST)]
    wanted = []
    for number, statement in enumerate(statements):
        match number % 4:
            case 1:
                statement.payload += b"\xff\x01"
                wanted.append("malformed")
            case 2:
                statement.signatures[0].signature = statements[0].signatures[0].signature
                wanted.append("bad_signature")
            case 3 if number % 8 == 7:
                statement.signatures.append(statement.signatures[0])
                wanted.append("wrong_key")
            case _:
                wanted.append("")
    found = await alpha.stream(statements)
    assert [result.statement_id for result in found] == [statement_id(each.payload) for each in statements]
    assert [result.rejection.reason for result in found] == wanted


async def test_what_closed_streams_asked_is_taken_back_and_what_is_held_is_bounded(
    world: World, alpha: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await child_of(world, alpha)
    assert child.process is not None
    monkeypatch.setattr(signatures, "ANSWER_S", 60.0)
    admitted: list[weakref.ref[Message]] = []
    admit = Offering.admit

    async def seen(offering: Offering, *arguments: Any) -> Message:
        message = await admit(offering, *arguments)
        admitted.append(weakref.ref(message))
        return message

    monkeypatch.setattr(Offering, "admit", seen)
    request = publish_pb2.PublishStreamRequest(statements=[good().sign(alpha.key) for _ in range(FEWEST)])

    async def write(call: Any) -> None:
        for _ in range(2 * AHEAD):
            await call.write(request)

    os.kill(child.process.pid, signal.SIGSTOP)
    calls = [alpha.publishing.PublishStream() for _ in range(2 * MEMBER_AHEAD // AHEAD)]
    try:
        writing = [asyncio.create_task(write(call)) for call in calls]
        await until(lambda: len(admitted) == MEMBER_AHEAD)
        await asyncio.sleep(0.5)
        assert len(admitted) == MEMBER_AHEAD
        for call in calls:
            call.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        # What waited is forgotten, but for the batch that the process was given.
        await until(lambda: held(admitted) <= 1)
    finally:
        os.kill(child.process.pid, signal.SIGCONT)
    assert await outcomes(alpha) == expected()


def held(admitted: Sequence[Callable[[], object]]) -> int:
    """Return how many of these weak references still lead somewhere."""
    gc.collect()
    return sum(each() is not None for each in admitted)

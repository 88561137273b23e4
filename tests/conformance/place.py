"""What a case works with: a live hub over mutual TLS, members with the real SDK, and what they are expected to say.

A case that does not hold raises AssertionError, also where something never came: nothing here waits without an end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from exchange.domain.kinds import Role
from exchange.errors import ExchangeError
from exchange.ops.clocks import wall_ms
from exchange_client import Delivery, ExchangeClient, Filter, Matcher, Signal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, World
from tests.e2e.sdk_clients import a_signal, client_config


@dataclass(frozen=True, slots=True)
class Said:
    """A signal in the ledger."""

    signal: Signal
    id: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Place:
    """A world, and a folder of the case's own."""

    world: World
    folder: Path

    def client(self, member: str, role: Role = Role.PIPELINE, *, name: str = "") -> ExchangeClient:
        """Return a member's client. Those of one name share what they keep: the second goes on where the first was."""
        state = self.folder / (name or f"{member}-{role.word}")
        return ExchangeClient(client_config(self.world.exchange, self.world.app.port, member, state, role))


@asynccontextmanager
async def within(seconds: float, what: str) -> AsyncIterator[None]:
    """Fail when what happens inside takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise AssertionError(f"{what} did not come") from None


@contextmanager
def refused(kind: type[ExchangeError], text: str = "") -> Iterator[None]:
    """Fail when what happens inside is not refused so."""
    try:
        yield
    except kind as error:
        assert text in str(error), str(error)
        return
    raise AssertionError(f"this was taken, and should have been refused as {kind.__name__}")


async def publish(client: ExchangeClient, **changes: object) -> Said:
    """Publish one signal about something new."""
    (said,) = await publish_all(client, [a_signal(**changes)])
    return said


async def publish_all(client: ExchangeClient, signals: Sequence[Signal]) -> list[Said]:
    """Publish signals; those with the same header become one statement."""
    async with client.publisher(UK) as publisher:
        outcomes = await publisher.publish(signals, timeout_s=TIMEOUT_S)
    found = []
    for signal, outcome in zip(signals, outcomes, strict=True):
        assert outcome.error is None, outcome.error
        assert outcome.receipt is not None
        assert outcome.signal_id is not None
        found.append(Said(signal, outcome.signal_id, outcome.receipt.index))
    return found


async def size_of(client: ExchangeClient) -> int:
    """Return how long the ledger is now."""
    return (await client.checkpoint(UK)).size


async def read(
    client: ExchangeClient, *, to: int = 0, cursor: int | None = None, wanted: Filter | None = None
) -> list[Delivery]:
    """Return all deliveries up to this size, or the present one."""
    to = to or await size_of(client)
    found: list[Delivery] = []
    async with within(TIMEOUT_S, f"entry {to - 1}"), aclosing(client.subscribe(UK, cursor=cursor, wanted=wanted)) as s:
        async for delivery in s:
            found.append(delivery)
            if delivery.index >= to - 1:
                client.acknowledge(delivery)
                break
    return found


async def follow(client: ExchangeClient, matcher: Matcher, *, cursor: int, wanted: Filter | None = None) -> None:
    """Let a matcher take all that is in the ledger from the cursor on."""
    for delivery in await read(client, cursor=cursor, wanted=wanted):
        matcher.add(delivery)


def ids_matching(matcher: Matcher, signal: Signal) -> set[bytes]:
    """Return the signals that content matches which is what a signal is about."""
    return {match.signal_id for match in matcher.match(signal.indicators, now_ms=wall_ms())}

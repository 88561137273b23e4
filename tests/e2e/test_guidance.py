"""Platforms' profiles through a real hub: who may say one, and what a client reads with its proof."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exchange.domain.bodies import State
from exchange.domain.guidance import guidance_of
from exchange.domain.guidance_body import Guidance
from exchange.domain.kinds import Role
from exchange.errors import Denied, InvalidStatement, Reason, Rejected
from exchange_client import ExchangeClient
from tests.e2e.exchange_fixture import SIDE, UK, World, open_world
from tests.e2e.sdk_clients import client_config

pytestmark = pytest.mark.e2e

DEADLINE_S = 20.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path / "exchange")
    yield opened
    await opened.aclose()


def client(world: World, folder: Path, member: str, role: Role) -> ExchangeClient:
    return ExchangeClient(client_config(world.exchange, world.app.port, member, folder / member / role.word, role))


def profile(version: int, **changes: Any) -> dict[str, Any]:
    return {"platform": "chatter", "version": version, "languages": ["en"], "name": "Chatter"} | changes


async def known(reader: ExchangeClient, version: int) -> None:
    """Return once the hub's view has taken a version."""
    async with asyncio.timeout(DEADLINE_S):
        while version not in [each.version for each in await reader.guidance(UK)]:
            await asyncio.sleep(0.05)


async def test_a_profile_is_compiled_then_confirmed_then_withdrawn(world: World, tmp_path: Path) -> None:
    operator = client(world, tmp_path, "operator", Role.OPERATOR)
    alpha, reader = client(world, tmp_path, "alpha", Role.LIAISON), client(world, tmp_path, "beta", Role.PIPELINE)
    async with operator, alpha, reader:
        with pytest.raises(InvalidStatement, match="not yours"):
            await alpha.say(UK, guidance_of(profile(1), "alpha"))
        await operator.say(UK, guidance_of(profile(1), "alpha"))
        await known(reader, 1)
        compiled = await reader.guidance_of(UK, "chatter", "cy")
        assert (compiled.confirmed, compiled.publisher, compiled.profile) == (False, "operator", profile(1))

        receipt = await alpha.say(UK, guidance_of(profile(2, name="Chatter 2"), "alpha"))
        await known(reader, 2)
        own = await reader.guidance_of(UK, "chatter")
        assert (own.confirmed, own.index, own.profile["name"]) == (True, receipt.index, "Chatter 2")
        (summary,) = await reader.guidance(UK)
        assert (summary.confirmed, summary.member, summary.languages) == (True, "alpha", ("en",))

        await alpha.say(UK, Guidance("chatter", 3, State.ENDED, "alpha"))
        async with asyncio.timeout(DEADLINE_S):
            while await reader.guidance(UK):
                await asyncio.sleep(0.05)
        with pytest.raises(Rejected) as gone:
            await reader.guidance_of(UK, "chatter")
        assert gone.value.reason is Reason.NOT_FOUND


async def test_who_may_not_say_or_read_it(world: World, tmp_path: Path) -> None:
    async with client(world, tmp_path, "alpha", Role.PIPELINE) as pipeline:
        before = (await world.heads())[UK]
        with pytest.raises(Denied):
            await pipeline.say(UK, guidance_of(profile(1, platform="alpha"), "alpha"))
        assert (await world.heads())[UK] == before
        with pytest.raises(Denied):
            await pipeline.guidance(SIDE)
        with pytest.raises(Rejected) as caught:
            await pipeline.guidance_of(UK, "nobody")
        assert caught.value.reason is Reason.NOT_FOUND

"""Parts of a hub that fail for a while: it says so, goes on by itself, and says that it is well again."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from exchange import communities, following
from exchange.config import Tiles
from exchange.domain.bodies import Membership, State
from exchange.errors import Unavailable
from exchange.stores import facts_schema
from tests.e2e.answers import get
from tests.e2e.drafts import signal
from tests.e2e.exchange_fixture import NAME, TIMEOUT_S, UK, World, open_world
from tests.e2e.test_standing import eventually

pytestmark = pytest.mark.e2e

OF_A_LOG = ("store-writer", "store-reader", "sealed-mark", "facts", "facts-reader")


async def readiness(world: World, right: Callable[[int, str], bool]) -> str:
    """Wait until the hub's answer is right; return it."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            status, body = await get(world.ops_port, "/readyz")
            if right(status, body.decode()):
                return body.decode()
            await asyncio.sleep(0.02)


async def behind(world: World) -> float:
    """Return how many entries the fold has not taken, by the metrics."""
    _, body = await get(world.ops_port, "/metrics")
    found = re.search(rf'^signal_exchange_life_behind_entries{{origin="{UK}"}} (.+)$', body.decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_a_hub_whose_fold_cannot_be_written_is_not_ready_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("AGAIN_S", 0.02), ("LONG_S", 0.3), ("WELL_S", 0.1), ("_LOOK_S", 0.02)):
        monkeypatch.setattr(following, name, seconds)
    world = await open_world(tmp_path, tiles=Tiles())
    life, alpha = world.app._logs[UK].of_community.life, world.party("alpha")

    async def full(*_: object) -> None:
        raise Unavailable("the store's disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(life.facts, "take", full)
        await alpha.publish(signal("alpha", UK))
        said = await readiness(world, lambda status, _: status == 503)
        assert f"{UK}: the fold of its life: the store's disk is full" in said
        assert await behind(world) == 1
        assert (await alpha.publish(signal("alpha", UK))).index == 1
    await readiness(world, lambda status, _: status == 200)
    await eventually(lambda: life.facts.place().size == 2)
    assert await behind(world) == 0
    await world.aclose()


async def test_a_community_that_fails_to_open_for_a_moment_is_open_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(communities, "AGAIN_S", 0.02)
    world, origin, tries = await open_world(tmp_path, tiles=Tiles()), f"{NAME}/late", list[str]()
    before = set(threading.enumerate())

    def full(_: apsw.Connection) -> None:
        tries.append("one more")
        raise apsw.FullError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(facts_schema, "make_tables", full)
        await world.exchange.new_log(origin)
        await world.registrar.community(origin)
        await world.registrar.say(Membership("alpha", origin, State.ACTIVE))
        await readiness(world, lambda _, said: f"{origin}: the store's disk is full" in said)
        tried = len(tries)
        await eventually(lambda: len(tries) > tried + 5)
    await eventually(lambda: origin in world.app._logs)
    await readiness(world, lambda status, _: status == 200)
    assert (await world.party("alpha").publish(signal("alpha", origin))).index == 0
    ours = [each.name.split()[0] for each in set(threading.enumerate()) - before]
    assert sorted(name for name in ours if name in OF_A_LOG) == sorted(OF_A_LOG), "those of failed tries are there"
    await world.aclose()

"""A hub's logs share what it may keep of their newest entries in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from exchange.app import App
from exchange.config import Feed, Ops, Tiles
from exchange.domain.kinds import Role
from exchange.opening import LEAST_BYTES
from exchange.stores.sqlite import SqliteStore
from tests.e2e.drafts import signal
from tests.e2e.exchange_fixture import (
    DIRECTORY,
    NAME,
    OPERATOR,
    SIDE,
    UK,
    LocalHub,
    Registrar,
    open_world,
)
from tests.e2e.test_standing import eventually

pytestmark = pytest.mark.e2e

MIB = 2**20
FEED = Feed(ring_bytes=16 * MIB, recent_bytes=8 * MIB)


def parts(app: App) -> dict[str, tuple[int, int]]:
    """Return what each log may keep: for subscribers, and in front of its store."""
    found: dict[str, tuple[int, int]] = {}
    for origin, log in app._logs.items():
        assert isinstance(log.store, SqliteStore)
        found[origin] = (log.tail._ring_limit, log.store._recent._max_bytes)
    return found


async def test_what_all_logs_keep_is_bounded_for_the_hub(tmp_path: Path) -> None:
    world = await open_world(tmp_path, ops=Ops(listen=""), tiles=Tiles(), feed=FEED)
    late = parts(world.app)
    assert (await world.party("alpha").publish(signal("alpha", UK))).index == 0
    await world.aclose()
    hub = await LocalHub().start(world.exchange.config(feed=FEED))
    started = parts(hub.app)
    await hub.stop()
    for found in (late, started):
        assert found.keys() == {DIRECTORY, UK, *world.exchange.log_keys}
        assert found[DIRECTORY] == (LEAST_BYTES, LEAST_BYTES)
        for whole, of_all in zip((FEED.ring_bytes, FEED.recent_bytes), zip(*found.values(), strict=True), strict=True):
            assert sum(of_all) <= whole + LEAST_BYTES * len(found)
            assert min(of_all) >= LEAST_BYTES
    # Who comes while the hub runs gets half of what is left; after a start there are equal parts.
    ours = sorted(ring for origin, (ring, _) in late.items() if origin != DIRECTORY)
    assert ours[-1] == 15 * MIB // 2
    ours = sorted(ring for origin, (ring, _) in started.items() if origin != DIRECTORY)
    assert ours[-1] - ours[0] <= 1
    assert ours[0] == 15 * MIB // (len(ours) + 1)


async def test_communities_that_are_not_on_this_hub_take_no_part(tmp_path: Path) -> None:
    """One has no folder here, and one a wrong key: what is there shares, and what comes later gets half of the rest."""
    world = await open_world(tmp_path, ops=Ops(listen=""), tiles=Tiles())
    exchange = world.exchange
    for name in ("gone", "locked"):
        await exchange.new_log(f"{NAME}/{name}")
        await world.registrar.community(f"{NAME}/{name}")
    await world.aclose()
    shutil.move(exchange.folders.log("gone"), tmp_path / "gone")
    shutil.copy(exchange.folders.key("uk"), exchange.folders.key("locked"))
    hub = await LocalHub().start(exchange.config(feed=FEED))
    here = parts(hub.app)
    # Two are open, one does not open, and one part is left; a file system that comes back brings one more.
    assert {origin: ring for origin, (ring, _) in here.items()} == {
        DIRECTORY: LEAST_BYTES,
        UK: 15 * MIB // 4,
        SIDE: 15 * MIB // 4,
    }
    shutil.move(tmp_path / "gone", exchange.folders.log("gone"))
    operator = exchange.party(hub.port, OPERATOR, Role.OPERATOR)
    await Registrar(exchange, operator).enrol("delta")
    await eventually(lambda: f"{NAME}/gone" in hub.app._logs)
    assert parts(hub.app)[f"{NAME}/gone"][0] == 15 * MIB // 4
    await operator.channel.close()
    await hub.stop()

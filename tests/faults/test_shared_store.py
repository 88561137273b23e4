"""Masters that die under hubs: watched by Sentinels, in a Cluster; and hubs that die under others."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from exchange.errors import Conflict, Unavailable
from exchange.stores.redis import RedisStore
from exchange.stores.redis_master import REACH_EVERY_S
from exchange.stores.redis_place import parse_place
from exchange.stores.redis_scripts import Keys
from tests.contract.builders import Chain, commit, read_all, seal
from tests.contract.redis_server import running
from tests.contract.redis_sets import NAME, cluster, cluster_url, following, serves, watched
from tests.e2e.exchange_fixture import UK
from tests.faults.hubs import SOME, Report, loaded

pytestmark = pytest.mark.faults


@pytest.mark.short
async def test_the_master_is_killed_and_sentinels_promote_another(
    ends: AsyncExitStack, tmp_path: Path, report: Report
) -> None:
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report):
        old = await servers.master()
        await old.stop(signal.SIGKILL)
        new = await servers.master_other_than(old)
        await old.start(*following(new))


async def test_an_operator_orders_a_failover(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    """Nothing fails, and the old master goes on for seconds: Sentinels tell it last."""
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report):
        old = await servers.master()
        await servers.sentinels[0].ask("SENTINEL", "FAILOVER", NAME)
        new = await servers.master_other_than(old)
        await new.has_replicas(2)


async def test_hubs_on_a_cluster(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    nodes = await ends.enter_async_context(cluster(tmp_path / "nodes"))
    async with loaded(tmp_path, cluster_url(nodes), report):
        assert sum([await each.ask("DBSIZE") > 0 for each in nodes]) > 1  # the logs are in several slots


async def test_only_the_replica_that_lagged_is_left(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    """A count that left it out would lose everything that was acknowledged while it slept."""
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report) as hubs:
        old = await servers.master()
        quick, lagging = (each for each in servers.servers if each is not old)
        lagging.send(signal.SIGSTOP)
        await hubs.not_safe()
        for each in (old, quick):
            await each.stop(signal.SIGKILL)
        lagging.send(signal.SIGCONT)
        assert await servers.master_other_than(old) is lagging
        for each in (old, quick):
            await each.start(*following(lagging))


async def test_a_node_of_a_cluster_is_killed(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    nodes = await ends.enter_async_context(cluster(tmp_path / "nodes", replicas=2))
    async with loaded(tmp_path, cluster_url(nodes), report):
        old = await serves(nodes, Keys(UK).head)
        await old.stop(signal.SIGKILL)
        await serves([each for each in nodes if each is not old], Keys(UK).head)
        await old.start()


async def test_hubs_are_killed_in_turn(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    server = await ends.enter_async_context(running(tmp_path / "server"))
    async with loaded(tmp_path, server.url, report) as hubs:
        for turn in range(6):
            await hubs.load.more(SOME)
            await hubs.kill(turn % 2)


async def test_the_server_is_killed_under_hubs(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    server = await ends.enter_async_context(running(tmp_path / "server"))
    async with loaded(tmp_path, server.url, report) as hubs:
        for _ in range(3):
            await hubs.load.more(SOME)
            await server.stop(signal.SIGKILL)
            await server.start()


async def test_a_replica_that_may_lose_something_stops_publishing(tmp_path: Path) -> None:
    async with watched(tmp_path / "servers") as servers:
        place, origin = parse_place(servers.url, tmp_path), "example/news"
        store = await RedisStore.open(place, tmp_path / "news", origin=origin, create=True)
        chain = await commit(store, Chain(), 3)
        replica = servers.servers[2]
        await replica.stop(signal.SIGKILL)
        grown, group = chain.grow(1)
        with pytest.raises(Unavailable, match="is not connected"):
            await store.append(chain.head, group)
        await replica.start(*following(servers.servers[0]), "--appendfsync", "everysec")
        await replica.ask("CONFIG", "SET", "appendfsync", "everysec")
        await servers.servers[0].has_replicas(2)
        await asyncio.sleep(REACH_EVERY_S)  # until it is tried again
        with pytest.raises(Unavailable, match="appendfsync is 'everysec'"):
            await store.append(chain.head, group)
        assert (await store.head()).durable == chain.head
        await replica.ask("CONFIG", "SET", "appendfsync", "always")
        with pytest.raises(Conflict, match="another hub was quicker"):
            await store.append(chain.head, chain.grow(1, seed="other")[1])
        await seal(store, grown.head)
        assert await read_all(store) == list(grown.entries)
        await store.aclose()

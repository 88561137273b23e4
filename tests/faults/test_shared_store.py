"""Masters that die under hubs: watched by Sentinels, in a Cluster; and hubs that die under others."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import Conflict, Unavailable
from exchange.stores.redis import RedisStore
from exchange.stores.redis_master import REACH_EVERY_S
from exchange.stores.redis_place import parse_place
from exchange.stores.redis_scripts import Keys
from tests.contract.builders import Chain, commit, read_all, seal
from tests.contract.redis_server import running
from tests.contract.redis_sets import CHANGE_S, cluster, cluster_url, watched
from tests.e2e.child_hub import ChildHub
from tests.e2e.exchange_fixture import UK, Exchange
from tests.e2e.shared_store import founded, tallied, verified
from tests.faults.conftest import ROW
from tests.faults.load import Load
from tests.faults.scene import steady_port

pytestmark = pytest.mark.faults

AFTERWARDS = 30


@pytest.fixture
async def ends() -> AsyncIterator[AsyncExitStack]:
    """What a case starts ends with it."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def report(record_property: Any) -> Callable[[str], None]:
    return lambda row: record_property(ROW, row)


async def two_hubs(ends: AsyncExitStack, exchange: Exchange) -> tuple[ChildHub, ChildHub, Exchange]:
    """Start two hubs on an exchange's store."""
    other = exchange.beside(exchange.folder.parent / "second")
    first = await ChildHub.start(exchange, port=steady_port())
    ends.push_async_callback(first.aclose)
    second = await ChildHub.start(other, "--adopt", port=steady_port())
    ends.push_async_callback(second.aclose)
    return first, second, other


@dataclass
class Hubs:
    """The hubs that a load is on."""

    ends: AsyncExitStack
    running: list[ChildHub]

    async def kill(self, number: int) -> None:
        """Kill one, and start it again on its port."""
        hub = self.running[number]
        hub.send(signal.SIGKILL)
        await hub.ended()
        await hub.aclose()
        self.running[number] = await ChildHub.start(hub.exchange, port=hub.port)
        self.ends.push_async_callback(self.running[number].aclose)


async def judged(load: Load, report: Callable[[str], None], *hubs: Exchange) -> None:
    """Hold what the load was told against the store, put it into the table, and verify the store."""
    tally = await tallied(load, *hubs)
    report(json.dumps(asdict(tally) | {"verified": tally.clean, "notes": ""}))
    assert tally.clean, tally
    await verified(hubs[0])


@asynccontextmanager
async def loaded(folder: Path, url: str, report: Callable[[str], None]) -> AsyncIterator[tuple[Load, Hubs]]:
    """Two hubs on a store under load, before, while and after what the block does; then all is judged."""
    async with AsyncExitStack() as ends:
        exchange = await founded(folder / "exchange", url)
        *hubs, other = await two_hubs(ends, exchange)
        async with Load.running(exchange, *(hub.port for hub in hubs), folder=folder / "clients") as load:
            await load.more(AFTERWARDS)
            yield load, Hubs(ends, hubs)
            await load.more(AFTERWARDS)
            await load.finish()
        await judged(load, report, exchange, other)


@pytest.mark.short
async def test_the_master_is_killed_and_sentinels_promote_another(
    ends: AsyncExitStack, tmp_path: Path, report: Callable[[str], None]
) -> None:
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report):
        old = await servers.master()
        await old.stop(signal.SIGKILL)
        new = await servers.master_other_than(old)
        await old.start("--replicaof", f"127.0.0.1 {new.port}")


async def test_hubs_on_a_cluster(ends: AsyncExitStack, tmp_path: Path, report: Callable[[str], None]) -> None:
    nodes = await ends.enter_async_context(cluster(tmp_path / "nodes"))
    async with loaded(tmp_path, cluster_url(nodes), report):
        assert sum([await each.ask("DBSIZE") > 0 for each in nodes]) > 1  # the logs are in several slots


async def test_only_the_replica_that_lagged_is_left(
    ends: AsyncExitStack, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """A count that left it out would lose everything that was acknowledged while it slept."""
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report) as (_, hubs):
        old = await servers.master()
        quick, lagging = (each for each in servers.servers if each is not old)
        lagging.send(signal.SIGSTOP)
        await not_safe(hubs.running[0])
        for each in (old, quick):
            await each.stop(signal.SIGKILL)
        lagging.send(signal.SIGCONT)
        assert await servers.master_other_than(old) is lagging
        for each in (old, quick):
            await each.start("--replicaof", f"127.0.0.1 {lagging.port}")


async def not_safe(hub: ChildHub) -> None:
    """Wait until a hub says that it could not make a group safe."""
    async with asyncio.timeout(30):
        while "store_is_not_safe_to_write" not in hub.log.read_text():
            await asyncio.sleep(0.05)


async def test_a_node_of_a_cluster_is_killed(
    ends: AsyncExitStack, tmp_path: Path, report: Callable[[str], None]
) -> None:
    nodes = await ends.enter_async_context(cluster(tmp_path / "nodes", replicas=True))
    async with loaded(tmp_path, cluster_url(nodes), report):
        (old,) = [each for each in nodes[:3] if await each.ask("KEYS", Keys(UK).head)]
        await old.stop(signal.SIGKILL)
        replica = nodes[nodes.index(old) + 3]
        async with asyncio.timeout(CHANGE_S):
            while b"role:master" not in await replica.ask("INFO", "replication"):
                await asyncio.sleep(0.1)
        await old.start()


async def test_hubs_are_killed_in_turn(ends: AsyncExitStack, tmp_path: Path, report: Callable[[str], None]) -> None:
    server = await ends.enter_async_context(running(tmp_path / "server"))
    async with loaded(tmp_path, server.url, report) as (load, hubs):
        for turn in range(6):
            await load.more(AFTERWARDS)
            await hubs.kill(turn % 2)


async def test_the_server_is_killed_under_hubs(
    ends: AsyncExitStack, tmp_path: Path, report: Callable[[str], None]
) -> None:
    server = await ends.enter_async_context(running(tmp_path / "server"))
    async with loaded(tmp_path, server.url, report) as (load, _):
        for _ in range(3):
            await load.more(AFTERWARDS)
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
        await replica.start("--replicaof", f"127.0.0.1 {servers.servers[0].port}", "--appendfsync", "everysec")
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

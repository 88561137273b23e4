"""A network that is cut under hubs of a shared store: what a server called written on the wrong side is gone with it.

The hubs, or one of them, are left with the old master, which goes on as if nothing were; the other side promotes.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from exchange.stores.redis_scripts import Keys
from tests.contract.machines import HERE, connected
from tests.contract.redis_sets import cluster, cluster_url, serves, watched
from tests.e2e.exchange_fixture import UK
from tests.faults.hubs import Report, loaded
from tests.faults.plain import PlainWriter

pytestmark = pytest.mark.faults

#: Until the network is whole again, once the other side has a master.
MORE_S = 2.0


@pytest.mark.parametrize("sides", ["both", "one"])
async def test_a_partition_with_hubs_on_the_old_masters_side(
    ends: AsyncExitStack, tmp_path: Path, report: Report, sides: str
) -> None:
    """With one hub on each side, both find a master, and neither may believe it."""
    network = ends.enter_context(connected(7))
    *machines, there = network.machines
    servers = await ends.enter_async_context(watched(tmp_path / "servers", machines))
    second = HERE if sides == "both" else there
    async with loaded(tmp_path, servers.url, report, machines=(HERE, second)) as hubs:
        old = servers.servers[0]
        network.cut(*machines[1:3], *machines[4:], there)
        new = await servers.master_other_than(old, *servers.sentinels[1:])
        await hubs.not_safe()
        await asyncio.sleep(MORE_S)  # the fault itself
        assert b"role:master" in await old.ask("INFO", "replication"), "there was no second master"
        network.heal()
        assert await servers.master_other_than(old) is new


async def test_a_partition_that_leaves_the_lagging_replica_alone(
    ends: AsyncExitStack, tmp_path: Path, report: Report
) -> None:
    """Whoever waits for one replica, of two, has it of the one that is cut off with the old master."""
    network = ends.enter_context(connected(6))
    servers = await ends.enter_async_context(watched(tmp_path / "servers", network.machines))
    async with loaded(tmp_path, servers.url, report) as hubs, PlainWriter.running(servers.url, replicas=1) as waiting:
        old, _, lagging = servers.servers
        lagging.send(signal.SIGSTOP)
        await hubs.not_safe()
        network.cut(lagging.machine, *(each.machine for each in servers.sentinels[1:]))
        lagging.send(signal.SIGCONT)
        assert await servers.master_other_than(old, *servers.sentinels[1:]) is lagging
        await asyncio.sleep(MORE_S)  # the fault itself
        network.heal()
        assert await servers.master_other_than(old) is lagging
        tally = await waiting.tally()
        hubs.notes.append(f"XADD with WAIT 1 lost {tally.plain_lost} of {tally.plain_acknowledged}")


async def test_a_partition_of_a_cluster(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    network = ends.enter_context(connected(9))
    nodes = await ends.enter_async_context(cluster(tmp_path / "nodes", replicas=2, machines=network.machines))
    async with loaded(tmp_path, cluster_url(nodes), report) as hubs:
        old = await serves(nodes, Keys(UK).head)
        others = [each for each in nodes if each is not old]
        network.cut(*(each.machine for each in others))
        await serves(others, Keys(UK).head)
        await hubs.not_safe()
        await asyncio.sleep(MORE_S)  # the fault itself
        network.heal()
        async with asyncio.timeout(30):
            while b"role:master" in await old.ask("INFO", "replication"):
                await asyncio.sleep(0.1)

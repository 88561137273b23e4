"""Several real servers on loopback that belong together: a master that Sentinels watch, and a Cluster."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from tests.contract.redis_server import EAGER, FIT, RedisServer

NAME = "exchange"
PASSWORD = "what-only-hubs-know"
CHANGE_S = 60.0
SLOTS = 16_384


@dataclass
class Watched:
    """A master with its replicas, and three Sentinels."""

    servers: list[RedisServer]
    sentinels: list[RedisServer]

    #: Of the user that Sentinels know, in a file.
    password: Path

    @property
    def url(self) -> str:
        """The store's setting for it."""
        places = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{places}/{NAME}?sentinel_user=hub&sentinel_password_file={self.password}"

    async def master(self) -> RedisServer:
        """Return the server that the first Sentinel calls the master now."""
        _, port = await self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        (found,) = [each for each in self.servers if each.port == int(port)]
        return found

    async def master_other_than(self, before: RedisServer) -> RedisServer:
        """Wait until another is the master, for all Sentinels and for itself."""
        async with asyncio.timeout(CHANGE_S):
            while True:
                told = {
                    int((await each.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME))[1]) for each in self.sentinels
                }
                if len(told) == 1 and told != {before.port}:
                    now = await self.master()
                    if b"role:master" in await now.ask("INFO", "replication"):
                        return now
                await asyncio.sleep(0.1)


def _rights() -> str:
    """Return what a user may ask Sentinels for, as docs/redis.md has it."""
    text = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
    (found,) = re.findall(r"Sentinels, .* need a user with `(.+)`", text)
    return str(found)


def _sentinel(folder: Path, master: int) -> RedisServer:
    made = RedisServer(folder, ("--sentinel",))
    folder.mkdir(parents=True)
    (folder / "sentinel.conf").write_text(
        f"port {made.port}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {master} 2\n"
        f"sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 3000\n"
        f"user hub on >{PASSWORD} -@all {_rights()}\n"
    )
    return made


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    """Run a master, two replicas and three Sentinels for the length of a block."""
    servers = [RedisServer(folder / f"server{n}") for n in range(3)]
    folder.mkdir(parents=True)
    password = folder / "password"
    password.write_text(PASSWORD)
    made = Watched(servers, [_sentinel(folder / f"sentinel{n}", servers[0].port) for n in range(3)], password)
    try:
        await servers[0].start()
        for each in servers[1:]:
            await each.start("--replicaof", f"127.0.0.1 {servers[0].port}")
        await servers[0].has_replicas(2)
        for each in made.sentinels:
            await each.start(str(each.folder / "sentinel.conf"))
        async with asyncio.timeout(CHANGE_S):
            for each in made.sentinels:
                while not await _knows_all(each):
                    await asyncio.sleep(0.1)
        yield made
    finally:
        for each in (*made.sentinels, *servers):
            await each.stop(signal.SIGKILL)


async def _knows_all(sentinel: RedisServer) -> bool:
    replicas = await sentinel.ask("SENTINEL", "REPLICAS", NAME)
    others = await sentinel.ask("SENTINEL", "SENTINELS", NAME)
    return len(replicas) == len(others) == 2


@asynccontextmanager
async def cluster(folder: Path, *, replicas: bool = False) -> AsyncIterator[list[RedisServer]]:
    """Run three masters that share the slots for the length of a block; each with a replica, where asked for."""
    flags = (*FIT, *EAGER, "--cluster-enabled", "yes")
    timing = ("--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0")
    servers = [RedisServer(folder / f"node{n}", (*flags, *timing)) for n in range(6 if replicas else 3)]
    masters, others = servers[:3], servers[3:]
    try:
        for each in servers:
            await each.start()
        for n, each in enumerate(masters):
            await each.ask("CLUSTER", "ADDSLOTSRANGE", n * SLOTS // 3, (n + 1) * SLOTS // 3 - 1)
            await each.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for each in servers[1:]:
            await each.ask("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        await agreed(servers)
        for each, master in zip(others, masters, strict=False):
            await _follow(each, (await master.ask("CLUSTER", "MYID")).decode())
            await master.has_replicas(1)
        yield servers
    finally:
        for each in servers:
            await each.stop(signal.SIGKILL)


async def agreed(servers: list[RedisServer]) -> None:
    """Wait until all nodes say that every slot is served."""
    async with asyncio.timeout(CHANGE_S):
        for each in servers:
            while b"cluster_state:ok" not in (said := await each.ask("CLUSTER", "INFO")) or (
                f"cluster_known_nodes:{len(servers)}".encode() not in said
            ):
                await asyncio.sleep(0.1)


async def _follow(replica: RedisServer, master: str) -> None:
    async with asyncio.timeout(CHANGE_S):
        while True:
            try:
                await replica.ask("CLUSTER", "REPLICATE", master)
            except RedisError:  # it has not heard of that one yet
                await asyncio.sleep(0.1)
            else:
                return


def cluster_url(servers: list[RedisServer]) -> str:
    """Return the store's setting for a Cluster."""
    return f"redis+cluster://{','.join(f'127.0.0.1:{each.port}' for each in servers)}"

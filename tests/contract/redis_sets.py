"""Several real servers that belong together: a master that Sentinels watch, and a Cluster."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from tests.contract.machines import HERE, Machine
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
        places = ",".join(each.address for each in self.sentinels)
        return f"redis+sentinel://{places}/{NAME}?sentinel_user=hub&sentinel_password_file={self.password}"

    async def master(self) -> RedisServer:
        """Return the server that the first Sentinel calls the master now."""
        _, port = await self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        (found,) = [each for each in self.servers if each.port == int(port)]
        return found

    async def master_other_than(self, before: RedisServer, *askers: RedisServer) -> RedisServer:
        """Wait until another is the master, for itself and for these Sentinels; where none are named, for all."""
        async with asyncio.timeout(CHANGE_S):
            while True:
                told = {
                    int((await each.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME))[1])
                    for each in askers or self.sentinels
                }
                if len(told) == 1 and told != {before.port}:
                    (now,) = [each for each in self.servers if {each.port} == told]
                    if b"role:master" in await now.ask("INFO", "replication"):
                        return now
                await asyncio.sleep(0.1)


def _rights() -> str:
    """Return what a user may ask Sentinels for, as docs/redis.md has it."""
    text = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
    (found,) = re.findall(r"Sentinels, .* need a user with `(.+)`", text)
    return str(found)


def _sentinel(folder: Path, master: RedisServer, machine: Machine, environment: Mapping[str, str]) -> RedisServer:
    made = RedisServer(folder, ("--sentinel",), machine=machine, environment=environment)
    folder.mkdir(parents=True)
    (folder / "sentinel.conf").write_text(
        f"port {made.port}\nsentinel monitor {NAME} {master.machine.address} {master.port} 2\n"
        f"sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 3000\n"
        f"user hub on >{PASSWORD} -@all {_rights()}\n"
    )
    return made


def following(master: RedisServer) -> tuple[str, str]:
    """Return what makes a server that one's replica."""
    return "--replicaof", f"{master.machine.address} {master.port}"


@asynccontextmanager
async def watched(
    folder: Path,
    machines: Sequence[Machine] = (HERE,) * 6,
    environments: Sequence[Mapping[str, str]] = ({},) * 6,
) -> AsyncIterator[Watched]:
    """Run a master, two replicas and three Sentinels for the length of a block, each where it belongs."""
    places = list(zip(machines, environments, strict=True))
    servers = [
        RedisServer(folder / f"server{n}", machine=machine, environment=environment)
        for n, (machine, environment) in enumerate(places[:3])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    password = folder / "password"
    password.write_text(PASSWORD)
    sentinels = [_sentinel(folder / f"sentinel{n}", servers[0], *where) for n, where in enumerate(places[3:])]
    made = Watched(servers, sentinels, password)
    try:
        await servers[0].start()
        for each in servers[1:]:
            await each.start(*following(servers[0]))
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
async def cluster(
    folder: Path, *, replicas: int = 0, machines: Sequence[Machine] = ()
) -> AsyncIterator[list[RedisServer]]:
    """Run three masters that share the slots for the length of a block, then the first replica of each, and so on."""
    flags = (*FIT, *EAGER, "--cluster-enabled", "yes")
    timing = ("--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0")
    places = machines or (HERE,) * (3 + 3 * replicas)
    servers = [RedisServer(folder / f"node{n}", (*flags, *timing), machine=each) for n, each in enumerate(places)]
    masters, others = servers[:3], servers[3:]
    try:
        for each in servers:
            await each.start()
        for n, each in enumerate(masters):
            await each.ask("CLUSTER", "ADDSLOTSRANGE", n * SLOTS // 3, (n + 1) * SLOTS // 3 - 1)
            await each.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for each in servers[1:]:
            await each.ask("CLUSTER", "MEET", servers[0].machine.address, servers[0].port)
        await agreed(servers)
        for n, each in enumerate(others):
            await _follow(each, (await masters[n % 3].ask("CLUSTER", "MYID")).decode())
        for master in masters:
            await master.has_replicas(replicas)
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


async def serves(nodes: Sequence[RedisServer], key: bytes) -> RedisServer:
    """Wait until one of these is the master that has a key; return it."""
    async with asyncio.timeout(CHANGE_S):
        while True:
            for each in nodes:
                if b"role:master" in await each.ask("INFO", "replication") and await each.ask("KEYS", key):
                    return each
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
    return f"redis+cluster://{','.join(each.address for each in servers)}"

"""What everybody writes first: XADD, and the server's OK is taken for safe. It runs beside the hubs, under the same fault.

The library's own clients find the master, go where they are sent, and try again as they do by themselves; nothing is
held against the plain way that is not its own. What it was told is safe is looked for at the end: gone or changed, it
is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from exchange.stores.redis_place import Form, parse_place
from tests.e2e.exchange_fixture import UK

PAUSE_S = 0.01
#: How long a server may take to answer.
ANSWER_S = 2.0
READ_S = 30.0


@dataclass(frozen=True, slots=True)
class PlainTally:
    """What became of it."""

    plain_acknowledged: int
    plain_lost: int


class PlainWriter:
    """A writer and what it was told. Use `running`; the stream lies beside the log, on the same servers."""

    def __init__(self, store: str, *, replicas: int = 0) -> None:
        """``replicas`` is what it gives WAIT; without, it waits for nobody."""
        self._place = parse_place(store, Path())
        self._replicas = replicas
        self.key = f"plain-{replicas}:{{{UK}}}"
        self.acknowledged: set[int] = set()
        self._writing: asyncio.Task[None] | None = None
        self._tally: PlainTally | None = None
        self._ends = False

    @classmethod
    @asynccontextmanager
    async def running(cls, store: str, *, replicas: int = 0) -> AsyncIterator[PlainWriter]:
        """Keep writing for the length of a block."""
        made = cls(store, replicas=replicas)
        made._writing = asyncio.create_task(made._write())
        try:
            yield made
        finally:
            await made._stop()

    async def _stop(self) -> None:
        """Let it end by itself: a cancelled call of the library may go on."""
        self._ends = True
        if self._writing is not None:
            await self._writing

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        """Connect as the library's own documentation does."""
        first = self._place.addresses[0]
        settings: dict[str, Any] = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S, "protocol": 2}
        if self._place.form is Form.SENTINEL:
            told = Sentinel(  # type: ignore[no-untyped-call]
                [(each.host, each.port) for each in self._place.addresses], sentinel_kwargs=settings, **settings
            )
            client: Any = told.master_for(self._place.master)
        elif self._place.form is Form.CLUSTER:
            told = None
            nodes = [ClusterNode(each.host, each.port) for each in self._place.addresses]
            client = RedisCluster(startup_nodes=nodes, **settings)
        else:
            told = None
            client = Redis(host=first.host, port=first.port, **settings)
        try:
            yield client
        finally:
            await client.aclose()
            for each in told.sentinels if told else ():
                await each.aclose()

    async def _write(self) -> None:
        number = 0
        async with self._client() as client:
            while not self._ends:
                number += 1
                try:
                    if await self._add(client, number):
                        self.acknowledged.add(number)
                except (RedisError, OSError):
                    await asyncio.sleep(10 * PAUSE_S)
                await asyncio.sleep(PAUSE_S)

    async def _add(self, client: Any, number: int) -> bool:
        """Write one entry; return whether it counts as safe."""
        fields = {"number": number, "content": content(number)}
        if not self._replicas:
            await client.xadd(self.key, fields)
            return True
        async with client.pipeline(transaction=False) as both:  # one connection, for WAIT counts for it alone
            _, has = await both.xadd(self.key, fields).execute_command("WAIT", self._replicas, 500).execute()
        return int(has) >= self._replicas

    async def tally(self) -> PlainTally:
        """Stop; look for everything that was acknowledged, on the master that there is now. Once: that is its tally."""
        if self._tally is not None:
            return self._tally
        await self._stop()
        async with asyncio.timeout(READ_S):
            found = await self._read()
        there = {int(fields[b"number"]): fields[b"content"].decode() for _, fields in found if b"number" in fields}
        lost = sum(there.get(each) != content(each) for each in self.acknowledged)
        self._tally = PlainTally(len(self.acknowledged), lost)
        return self._tally

    async def _read(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        while True:
            try:
                async with self._client() as client:
                    return list(await client.xrange(self.key))
            except (RedisError, OSError):
                await asyncio.sleep(10 * PAUSE_S)


def content(number: int) -> str:
    """Return what an entry must hold."""
    return sha256(str(number).encode()).hexdigest()

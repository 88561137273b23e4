"""What lies between a store and its server: TLS where the server has none of its own, and replies that get lost."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.contract.machines import HERE, Machine

_CHUNK = 65_536


@dataclass
class Wire:
    """A port that passes on to a server, until told otherwise."""

    port: int = 0
    #: The next bytes from the server that hold this are not passed on, and the connection ends there.
    lose: bytes = b""
    lost: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def pass_on(
        self, server: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, machine: Machine = HERE
    ) -> None:
        """Carry one connection, to a server's port on its machine."""
        with contextlib.closing(writer), contextlib.suppress(OSError):
            where: dict[str, Any] = {"host": "127.0.0.1", "port": server}
            if machine is not HERE:
                where = {"sock": machine.connected(server)}
            far_reader, far_writer = await asyncio.open_connection(**where)
            with contextlib.closing(far_writer):
                await self._both_ways((reader, far_writer), (far_reader, writer))

    async def _both_ways(
        self,
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        back: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Carry until one end has gone."""
        ways = [
            asyncio.create_task(self._carry(*there, replies=False)),
            asyncio.create_task(self._carry(*back, replies=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                if replies and self.lose and self.lose in data:
                    self.lose = b""
                    self.lost += 1
                    return
                sink.write(data)
                await sink.drain()


@asynccontextmanager
async def wired(
    server: int, context: ssl.SSLContext | None = None, *, port: int = 0, machine: Machine = HERE
) -> AsyncIterator[Wire]:
    """Pass on from a port of its own to a server's for the length of a block; with a context, take TLS off."""
    wire = Wire()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(wire.pass_on(server, reader, writer, machine))
        wire._tasks.add(task)
        task.add_done_callback(wire._tasks.discard)
        await asyncio.wait([task])

    listening = await asyncio.start_server(carry, "127.0.0.1", port, ssl=context)
    wire.port = listening.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        listening.close()
        tasks = list(wire._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

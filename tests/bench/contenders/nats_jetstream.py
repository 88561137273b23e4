"""NATS JetStream with a file store, where a server is on PATH. Its default fsync is every two minutes: said beside it.

One message per signal, push consumers without acknowledgements, publishers that wait for JetStream's. The clients speak
NATS's protocol over plain sockets, which is faster than its Python client.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.arrivals import Arrivals, findings, open_loop
from tests.bench.contenders.contender import Operation, free_port, listening, stop
from tests.bench.processes import Turn
from tests.bench.workload import WINDOW, Load, values

_BINARY = "nats-server"
_TICK_S = 0.001
_READ_BYTES = 1024 * 1024
_INBOX = "_INBOX.bench"


class NatsJetStream:
    """A server of its own, and one stream for each run."""

    name = "nats_jetstream"

    def __init__(self) -> None:
        self._port = 0
        self._run = 0
        self._version = ""
        self._process: asyncio.subprocess.Process

    @staticmethod
    def available() -> bool:
        """Whether a server is on PATH."""
        return shutil.which(_BINARY) is not None

    @property
    def about(self) -> str:
        """Return server, version and settings."""
        return (
            f"{self._version}, JetStream on files, fsync every 2 minutes (its default), no TLS, one message per signal"
        )

    @property
    def pid(self) -> int:
        """Return the server's process."""
        return self._process.pid

    async def start(self, folder: Path) -> None:
        """Start the server."""
        folder.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        network = ("-a", "127.0.0.1", "-p", str(self._port))
        with (folder / "server.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                _BINARY, "-js", "-sd", str(folder), *network, stdout=log, stderr=log
            )
        await listening(self._port, self._process)
        probe = await asyncio.create_subprocess_exec(_BINARY, "--version", stdout=asyncio.subprocess.PIPE)
        self._version = (await probe.communicate())[0].decode().strip().replace(": v", " ")

    async def fresh(self) -> None:
        """Delete the last run's stream and make another one."""
        connection = await Connection.open(self._port)
        if self._run:
            await connection.ask(f"$JS.API.STREAM.DELETE.{self._stream}", {})
        self._run += 1
        config = {"name": self._stream, "subjects": [self._stream], "storage": "file", "num_replicas": 1}
        await connection.ask(f"$JS.API.STREAM.CREATE.{self._stream}", config)
        connection.close()

    @property
    def _stream(self) -> str:
        return f"signals-{self._run}"

    def fair(self, load: Load) -> Load:
        """Return five times as many single signals, which are quick here; else the load as it is."""
        return Load(load.records * 5, 1) if load.per_statement == 1 else load

    def entries(self, load: Load) -> int:
        """Return the number of signals."""
        return load.records

    def subscribers(self, streams: Sequence[int], entries: int, load: Load, *, latency: bool) -> list[Operation]:
        """Return push consumers, each with a connection of its own."""
        common = {"port": self._port, "stream": self._stream, "entries": entries, "latency": latency}
        return [Operation("contenders.nats_jetstream:subscribe", {**common, "streams": count}) for count in streams]

    def publisher(self, load: Load) -> Operation:
        """Return a publisher with as many signals under way as the hub gets."""
        arguments = {
            "port": self._port,
            "stream": self._stream,
            "records": load.records,
            "per_message": load.signals_per_message,
        }
        return Operation("contenders.nats_jetstream:publish", arguments)

    def steady(self, rate: float, seconds: float) -> Operation:
        """Return a publisher at a rate."""
        arguments = {"port": self._port, "stream": self._stream, "rate": rate, "seconds": seconds}
        return Operation("contenders.nats_jetstream:publish_steadily", arguments)

    async def aclose(self) -> None:
        """Stop the server."""
        await stop(self._process)


class Connection:
    """A socket that speaks NATS's protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect, and listen to our inbox."""
        connection = cls(*await asyncio.open_connection("127.0.0.1", port, limit=8 * 1024 * 1024))
        await connection._reader.readline()  # INFO
        connection.send(b'CONNECT {"verbose":false,"pedantic":false,"headers":false}\r\n')
        return connection

    def send(self, data: bytes) -> None:
        """Write ready protocol lines."""
        self._writer.write(data)

    async def ask(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask JetStream something on a connection that listens to nothing yet. Raises RuntimeError when it refuses."""
        text = json.dumps(body).encode()
        inbox = f"{_INBOX}.{id(self)}"
        self.send(
            b"SUB %b 1\r\nPUB %b %b %d\r\n%b\r\n" % (inbox.encode(), subject.encode(), inbox.encode(), len(text), text)
        )
        async for payloads in self.messages(payload=True):
            answer = json.loads(payloads[0])
            self.send(b"UNSUB 1\r\n")
            if "error" in answer:
                raise RuntimeError(str(answer["error"]))
            return dict(answer)
        raise ConnectionError("the server has closed the connection")

    async def messages(self, *, payload: bool = False) -> AsyncIterator[list[bytes]]:
        """Yield the messages of each read: their payloads where asked for, else empty bytes in their place."""
        buffer = b""
        while data := await self._reader.read(_READ_BYTES):
            buffer = buffer + data if buffer else data
            found: list[bytes] = []
            at = 0
            while (end := buffer.find(b"\r\n", at)) >= 0:
                if not buffer.startswith(b"MSG ", at):
                    if buffer.startswith(b"PING", at):
                        self.send(b"PONG\r\n")
                    elif buffer.startswith(b"-ERR", at):
                        raise ConnectionError(buffer[at:end].decode())
                    at = end + 2
                    continue
                size = int(buffer[buffer.rindex(b" ", at, end) + 1 : end])
                after = end + 2 + size + 2
                if after > len(buffer):
                    break
                found.append(buffer[end + 2 : after - 2] if payload else b"")
                at = after
            buffer = buffer[at:]
            if found:
                yield found

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


async def subscribe(
    turn: Turn, *, port: int, stream: str, entries: int, streams: int, latency: bool = False
) -> dict[str, Any]:
    """Follow a stream on so many connections, until ``entries`` have come on every one."""
    connections = [await Connection.open(port) for _ in range(streams)]
    for number, connection in enumerate(connections):
        inbox = f"{_INBOX}.push.{time.monotonic_ns()}.{number}"
        config = {"deliver_subject": inbox, "ack_policy": "none", "deliver_policy": "all", "replay_policy": "instant"}
        await connection.ask(f"$JS.API.CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config})
        connection.send(b"SUB %b 2\r\n" % inbox.encode())
    arrivals = [Arrivals(entries) for _ in connections]
    following = [
        asyncio.create_task(_follow(connection, one)) for connection, one in zip(connections, arrivals, strict=True)
    ]
    turn.ready()
    await asyncio.gather(*following)
    for connection in connections:
        connection.close()
    return await findings(turn, arrivals, latency=latency)


async def _follow(connection: Connection, arrivals: Arrivals) -> None:
    async for messages in connection.messages():
        if arrivals.add(len(messages)):
            return


def _packed(stream: str, count: int, inbox: str) -> list[bytes]:
    subject, reply = stream.encode(), inbox.encode()
    return [b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(value), value) for value in values(count)]


async def _acknowledged(connection: Connection, total: int, room: asyncio.Semaphore | None, per: int) -> int:
    """Take acknowledgements until all have come; make room for a message at each ``per`` of them."""
    seen = 0
    async for messages in connection.messages():
        before, seen = seen, seen + len(messages)
        if room is not None:
            for _ in range(seen // per - before // per):
                room.release()
        if seen >= total:
            return time.monotonic_ns()
    raise ConnectionError("the server has closed the connection")


async def publish(turn: Turn, *, port: int, stream: str, records: int, per_message: int) -> dict[str, Any]:
    """Publish all signals, a bounded number of them under way."""
    inbox = f"{_INBOX}.acks.{time.monotonic_ns()}"
    commands = _packed(stream, records, inbox)
    connection = await Connection.open(port)
    connection.send(b"SUB %b 2\r\n" % inbox.encode())
    room = asyncio.Semaphore(WINDOW)
    turn.ready()
    await turn.go()
    started = time.monotonic_ns()
    reading = asyncio.create_task(_acknowledged(connection, records, room, per_message))
    for at in range(0, records, per_message):
        await room.acquire()
        connection.send(b"".join(commands[at : at + per_message]))
    acked = await reading
    connection.close()
    return {"started_ns": started, "acked_ns": acked}


async def publish_steadily(turn: Turn, *, port: int, stream: str, rate: float, seconds: float) -> dict[str, Any]:
    """Publish one signal at a time at a fixed rate, whether or not the server keeps up."""
    total = int(rate * seconds)
    inbox = f"{_INBOX}.acks.{time.monotonic_ns()}"
    commands = _packed(stream, total, inbox)
    connection = await Connection.open(port)
    connection.send(b"SUB %b 2\r\n" % inbox.encode())
    turn.ready()
    await turn.go()

    async def send(first: int, last: int) -> None:
        connection.send(b"".join(commands[first:last]))

    reading = asyncio.create_task(_acknowledged(connection, total, None, 1))
    started = await open_loop(total, rate, _TICK_S, send)
    acked = await reading
    connection.close()
    return {"started_ns": started, "acked_ns": acked, "period_ns": 1e9 / rate}

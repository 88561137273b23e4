"""This hub, with everything on: mutual TLS, signatures, validation, audience policy, quotas, tree, fsync."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from exchange import __version__
from exchange.cli.client_files import client_toml
from exchange.domain.kinds import Role
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ops.certificates import authority_files, issued_files
from tests.bench.contenders.contender import Operation, free_port, listening, stop
from tests.bench.contenders.hub_clients import Access
from tests.bench.workload import Load
from tests.e2e.exchange_fixture import NAME, OPERATOR, UK, Exchange, Party, Registrar

#: Filled once, for catch-up: nothing else is published there.
ARCHIVE = f"{NAME}/archive"
PUBLISHER = "publisher"
READERS = tuple(f"reader-{number}" for number in range(10))
VERIFIER = "verifier"
_CONFIG = """
exchange = "{exchange}"
data = "data"
{store}
keys = "keys"
listen = "127.0.0.1:{port}"
log_level = "warning"

[tls]
certificate = "{certificate}"
key = "{key}"
client_authority = "{authority}"

[ops]
listen = ""

[quotas]
# The benchmark is to find the hub's limit, not the quota's; quotas are charged all the same.
records_per_minute = 1_000_000_000
statements_per_minute = 1_000_000_000
streams = 10_000
"""


async def served(exchange: Exchange, *flags: str) -> tuple[asyncio.subprocess.Process, int]:
    """Start a hub's process on what is in an exchange's folder; return it with its port once it listens."""
    folder, port = exchange.folder, free_port()
    server = issued_files(exchange.pki, "hub", "server", "server")
    text = _CONFIG.format(
        exchange=NAME,
        port=port,
        store=f'store = "{exchange.store}"\nbundles = "{exchange.bundles}"' if exchange.store else "",
        certificate=server.certificate,
        key=server.key,
        authority=authority_files(exchange.pki).certificate,
    )
    (folder / "hub.toml").write_text(text)
    command = Path(sys.executable).parent / "exchange"
    with (folder / "hub.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            command, "serve", "--config", str(folder / "hub.toml"), *flags, stdout=log, stderr=log
        )
    await listening(port, process)
    return process, port


class Hub:
    """The hub as `exchange serve` runs it."""

    name = "hub"
    #: As in hub.toml: where the logs lie. Empty: in files.
    store = ""

    def __init__(self) -> None:
        self.exchange: Exchange
        self.process: asyncio.subprocess.Process
        self.operator: Party
        self._port = 0
        self._cursor = 0
        self._clients = itertools.count()

    @property
    def about(self) -> str:
        """Return version and what is on."""
        return f"signal-exchange {__version__}: mTLS, signatures, validation, policy, quotas, tree, fsync (SQLite FULL)"

    @property
    def pid(self) -> int:
        """Return the hub's process."""
        return self.process.pid

    async def start(self, folder: Path, *, communities: int = 0, archive: bool = True) -> None:
        """Found an exchange with its members, and serve it; ``communities`` asks for more, named c0, c1, ..."""
        self.exchange = await Exchange.found(folder, store=self.store)
        more = [f"{NAME}/c{number}" for number in range(communities)]
        own = (ARCHIVE, *more) if archive else tuple(more)
        for origin in own:
            await self.exchange.new_log(origin)
        await self.serve()
        registrar = Registrar(self.exchange, self.operator)
        origins = (UK, *own)
        for origin in origins:
            await registrar.community(origin)
        for member in (PUBLISHER, VERIFIER, *READERS):
            await registrar.enrol(member, communities=origins)

    async def serve(self) -> None:
        """Start the process on what is in the folder, and connect the operator."""
        self.process, self._port = await served(self.exchange)
        self.operator = self.exchange.party(self._port, OPERATOR, Role.OPERATOR)

    async def stop(self) -> None:
        """Drain the hub and wait for its end."""
        await self.operator.channel.close()
        await stop(self.process)

    async def size(self, origin: str = UK) -> int:
        """Return a log's sealed size."""
        return open_checkpoint(await self.operator.checkpoint(origin), self.exchange.verifier(origin)).size

    async def fresh(self) -> None:
        """Start the next run at the end of the log."""
        self._cursor = await self.size()

    @property
    def ports(self) -> Sequence[int]:
        """The hubs, where there are several; publishers go to the first."""
        return (self._port,)

    def access(self, member: str, port: int = 0) -> dict[str, str]:
        """Return how a member's pipeline reaches a hub; without a port the first one."""
        files = issued_files(self.exchange.pki, member, Role.PIPELINE.word)
        authority = authority_files(self.exchange.pki).certificate
        address = f"localhost:{port or self._port}"
        return asdict(Access(address, str(authority), str(files.certificate), str(files.key)))

    def fair(self, load: Load) -> Load:
        """Return the load as it is."""
        return load

    def entries(self, load: Load) -> int:
        """Return the number of statements."""
        return load.statements

    def subscribers(self, streams: Sequence[int], entries: int, load: Load, *, latency: bool) -> list[Operation]:
        """Return the streams of this run; each is a connection, spread over the readers, and over the hubs."""
        # The last hub first: a single stream is at another hub than the publisher, where there is one.
        ports = [self.ports[-1 - at % len(self.ports)] for at in range(len(streams))]
        return [
            self.follow(UK, count, self._cursor, entries, latency=latency, port=port)
            for count, port in zip(streams, ports, strict=True)
        ]

    def follow(
        self, origin: str, streams: int, cursor: int, entries: int, *, latency: bool = False, port: int = 0
    ) -> Operation:
        """Return an operation that counts a log's entries from a cursor."""
        access = [self.access(READERS[number % len(READERS)], port) for number in range(streams)]
        arguments = {"access": access, "origin": origin, "cursor": cursor, "entries": entries, "latency": latency}
        return Operation("contenders.hub_clients:subscribe", arguments)

    def verify(self, origin: str, entries: int, *, cursor: int | None = None, processes: int = 0) -> Operation:
        """Return an operation that follows with the whole SDK, as a client that has seen nothing."""
        folder = self.exchange.folder / f"verifier-{next(self._clients)}"
        folder.mkdir()
        (folder / "signing.seed").write_text(self._seed(VERIFIER))
        address = f"localhost:{self.ports[-1]}"
        config = client_toml(
            folder / "client.toml", NAME, VERIFIER, Role.PIPELINE, address, self.exchange.pki, self.exchange.pin
        )
        start = self._cursor if cursor is None else cursor
        arguments = {
            "config": str(config),
            "origin": origin,
            "cursor": start,
            "entries": entries,
            "processes": processes,
        }
        return Operation("contenders.hub_clients:follow_verified", arguments)

    def _seed(self, member: str) -> str:
        return self.exchange.keys[member, Role.PIPELINE]._key.private_bytes_raw().hex()

    def _publishing(self, origin: str) -> dict[str, object]:
        return {
            "access": self.access(PUBLISHER),
            "member": PUBLISHER,
            "seed": self._seed(PUBLISHER),
            "origin": origin,
        }

    def publisher(self, load: Load, origin: str = UK) -> Operation:
        """Return the raw publisher."""
        arguments = {**self._publishing(origin), "records": load.records, "per_statement": load.per_statement}
        return Operation("contenders.hub_clients:publish", arguments)

    def steady(self, rate: float, seconds: float) -> Operation:
        """Return the raw publisher at a rate, with the SDK's linger."""
        arguments = {**self._publishing(UK), "rate": rate, "seconds": seconds}
        return Operation("contenders.hub_clients:publish_steadily", arguments)

    async def aclose(self) -> None:
        """Stop the hub."""
        await self.stop()

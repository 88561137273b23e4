"""What grpcio itself can do: a bare server with mutual TLS that writes ready messages from memory, and a unary ping.

It orders nothing, checks nothing and stores nothing. Its messages hold the same entries as the hub's, joined up to
the hub's own limit, so that this is a ceiling also where the hub sends single statements.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from exchange import codec
from exchange.domain.statement import Leaf, Signature
from exchange.fanout.tail import MAX_PAGE_BYTES
from exchange.ledger.ed25519 import SigningKey
from exchange.ops.certificates import authority_files, create_authority, issue
from tests.bench.arrivals import Arrivals, findings
from tests.bench.contenders.contender import Operation, free_port
from tests.bench.contenders.hub_clients import Access, count
from tests.bench.histogram import Histogram
from tests.bench.processes import Turn, Worker
from tests.bench.workload import Load, draft

_STREAM = "/bench.Ceiling/Stream"
_START = "/bench.Ceiling/Start"
_PING = "/bench.Ceiling/Ping"
_JOINED_BYTES = MAX_PAGE_BYTES
_NAME = "ceiling.example"
_LIMIT = 8 * 1024 * 1024


class GrpcCeiling:
    """A bare grpcio server in a process of its own."""

    name = "grpc_ceiling"

    def __init__(self) -> None:
        self._worker: Worker
        self._access: dict[str, str]
        self._run = 0

    @property
    def about(self) -> str:
        """Return version and what it is."""
        return f"grpcio {grpc.__version__}, bare streaming server with mTLS, messages ready in memory"

    @property
    def pid(self) -> int:
        """Return the server's process."""
        return self._worker.process.pid

    async def start(self, folder: Path) -> None:
        """Make certificates and start the server."""
        pki = folder / "pki"
        create_authority(pki, _NAME)
        server = issue(pki, "hub", "server", kind="server", hosts=("localhost",))
        client = issue(pki, "reader", "pipeline")
        authority = str(authority_files(pki).certificate)
        port = free_port()
        self._access = asdict(Access(f"localhost:{port}", authority, str(client.certificate), str(client.key)))
        self._worker = await Worker.start()
        files = {"authority": authority, "certificate": str(server.certificate), "key": str(server.key)}
        await self._worker.run("contenders.grpc_ceiling:serve", port=port, **files).ready()

    async def fresh(self) -> None:
        """Give the next run a name of its own."""
        self._run += 1

    def fair(self, load: Load) -> Load:
        """Return a few times as many, which are quick here."""
        return Load(load.records * (5 if load.per_statement == 1 else 3), load.per_statement)

    def entries(self, load: Load) -> int:
        """Return the number of statements."""
        return load.statements

    def subscribers(self, streams: Sequence[int], entries: int, load: Load, *, latency: bool) -> list[Operation]:
        """Return the streams; they are fed when the run is started."""
        common = {
            "access": self._access,
            "run": str(self._run),
            "entries": entries,
            "per_statement": load.per_statement,
        }
        return [Operation("contenders.grpc_ceiling:subscribe", {**common, "streams": count}) for count in streams]

    def publisher(self, load: Load) -> None:
        """Return nothing: the server has everything already."""

    def steady(self, rate: float, seconds: float) -> Operation:
        """Return pings at a rate, instead of a load."""
        return Operation("contenders.grpc_ceiling:ping", {"access": self._access, "rate": rate, "seconds": seconds})

    async def aclose(self) -> None:
        """Stop the server."""
        await self._worker.aclose()


def frames(count: int, records: int) -> list[bytes]:
    """Return entries as the hub's feed carries them."""
    key, made = SigningKey(bytes(32)), []
    for index in range(count):
        statement = codec.statement_from_wire(draft("publisher", "bench.example/uk", records).sign(key))
        signature = Signature(key.key_id, bytes(64))
        leaf = Leaf(
            index, 1_700_000_000_000, late=False, directory_size=9, payload=statement.payload, signatures=(signature,)
        )
        made.append(codec.full_frame(codec.encode_leaf(leaf), statement.records, b""))
    return made


def _messages(entries: int, per_statement: int) -> list[tuple[bytes, int]]:
    """Return ready messages for so many entries, and how often each is sent; a few entries serve again and again."""
    few = frames(max(4, 2000 // per_statement), per_statement)
    per = max(1, min(len(few), _JOINED_BYTES // len(few[0])))
    whole, rest = divmod(entries, per)
    messages = [(b"".join(few[:per]), whole)]
    return [*messages, (b"".join(few[:rest]), 1)] if rest else messages


class _Service:
    """Streams that wait for a common start, so that every one is open before any is fed."""

    def __init__(self) -> None:
        self._ready: dict[bytes, list[tuple[bytes, int]]] = {}
        self._started: dict[bytes, asyncio.Event] = {}

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Send an empty message at once, and a load when its run is started."""
        run, entries, per_statement = request.split()
        started = self._started.setdefault(run, asyncio.Event())
        shape = entries + b" " + per_statement
        if shape not in self._ready:
            self._ready[shape] = _messages(int(entries), int(per_statement))
        yield b""
        await started.wait()
        for message, times in self._ready[shape]:
            for _ in range(times):
                yield message

    async def start(self, request: bytes, context: Any) -> bytes:
        """Let the streams of a run go."""
        self._started.setdefault(request, asyncio.Event()).set()
        return request

    async def ping(self, request: bytes, context: Any) -> bytes:
        """Answer with the question."""
        return request


async def serve(turn: Turn, *, port: int, authority: str, certificate: str, key: str) -> None:
    """Serve until the process ends."""
    server = grpc.aio.server(options=(("grpc.max_send_message_length", _LIMIT), ("grpc.so_reuseport", 0)))
    service = _Service()
    handlers: dict[str, Any] = {
        "Stream": grpc.unary_stream_rpc_method_handler(service.stream),
        "Start": grpc.unary_unary_rpc_method_handler(service.start),
        "Ping": grpc.unary_unary_rpc_method_handler(service.ping),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Ceiling", handlers),))
    pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
    credentials = grpc.ssl_server_credentials([pair], Path(authority).read_bytes(), require_client_auth=True)
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    turn.ready()
    await server.wait_for_termination()


async def subscribe(
    turn: Turn, *, access: dict[str, str], run: str, entries: int, per_statement: int, streams: int
) -> dict[str, Any]:
    """Open so many streams, each a connection; count entries and check their framing."""
    channels = [Access(**access).channel() for _ in range(streams)]
    request = f"{run} {entries} {per_statement}".encode()
    arrivals = [Arrivals(entries) for _ in channels]
    calls: list[Any] = [channel.unary_stream(_STREAM)(request) for channel in channels]  # type: ignore[arg-type] # raw bytes
    for call in calls:
        await call.read()
    turn.ready()
    await turn.go()
    started = time.monotonic_ns()
    await channels[0].unary_unary(_START)(run.encode())  # type: ignore[arg-type] # raw bytes
    await asyncio.gather(*(count(call, stream) for call, stream in zip(calls, arrivals, strict=True)))
    found = await findings(turn, arrivals, latency=False)
    for channel in channels:
        await channel.close()
    return {**found, "started_ns": started}


async def ping(turn: Turn, *, access: dict[str, str], rate: float, seconds: float) -> dict[str, Any]:
    """Ask one unary question at a time, at a rate; a late answer makes the next ones late, and they count so."""
    channel = Access(**access).channel()
    call: Any = channel.unary_unary(_PING)
    await call(b"hello")
    turn.ready()
    await turn.go()
    total, period_ns = int(rate * seconds), 1e9 / rate
    latencies = np.empty(total)
    started = time.monotonic_ns()
    for number in range(total):
        due = started + number * period_ns
        early_s = (due - time.monotonic_ns()) / 1e9
        if early_s > 0:
            await asyncio.sleep(early_s)
        await call(b"ping")
        latencies[number] = time.monotonic_ns() - due
    await channel.close()
    return {"windows": [Histogram.of(latencies).to_json()]}

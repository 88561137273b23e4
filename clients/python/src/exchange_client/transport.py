"""The wire: channels, stubs and messages. The only module of the SDK that knows the generated code.

Everything above it works on values and on errors of `exchange.errors`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from exchange import codec
from exchange.codec import Delivered
from exchange.domain.statement import Statement
from exchange.errors import ExchangeError, Reason, Rejected, Unavailable, Violation
from exchange.v1 import (
    directory_pb2,
    directory_pb2_grpc,
    feed_pb2,
    feed_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    publish_pb2,
    publish_pb2_grpc,
    statement_pb2,
)
from exchange_client.config import ClientConfig
from exchange_client.status import error_of, from_rpc

CALL_S = 30.0
_MAX_MESSAGE = 1_200_000


@dataclass(frozen=True, slots=True)
class Filter:
    """What a subscriber wants the records of, judged on headers. Empty sets let everything pass."""

    labels: frozenset[int] = frozenset()
    indicator_types: frozenset[int] = frozenset()
    elections: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a feed."""

    floor: int
    checkpoint: bytes
    compact_range: tuple[bytes, ...]
    consistency_proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FeedMessage:
    """One message of a feed, its parts in the order in which they are to be read."""

    hello: Hello | None = None
    entries: tuple[Delivered, ...] = ()
    checkpoint: bytes = b""
    heartbeat_size: int | None = None
    draining: bool = False
    probe: bytes = b""


@dataclass(frozen=True, slots=True)
class WireReceipt:
    """A receipt as it came, not verified."""

    index: int
    leaf: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes
    repeated: bool


@dataclass(frozen=True, slots=True)
class WireResult:
    """What became of one statement."""

    statement_id: bytes
    receipt: WireReceipt | None
    error: ExchangeError | None


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """How the hub knows the caller."""

    member: str
    role: str
    suspended: bool
    communities: tuple[str, ...]
    directory_size: int
    hub_time_ms: int


@dataclass(slots=True)
class _Connection:
    channel: grpc.aio.Channel
    stubs: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error
    except (grpc.aio.UsageError, grpc.aio.InternalError, asyncio.InvalidStateError) as error:
        raise Unavailable(f"the connection broke: {error}", retry_after_ms=0) from error


class PublishStream:
    """One bidirectional stream of statements and results."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - grpc's untyped call object
        """Use `Transport.publish_stream`."""
        self._call = call

    async def send(self, statements: Sequence[Statement]) -> None:
        """Send statements as one message. Raises `ExchangeError` when the stream has ended."""
        wire = [codec.statement_to_wire(statement) for statement in statements]
        with _translated():
            await self._call.write(publish_pb2.PublishStreamRequest(statements=wire))

    async def results(self) -> AsyncIterator[tuple[WireResult, ...]]:
        """Yield results, message by message, until the stream ends. Raises `ExchangeError`."""
        with _translated():
            async for message in self._call:
                yield tuple(_result(result) for result in message.results)

    def cancel(self) -> None:
        """End the stream."""
        self._call.cancel()


class Transport:
    """Calls one hub of several, as one workload."""

    def __init__(self, config: ClientConfig) -> None:
        """Read the certificate files. Raises `Rejected` (CONFIG) when one cannot be read."""
        self._config = config
        self._next = 0
        self._connection: _Connection | None = None
        try:
            self._credentials = grpc.ssl_channel_credentials(
                config.authority.read_bytes(), config.key.read_bytes(), config.certificate.read_bytes()
            )
        except OSError as error:
            raise Rejected(Reason.CONFIG, f"{error.filename}: {error.strerror}") from error

    def _connect(self) -> _Connection:
        if self._connection is None:
            options: list[tuple[str, Any]] = [
                ("grpc.max_receive_message_length", _MAX_MESSAGE),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.use_local_subchannel_pool", 1),
            ]
            if self._config.server_name:
                options.append(("grpc.ssl_target_name_override", self._config.server_name))
            address = self._config.addresses[self._next % len(self._config.addresses)]
            channel = grpc.aio.secure_channel(address, self._credentials, options=options)
            self._connection = _Connection(channel)
        return self._connection

    def _stub(self, make: Any) -> Any:  # noqa: ANN401 - grpc's untyped stubs
        connection = self._connect()
        return connection.stubs.setdefault(make.__name__, make(connection.channel))

    async def rotate(self) -> None:
        """Close the connection; the next call goes to the next address."""
        connection, self._connection = self._connection, None
        self._next += 1
        if connection is not None:
            await connection.channel.close()

    async def aclose(self) -> None:
        """Close the connection. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.channel.close()

    async def who_am_i(self) -> WhoAmI:
        """Ask how the hub knows us."""
        with _translated():
            stub = self._stub(directory_pb2_grpc.DirectoryServiceStub)
            answer = await stub.WhoAmI(directory_pb2.WhoAmIRequest(), timeout=CALL_S)
        role = statement_pb2.Role.Name(answer.role).removeprefix("ROLE_").lower()
        return WhoAmI(
            answer.member,
            role,
            answer.suspended,
            tuple(answer.communities),
            answer.directory_size,
            answer.hub_time_ms,
        )

    async def entries(self, origin: str, start: int) -> tuple[tuple[Delivered, ...], int]:
        """Return a page of entries from ``start``, and the sealed size."""
        with _translated():
            stub = self._stub(ledger_pb2_grpc.LedgerServiceStub)
            request = ledger_pb2.ListEntriesRequest(origin=origin, start=start)
            answer = await stub.ListEntries(request, timeout=CALL_S)
        return tuple(map(codec.delivered, answer.entries)), answer.sealed_size

    async def checkpoint(self, origin: str) -> bytes:
        """Return the signed checkpoint of a log, not verified."""
        with _translated():
            stub = self._stub(ledger_pb2_grpc.LedgerServiceStub)
            answer = await stub.GetCheckpoint(ledger_pb2.GetCheckpointRequest(origin=origin), timeout=CALL_S)
        return bytes(answer.checkpoint)

    async def inclusion_proof(self, origin: str, index: int, size: int) -> tuple[bytes, tuple[bytes, ...]]:
        """Return leaf hash and path of a leaf, not verified."""
        with _translated():
            stub = self._stub(ledger_pb2_grpc.LedgerServiceStub)
            request = ledger_pb2.GetInclusionProofRequest(origin=origin, index=index, size=size)
            answer = await stub.GetInclusionProof(request, timeout=CALL_S)
        return answer.leaf_hash, tuple(answer.proof)

    async def publish(self, statement: Statement) -> WireReceipt:
        """Publish one statement."""
        with _translated():
            stub = self._stub(publish_pb2_grpc.PublishServiceStub)
            request = publish_pb2.PublishRequest(statement=codec.statement_to_wire(statement))
            answer = await stub.Publish(request, timeout=CALL_S)
        return _receipt(answer.receipt)

    def publish_stream(self) -> PublishStream:
        """Open a stream of statements."""
        return PublishStream(self._stub(publish_pb2_grpc.PublishServiceStub).PublishStream())

    async def subscribe(
        self, origin: str, cursor: int, last_checkpoint: bytes, wanted: Filter
    ) -> AsyncGenerator[FeedMessage, None]:
        """Yield a feed's messages until it ends. Raises `ExchangeError`."""
        request = feed_pb2.SubscribeRequest(
            origin=origin,
            cursor=cursor,
            last_checkpoint=last_checkpoint,
            filter=feed_pb2.Filter(
                labels=sorted(wanted.labels),  # type: ignore[arg-type]
                indicator_types=sorted(wanted.indicator_types),  # type: ignore[arg-type]
                elections=sorted(wanted.elections),
            ),
        )
        call = self._stub(feed_pb2_grpc.FeedServiceStub).Subscribe(request)
        try:
            with _translated():
                async for message in call:
                    yield _feed_message(message)
        finally:
            call.cancel()

    async def probe(self, origin: str, state: bytes) -> int:
        """Ask for an echo of ``state`` on our live streams; return how many there are."""
        with _translated():
            stub = self._stub(feed_pb2_grpc.FeedServiceStub)
            answer = await stub.Probe(feed_pb2.ProbeRequest(origin=origin, state=state), timeout=CALL_S)
        return int(answer.streams)


def _receipt(message: publish_pb2.Receipt) -> WireReceipt:
    return WireReceipt(
        message.index,
        message.leaf,
        tuple(message.inclusion_proof),
        message.checkpoint,
        message.repeated_statement,
    )


def _result(message: publish_pb2.PublishResult) -> WireResult:
    if message.HasField("receipt"):
        return WireResult(message.statement_id, _receipt(message.receipt), None)
    rejection = message.rejection
    error = error_of(
        rejection.reason,
        rejection.message,
        violations=tuple(Violation(v.field, v.description) for v in rejection.violations),
        total=rejection.violations_total,
        retry_after_ms=rejection.retry_after_ms,
        hint=rejection.hint,
    )
    unknown = Rejected(Reason.INVALID, f"{rejection.reason}: {rejection.message}", hint=rejection.hint)
    return WireResult(message.statement_id, None, error or unknown)


def _feed_message(message: feed_pb2.SubscribeResponse) -> FeedMessage:
    hello = None
    if message.HasField("hello"):
        part = message.hello
        hello = Hello(part.floor, part.checkpoint, tuple(part.compact_range), tuple(part.consistency_proof))
    return FeedMessage(
        hello,
        tuple(map(codec.delivered, message.entries)),
        message.checkpoint,
        message.heartbeat.sealed_size if message.HasField("heartbeat") else None,
        message.HasField("draining"),
        message.probe.state,
    )

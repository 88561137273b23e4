"""The member-facing gRPC server: mutual TLS, one guard, five services, limits. Nothing else listens on its port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from exchange.api.directory import DirectoryServicer
from exchange.api.feed import FeedServicer
from exchange.api.guard import Guard
from exchange.api.ledger import LedgerServicer
from exchange.api.logs import Hub
from exchange.api.publish import PublishServicer
from exchange.api.tls import Trust
from exchange.errors import Fatal, Reason
from exchange.ops.metrics import Metrics
from exchange.v1 import directory_pb2_grpc, ledger_pb2_grpc, publish_pb2_grpc

MAX_MESSAGE_BYTES = 1024 * 1024

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 128),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Two servers on one port would share its connections silently.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True)
class MemberServer:
    """The server, and how its long calls are told to end."""

    grpc: grpc.aio.Server
    publishing: PublishServicer

    async def drain(self, grace_s: float) -> None:
        """Answer what has been taken, end the publish streams, wait for calls under way, and stop."""
        self.publishing.drain()
        await self.grpc.stop(grace_s)


def build(hub: Hub, guard: Guard, metrics: Metrics, now_ms: Callable[[], int], *, heartbeat_s: float) -> MemberServer:
    """Return the server with all services, not yet listening."""
    server = grpc.aio.server(interceptors=(guard,), options=_OPTIONS)
    publishing = PublishServicer(hub, metrics)
    publish_pb2_grpc.add_PublishServiceServicer_to_server(publishing, server)
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerServicer(hub, now_ms), server)
    directory_pb2_grpc.add_DirectoryServiceServicer_to_server(DirectoryServicer(hub, now_ms), server)
    feed = FeedServicer(hub, now_ms, metrics, heartbeat_s=heartbeat_s)
    server.add_generic_rpc_handlers((feed.handlers(),))
    return MemberServer(server, publishing)


def listen(server: grpc.aio.Server, address: str, trust: Trust) -> int:
    """Bind the server's port (0 picks one) and return it. Raises `Fatal` (CONFIG) when it cannot be had."""
    try:
        port = server.add_secure_port(address, trust.credentials())
    except (RuntimeError, OSError) as error:
        raise Fatal(f"cannot listen on {address}: {error}", reason=Reason.CONFIG) from error
    return port

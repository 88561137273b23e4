"""The member-facing gRPC server: mutual TLS, one guard, its services, limits. Nothing else listens on its port."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from exchange.api.admin import AdminServicer
from exchange.api.directory import DirectoryServicer
from exchange.api.feed import FeedServicer
from exchange.api.guard import Guard
from exchange.api.ledger import LedgerServicer
from exchange.api.listening import cannot_listen
from exchange.api.logs import Hub
from exchange.api.messages import MAX_MESSAGE_BYTES
from exchange.api.publish import PublishServicer
from exchange.api.referrals import ReferralServicer
from exchange.api.reports import ReportServicer
from exchange.api.tls import Trust
from exchange.ops.metrics import Metrics
from exchange.v1 import (
    admin_pb2_grpc,
    directory_pb2_grpc,
    ledger_pb2_grpc,
    publish_pb2_grpc,
    referral_pb2_grpc,
    report_pb2_grpc,
)


@dataclass(frozen=True, slots=True)
class Connections:
    """How long connections may take and live, and how many calls may live on all of them."""

    handshake_s: int = 10
    idle_s: int = 300
    age_s: int = 1_800
    age_grace_s: int = 30
    call_s: int = 30
    stalled_s: int = 60
    calls: int = 10_000


def options(connections: Connections) -> tuple[tuple[str, int], ...]:
    """Return gRPC's settings; `docs/hardening.md` says of each what a client sees, and which test shows it."""
    return (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),  # a message is held whole, and copied when it is read
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),  # bounds our own mistakes
        ("grpc.max_metadata_size", 8 * 1024),  # from here on metadata may be refused: ours is empty
        ("grpc.absolute_max_metadata_size", 16 * 1024),  # from here on it is refused
        ("grpc.max_concurrent_streams", 128),  # of one connection; more wait in the client
        ("grpc.server_handshake_timeout_ms", 1_000 * connections.handshake_s),  # grpc's own is 120 s: free to hold open
        ("grpc.max_connection_idle_ms", 1_000 * connections.idle_s),  # without a call a connection serves nobody
        ("grpc.max_connection_age_ms", 1_000 * connections.age_s),  # bounds what a withdrawn certificate can still do
        ("grpc.max_connection_age_grace_ms", 1_000 * connections.age_grace_s),  # calls under way end by then
        ("grpc.keepalive_time_ms", 30_000),  # finds peers that went without a word
        ("grpc.keepalive_timeout_ms", 10_000),  # and gives up on them
        ("grpc.http2.ping_timeout_ms", 10_000),  # which it does not without this: its own is 60 s, and wins
        ("grpc.keepalive_permit_without_calls", 0),  # a client without a call has no need to ping
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # the SDK pings every 20 s
        ("grpc.http2.max_ping_strikes", 2),  # a third ping too early ends the connection
        ("grpc.so_reuseport", 0),  # else two servers on one port would share its connections silently
    )


@dataclass(frozen=True, slots=True)
class MemberServer:
    """The server, how its long calls are told to end, and what its feeds have been sent."""

    grpc: grpc.aio.Server
    publishing: PublishServicer
    feeds: FeedServicer

    async def drain(self, grace_s: float) -> None:
        """Answer what has been taken, end the publish streams, wait for calls under way, and stop."""
        self.publishing.drain()
        await self.grpc.stop(grace_s)


def build(
    hub: Hub,
    guard: Guard,
    metrics: Metrics,
    now_ms: Callable[[], int],
    *,
    heartbeat_s: float,
    connections: Connections,
) -> MemberServer:
    """Return the server with all services, not yet listening."""
    server = grpc.aio.server(interceptors=(guard,), options=options(connections))
    publishing = PublishServicer(hub, metrics)
    publish_pb2_grpc.add_PublishServiceServicer_to_server(publishing, server)
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerServicer(hub, now_ms), server)
    directory_pb2_grpc.add_DirectoryServiceServicer_to_server(DirectoryServicer(hub, now_ms), server)
    report_pb2_grpc.add_ReportServiceServicer_to_server(ReportServicer(hub, now_ms), server)
    referral_pb2_grpc.add_ReferralServiceServicer_to_server(ReferralServicer(hub, now_ms), server)
    admin = AdminServicer(hub, metrics, secrets.token_bytes)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(admin, server)
    feeds = FeedServicer(hub, now_ms, metrics, heartbeat_s=heartbeat_s)
    server.add_generic_rpc_handlers((feeds.handlers(),))
    return MemberServer(server, publishing, feeds)


def listen(server: grpc.aio.Server, address: str, trust: Trust) -> int:
    """Bind the server's port (0 picks one) and return it. Raises `Fatal` (CONFIG) when it cannot be had."""
    try:
        port = server.add_secure_port(address, trust.credentials())
    except (RuntimeError, OSError) as error:
        raise cannot_listen(address, "`listen`", error) from error
    return port

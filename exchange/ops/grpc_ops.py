"""grpc.health.v1 and reflection on a plaintext port of their own: what orchestrators ask, without a certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

#: What a hub offers.
HUB = (
    "exchange.v1.PublishService",
    "exchange.v1.FeedService",
    "exchange.v1.LedgerService",
    "exchange.v1.DirectoryService",
    "exchange.v1.ReportService",
    "exchange.v1.ReferralService",
    "exchange.v1.AdminService",
)
#: What the pseudonym service offers.
PSEUDONYMS = ("exchange.v1.PseudonymService",)


class _HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers from the process's own readiness; watching is not offered, polling is."""

    def __init__(self, services: Sequence[str], ready: Callable[[], bool]) -> None:
        self._services = services
        self._ready = ready

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - grpc's untyped stubs and names
        if request.service and request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        serving = health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse(
            status=serving if self._ready() else health_pb2.HealthCheckResponse.NOT_SERVING
        )


async def ops_server(address: str, services: Sequence[str], ready: Callable[[], bool]) -> grpc.aio.Server:
    """Start the plaintext server of these services on this address. Raises RuntimeError when it cannot be bound."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    health_pb2_grpc.add_HealthServicer_to_server(_HealthServicer(services, ready), server)
    reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), server)
    server.add_insecure_port(address)
    await server.start()
    return server

"""Running one asynchronous job against a hub, as the workload that a client file describes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from exchange.domain.identifiers import Origin
from exchange.domain.kinds import KINDS, Kind
from exchange.errors import Denied, Reason, Rejected
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, ExchangeClient

T = TypeVar("T")


def with_client(client_path: Path, job: Callable[[ExchangeClient, ClientConfig], Awaitable[T]]) -> T:
    """Connect as the client file says, run the job, disconnect, return its result."""
    return as_client(ClientConfig.load(client_path), job)


def as_client(settings: ClientConfig, job: Callable[[ExchangeClient, ClientConfig], Awaitable[T]]) -> T:
    """Connect with these settings, run the job, disconnect, return its result."""

    async def run() -> T:
        async with ExchangeClient(settings, now_ms=wall_ms) as client:
            return await job(client, settings)

    return asyncio.run(run())


def origin_of(exchange: str, name: str) -> str:
    """Return the origin of a community given by its full origin or its last part. Raises `Rejected`."""
    origin = Origin.parse(name if "/" in name else f"{exchange}/{name}")
    if origin is None or origin.exchange != exchange:
        raise Rejected(Reason.INVALID, f"{name!r} is not a community of {exchange}")
    return str(origin)


def require_role(settings: ClientConfig, client_path: Path, kind: Kind) -> None:
    """Raise `Denied` where a hub would refuse all of it, for the role of this client file: before anything is taken."""
    row = KINDS[kind]
    if settings.role_number not in row.publishers:
        roles = " or ".join(role.word for role in sorted(row.publishers))
        raise Denied(
            f"{client_path}: its role is {settings.role}, which may not publish a {row.name}",
            hint=f"name the client file of the role {roles} with --client; without it, EXCHANGE_CLIENT names the file",
        )

"""Channels to one hub of several. Who notices that one fails leaves it; all leave one whose certificate was renewed.

A channel lives until the last call on it has ended, so a new one always overlaps with the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from exchange.errors import OverQuota, Reason, Rejected, Unauthenticated, Unavailable
from exchange_client.config import ClientConfig
from exchange_client.identity import Identity
from exchange_client.status import from_rpc

_MAX_MESSAGE = 1_200_000


class Moved(Unavailable):
    """A stream was ended by us, to go on over a connection with our new certificate."""

    def __init__(self) -> None:
        super().__init__("moving to a connection with the new certificate", retry_after_ms=0)


@dataclass(eq=False, slots=True)
class Connection:
    """A channel and how many calls use it. A retired one takes no new calls, and closes after its last."""

    channel: grpc.aio.Channel
    users: int = 0
    retired: bool = False
    #: Whether it was left for one with a newer certificate.
    moved: bool = False
    #: How its long calls are asked to end when it is.
    leaving: set[Callable[[], object]] = field(default_factory=set)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn gRPC's failures into ours."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error
    except (grpc.aio.UsageError, grpc.aio.InternalError, asyncio.InvalidStateError) as error:
        raise Unavailable(f"the connection broke: {error}", retry_after_ms=0) from error
    except asyncio.CancelledError as error:
        # grpc says this also when not the task but the call was cancelled, such as by its channel being closed.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unavailable("the call was cancelled", retry_after_ms=0) from error


class Connections:
    """Lends a channel for each call."""

    def __init__(self, config: ClientConfig, identity: Identity) -> None:
        """Nothing is connected yet."""
        self._config = config
        self._identity = identity
        self._next = 0
        self._present: Connection | None = None
        self._retired: set[Connection] = set()
        self._closed = False

    def _connect(self) -> Connection:
        if self._closed:
            raise Rejected(Reason.CONFIG, "the client is closed")
        if self._present is None:
            options: list[tuple[str, Any]] = [
                ("grpc.max_receive_message_length", _MAX_MESSAGE),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.use_local_subchannel_pool", 1),
            ]
            if self._config.server_name:
                options.append(("grpc.ssl_target_name_override", self._config.server_name))
            address = self._config.addresses[self._next % len(self._config.addresses)]
            channel = grpc.aio.secure_channel(address, self._identity.credentials, options=options)
            self._present = Connection(channel)
        return self._present

    @contextlib.asynccontextmanager
    async def using(self) -> AsyncIterator[Connection]:
        """Lend the connection for one call. After one that found the hub unavailable, new calls go to the next address.

        Other calls on the same channel go on: each finds out for itself. A call that ends because its connection is
        left for a newer certificate raises `Moved`.
        """
        connection = self._connect()
        connection.users += 1
        try:
            with translated():
                yield connection
        except OverQuota:
            raise
        except Unavailable as error:
            if connection.moved:
                raise Moved from error
            if self._present is connection:
                self._next += 1
            self._retire(connection)
            raise
        except Unauthenticated:
            # The certificate that this connection was made with is good for nothing now.
            self._retire(connection)
            raise
        finally:
            connection.users -= 1
            if connection.retired and not connection.users:
                self._retired.discard(connection)
                await connection.channel.close()

    def _retire(self, connection: Connection) -> None:
        connection.retired = True
        self._retired.add(connection)
        if self._present is connection:
            self._present = None

    async def renew(self) -> None:
        """Make new connections from now on, with the certificate that is now in use, and end long calls on old ones."""
        connections = [*self._retired, *([self._present] if self._present else [])]
        for connection in connections:
            connection.moved = True
            self._retire(connection)
            for leave in list(connection.leaving):
                leave()
            if not connection.users:
                self._retired.discard(connection)
                await connection.channel.close()

    async def aclose(self) -> None:
        """Close every connection; calls under way end with `Unavailable`. Idempotent."""
        self._closed = True
        connections = [*self._retired, *([self._present] if self._present else [])]
        self._present = None
        self._retired.clear()
        for connection in connections:
            await connection.channel.close()

"""One connection to one server, and what its failures mean.

Commands go out together and their answers come back in order, on this very connection: what counts replicas
(`WAIT`) counts for the connection that wrote, and for no other. So nothing here is ever sent again by itself. A call
that has begun is finished even if whoever asked for it has gone: a reply left unread would be taken for the next one's.
The version of the protocol is pinned, for the shape of answers depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis import exceptions
from redis.asyncio.connection import Connection, SSLConnection

from exchange.errors import ExchangeError, Fatal, Reason, Unavailable
from exchange.stores.redis_place import Login, RedisPlace, Server

PROTOCOL = 2
CONNECT_S = 2.0
#: How long an answer may take beyond what its command waits for by itself.
ANSWER_S = 5.0

Command = tuple[str | bytes | int, ...]

#: The server is not, or no longer, the one to ask: find out anew who is.
_MOVED = (
    exceptions.ReadOnlyError,
    exceptions.MovedError,
    exceptions.AskError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
)
_MOVED_WORDS = ("UNBLOCKED", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "NOREPLICAS")


class Lost(Unavailable):
    """The connection is gone; what was asked may have been done, or may not."""


class Elsewhere(Unavailable):
    """Nothing was done: this server is not the one to ask now."""


class Link:
    """An open connection. Use `connect`; after `Lost` it is good for nothing."""

    def __init__(self, server: Server, connection: Connection) -> None:
        """Use `connect`."""
        self.server = server
        self._connection = connection
        self._turn = asyncio.Lock()
        self._calls: set[asyncio.Task[list[Any]]] = set()
        self.lost = False

    @classmethod
    async def connect(cls, place: RedisPlace, server: Server, login: Login) -> Link:
        """Connect and log in. Raises `Lost`, and `Fatal` (CONFIG) when the server does not let us in."""
        settings: dict[str, Any] = {
            "host": server.host,
            "port": server.port,
            "protocol": PROTOCOL,
            "username": login.user or None,
            "password": login.password() or None,
            "socket_timeout": ANSWER_S,
            "socket_connect_timeout": CONNECT_S,
            "driver_info": None,
        }
        context = place.context()
        connection = Connection(**settings) if context is None else _Secured(context, place.server_name, **settings)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
            raise Fatal(
                f"{server}: the store does not let this hub in: {error}",
                reason=Reason.CONFIG,
                hint="check the user in `store`, and its password file",
            ) from error
        except (exceptions.RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            raise Lost(f"{server}: cannot be reached: {error}") from error
        return cls(server, connection)

    async def call(self, *commands: Command, wait_s: float = 0.0) -> list[Any]:
        """Send commands and return their answers; an error of the server's is an answer, too (`answer` raises it).

        ``wait_s`` is how long the commands may wait by themselves. Raises `Lost`.
        """
        task = asyncio.ensure_future(self._exchange(commands, wait_s))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await asyncio.shield(task)

    async def _exchange(self, commands: Sequence[Command], wait_s: float) -> list[Any]:
        async with self._turn:
            if self.lost:
                raise Lost(f"{self.server}: the connection is gone")
            try:
                async with asyncio.timeout(ANSWER_S + wait_s):
                    await self._connection.send_packed_command(
                        self._connection.pack_commands(commands), check_health=False
                    )
                    return [await self._read() for _ in commands]
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                await self._drop()
                raise Lost(f"{self.server}: the connection broke: {str(error) or 'no answer in time'}") from error
            except BaseException:
                await self._drop()
                raise

    async def _read(self) -> Any:  # noqa: ANN401 - an answer's type is its command's
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except exceptions.ResponseError as error:
            return error

    async def heard(self, timeout_s: float) -> Any:  # noqa: ANN401 - as `_read`
        """Return the next message of a subscription, or None after so long. For a link that is used for nothing else.

        Raises `Lost`.
        """
        try:
            return await self._connection.read_response(timeout=timeout_s, disconnect_on_error=False)
        except (exceptions.RedisError, OSError) as error:
            await self._drop()
            raise Lost(f"{self.server}: the connection broke: {error}") from error

    async def _drop(self) -> None:
        self.lost = True
        await self._connection.disconnect(nowait=True)

    async def aclose(self, *, wait: bool = False) -> None:
        """Finish the calls under way and disconnect. Idempotent. ``wait``: the loop ends after this."""
        self.lost = True
        await asyncio.gather(*self._calls, return_exceptions=True)
        with suppress(exceptions.TimeoutError):
            await self._connection.disconnect(nowait=not wait)


class _Secured(SSLConnection):
    """A TLS connection with a context of ours, and the name that the server's certificate must have."""

    def __init__(self, context: Any, server_name: str, **settings: Any) -> None:  # noqa: ANN401 - passed through
        super().__init__(**settings)
        self._made = context
        self._server_name = server_name

    def _connection_arguments(self) -> dict[str, Any]:
        named = {"server_hostname": self._server_name} if self._server_name else {}
        return {"host": self.host, "port": self.port, "ssl": self._made, **named}


def answer(server: Server, reply: Any) -> Any:  # noqa: ANN401 - as `Link.call`
    """Return an answer that is none of the server's errors, else raise what it means."""
    if isinstance(reply, exceptions.ResponseError):
        raise meaning(server, reply) from reply
    return reply


def meaning(server: Server, error: exceptions.ResponseError) -> ExchangeError:
    """Return the typed error for one of the server's."""
    text = str(error)
    if isinstance(error, _MOVED) or text.startswith(_MOVED_WORDS):
        return Elsewhere(f"{server}: not the master of this log now: {text}")
    if isinstance(error, exceptions.OutOfMemoryError) or text.startswith("OOM"):
        return Unavailable(f"{server}: the store's memory is full", retry_after_ms=5_000)
    if text.startswith("MISCONF"):
        return Unavailable(f"{server}: the store cannot write its file: {text}", retry_after_ms=5_000)
    if isinstance(error, exceptions.NoPermissionError | exceptions.AuthenticationError):
        return Unavailable(f"{server}: the store does not permit it: {text}", retry_after_ms=5_000)
    return Fatal(f"{server}: the store refuses what it should not: {text}")

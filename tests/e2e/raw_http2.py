"""A client with no manners: TLS and HTTP/2 frames by hand, to send what no gRPC library would."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event, ResponseReceived, TrailersReceived
from h2.settings import SettingCodes

from exchange.ops.certificates import authority_files, issued_files
from tests.e2e.exchange_fixture import TIMEOUT_S, Exchange

_HEADERS = ((":method", "POST"), (":scheme", "https"), (":authority", "localhost"))
_GRPC = (("content-type", "application/grpc"), ("te", "trailers"))


class RawConnection:
    """One connection; what the hub sends is kept as events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.events: list[Event] = []
        #: Whether the hub has closed the connection.
        self.closed = False
        self._reader, self._writer = reader, writer
        self._news = asyncio.Event()
        self._task: asyncio.Task[None]

    @classmethod
    @asynccontextmanager
    async def open(cls, exchange: Exchange, port: int, member: str) -> AsyncIterator[Self]:
        """Connect as a member's pipeline."""
        files = issued_files(exchange.pki, member, "pipeline")
        context = ssl.create_default_context(cafile=str(authority_files(exchange.pki).certificate))
        context.load_cert_chain(files.certificate, files.key)
        context.set_alpn_protocols(["h2"])
        made = cls(*await asyncio.open_connection("localhost", port, ssl=context))
        made.h2.initiate_connection()
        made.flush()
        made._task = asyncio.create_task(made._read())
        try:
            yield made
        finally:
            made._task.cancel()
            made._writer.transport.abort()
            with suppress(asyncio.CancelledError, OSError):
                await made._task

    async def _read(self) -> None:
        try:
            await self._frames()
        finally:
            self.closed = True
            self._news.set()

    async def _frames(self) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                # Frame by frame: h2 takes nothing more after a GOAWAY, and would drop what came with it.
                head = await self._reader.readexactly(9)
                frame = head + await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                if self.goodbye() is None:
                    self.events += self.h2.receive_data(frame)
                    self.flush()
                self._news.set()

    def flush(self) -> None:
        """Send what h2 has ready."""
        self._writer.write(self.h2.data_to_send())

    def stop_reading(self) -> None:
        """Read nothing more, not even at the TCP level: a peer that hangs."""
        self._task.cancel()

    def call(
        self, method: str, message: bytes | None = b"", *, end: bool = True, extra: tuple[tuple[str, str], ...] = ()
    ) -> int:
        """Open a call with one message, or with its headers alone; return its stream's number."""
        number = self.h2.get_next_available_stream_id()
        headers = [*_HEADERS, (":path", f"/exchange.v1.{method}"), *_GRPC, *extra]
        self.h2.send_headers(number, headers, end_stream=end and message is None)
        if message is not None:
            self.h2.send_data(number, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=end)
        return number

    def let_in(self, window: int) -> None:
        """Say how many bytes of each answer may come; h2 has taken none of them as read."""
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})

    async def until(self, happened: Callable[[], bool]) -> None:
        """Return when something has happened; fail at the deadline."""
        async with asyncio.timeout(TIMEOUT_S):
            while not happened():
                self._news.clear()
                await self._news.wait()

    def goodbye(self) -> ConnectionTerminated | None:
        """Return the hub's GOAWAY, if it came."""
        return next((event for event in self.events if isinstance(event, ConnectionTerminated)), None)

    def status(self, number: int) -> str | None:
        """Return the gRPC status of a call, if it came."""
        for event in self.events:
            if isinstance(event, TrailersReceived | ResponseReceived) and event.stream_id == number:
                found = {str(name): str(value) for name, value in event.headers or ()}
                if "grpc-status" in found:
                    return found["grpc-status"]
        return None

"""A blocking face of the client, for code that has no event loop: one loop on one thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from exchange.domain.directory import Directory
from exchange.domain.statement import Indicator
from exchange.normal.accounts import Account
from exchange_client.account_pseudonyms import AccountPseudonyms
from exchange_client.client import ExchangeClient
from exchange_client.config import ClientConfig
from exchange_client.delivery import Delivery
from exchange_client.identity import IdentityState
from exchange_client.in_flight import Outcome
from exchange_client.publisher import Publisher
from exchange_client.signals import Signal
from exchange_client.wire import Filter, WhoAmI

T = TypeVar("T")


class SyncExchangeClient:
    """What `ExchangeClient` does, blocking. Use as a context manager, from one thread."""

    def __init__(self, config: ClientConfig) -> None:
        """Nothing is connected yet."""
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="exchange-client", daemon=True)
        self._publishers: dict[str, Publisher] = {}
        self._making: dict[str, AccountPseudonyms] = {}
        self._services = AsyncExitStack()
        self._streams: list[AsyncGenerator[Delivery, None]] = []
        self._client: ExchangeClient

    def __enter__(self) -> Self:
        """Start the loop and open the client."""
        self._thread.start()

        async def open_client() -> ExchangeClient:
            return await ExchangeClient(self._config).__aenter__()

        try:
            self._client = self._wait(open_client())
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything and end the loop; feeds that are still being read end here."""
        try:
            for stream in list(self._streams):
                self._close(stream)
            for publisher in self._publishers.values():
                self._wait(publisher.__aexit__(None, None, None))
            self._wait(self._services.aclose())
            self._wait(self._client.__aexit__(None, None, None))
        finally:
            self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop and wait; an interrupted caller (Ctrl-C) takes the work with it."""
        started: list[asyncio.Task[Any]] = []
        running = asyncio.run_coroutine_threadsafe(_noted(work, started), self._loop)
        try:
            return running.result()
        except BaseException:
            if not running.done():
                running.cancel()
                asyncio.run_coroutine_threadsafe(_ended(started), self._loop).result()
            raise

    def _close(self, stream: AsyncGenerator[Delivery, None]) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
            self._wait(_close(stream))

    @property
    def identity(self) -> IdentityState:
        """How our certificate stands: alarm on ``overdue`` and ``problem``."""
        return self._client.identity

    def who_am_i(self) -> WhoAmI:
        """Ask how the hub knows us."""
        return self._wait(self._client.who_am_i())

    def directory(self) -> Directory:
        """Return the verified directory."""
        return self._wait(self._client.directory())

    def publish(self, origin: str, signals: Sequence[Signal], *, timeout_s: float | None = None) -> list[Outcome]:
        """Publish signals; block until each has an outcome."""
        return self._wait(self._publish(origin, signals, timeout_s))

    async def _publish(self, origin: str, signals: Sequence[Signal], timeout_s: float | None) -> list[Outcome]:
        publisher = self._publishers.get(origin)
        if publisher is None:
            publisher = await (await self._client.open_publisher(origin)).__aenter__()
            self._publishers[origin] = publisher
        return await publisher.publish(signals, timeout_s=timeout_s)

    def indicators(self, origin: str, accounts: Sequence[Account]) -> list[tuple[Indicator, ...]]:
        """Return for each account its pseudonyms under each live key epoch; the first call connects to the service.

        Raises as `ExchangeClient.pseudonyms` and `AccountPseudonyms.indicators`.
        """
        return self._wait(self._indicators(origin, accounts))

    async def _indicators(self, origin: str, accounts: Sequence[Account]) -> list[tuple[Indicator, ...]]:
        if origin not in self._making:
            self._making[origin] = await self._services.enter_async_context(self._client.pseudonyms(origin))
        return await self._making[origin].indicators(accounts)

    def subscribe(
        self, origin: str, *, cursor: int | None = None, from_now: bool = False, wanted: Filter | None = None
    ) -> Iterator[Delivery]:
        """Yield verified entries; block between them. Closing the iterator ends the stream."""
        stream = self._client.subscribe(origin, cursor=cursor, from_now=from_now, wanted=wanted)
        self._streams.append(stream)
        try:
            while stream in self._streams:
                delivery = self._wait(_next(stream))
                if delivery is None:
                    return
                yield delivery
        finally:
            self._close(stream)


async def _close(stream: AsyncGenerator[Delivery, None]) -> None:
    await stream.aclose()


async def _next(stream: AsyncGenerator[Delivery, None]) -> Delivery | None:
    return await anext(stream, None)


async def _noted(work: Coroutine[Any, Any, T], started: list[asyncio.Task[Any]]) -> T:
    task = asyncio.current_task()
    assert task is not None
    started.append(task)
    return await work


async def _ended(started: list[asyncio.Task[Any]]) -> None:
    if started:
        await asyncio.wait(started)

"""A blocking face of the client, for code that has no event loop: one loop on one thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from exchange.domain.directory import Directory
from exchange_client.client import ExchangeClient
from exchange_client.config import ClientConfig
from exchange_client.delivery import Delivery
from exchange_client.publisher import Outcome, Publisher
from exchange_client.signals import Signal
from exchange_client.transport import Filter, WhoAmI

T = TypeVar("T")


class SyncExchangeClient:
    """What `ExchangeClient` does, blocking. Use as a context manager, from one thread."""

    def __init__(self, config: ClientConfig) -> None:
        """Nothing is connected yet."""
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="exchange-client", daemon=True)
        self._publishers: dict[str, Publisher] = {}
        self._client: ExchangeClient

    def __enter__(self) -> Self:
        """Start the loop and open the client."""
        self._thread.start()

        async def open_client() -> ExchangeClient:
            return await ExchangeClient(self._config).__aenter__()

        self._client = self._wait(open_client())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything and end the loop."""
        for publisher in self._publishers.values():
            self._wait(publisher.__aexit__(None, None, None))
        self._wait(self._client.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

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

    def subscribe(
        self, origin: str, *, cursor: int | None = None, from_now: bool = False, wanted: Filter | None = None
    ) -> Iterator[Delivery]:
        """Yield verified entries; block between them. Closing the iterator ends the stream."""
        stream = self._client.subscribe(origin, cursor=cursor, from_now=from_now, wanted=wanted)
        try:
            while True:
                yield self._wait(_next(stream))
        finally:
            self._wait(_close(stream))


async def _close(stream: AsyncGenerator[Delivery, None]) -> None:
    await stream.aclose()


async def _next(stream: AsyncIterator[Delivery]) -> Delivery:
    return await anext(stream)

"""A blocking face of the client, for code that has no event loop: one loop on one thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from exchange.domain.bodies import Body
from exchange.domain.directory import Directory
from exchange.domain.elections import ElectionFacts
from exchange.normal.accounts import Account
from exchange_client.account_pseudonyms import AccountPseudonyms
from exchange_client.client import ExchangeClient
from exchange_client.config import ClientConfig
from exchange_client.delivery import Delivery
from exchange_client.identity import IdentityState
from exchange_client.in_flight import Outcome
from exchange_client.publisher import Publisher
from exchange_client.receipt import Receipt
from exchange_client.records import Indicator
from exchange_client.reports import ActivityRow, Debt, LagReport, SignalReport
from exchange_client.signals import Signal
from exchange_client.sync_referrals import SyncReferrals
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
        return self._wait(self._publisher(origin).publish(signals, timeout_s=timeout_s))

    def _publisher(self, origin: str) -> Publisher:
        """Return the community's publisher; the first call opens it."""
        if origin not in self._publishers:
            self._publishers[origin] = self._wait(self._open_publisher(origin))
        return self._publishers[origin]

    async def _open_publisher(self, origin: str) -> Publisher:
        return await (await self._client.open_publisher(origin)).__aenter__()

    def say(self, origin: str, body: Body, *, timeout_s: float | None = None) -> Receipt:
        """Say one thing that has no records; block until there is its receipt. Raises as `Publisher.say`."""
        return self._wait(self._publisher(origin).say(body, timeout_s=timeout_s))

    def retract(
        self,
        origin: str,
        signal_ids: Sequence[bytes] = (),
        *,
        case_ref: str = "",
        reason: int,
        decided_at_ms: int = 0,
    ) -> list[Receipt]:
        """Take signals of ours back, as `Publisher.retract`."""
        publisher = self._publisher(origin)
        return self._wait(publisher.retract(signal_ids, case_ref=case_ref, reason=reason, decided_at_ms=decided_at_ms))

    def erase(self, origin: str, signal_ids: Sequence[bytes] = (), *, case_ref: str = "", reason: int) -> list[Receipt]:
        """Let salt and data of signals of ours leave every store, as `Publisher.erase`."""
        return self._wait(self._publisher(origin).erase(signal_ids, case_ref=case_ref, reason=reason))

    def opine(self, origin: str, signal_ids: Sequence[bytes], category: int, reason: int) -> list[Receipt]:
        """Say what we think of signals of others, as `Publisher.opine`."""
        return self._wait(self._publisher(origin).opine(signal_ids, category, reason))

    def dispose(
        self,
        origin: str,
        signal_ids: Sequence[bytes],
        state: int,
        *,
        action: int = 0,
        reason: int = 0,
        matched_at_ms: int = 0,
        actioned_at_ms: int = 0,
    ) -> list[Receipt]:
        """Say what we did with signals of others, as `Publisher.dispose`."""
        saying = self._publisher(origin).dispose(
            signal_ids,
            state,
            action=action,
            reason=reason,
            matched_at_ms=matched_at_ms,
            actioned_at_ms=actioned_at_ms,
        )
        return self._wait(saying)

    def elections(self, origin: str) -> tuple[ElectionFacts, ...]:
        """Ask which elections signals may name, as `ExchangeClient.elections`."""
        return self._wait(self._client.elections(origin))

    def lag(self, origin: str, *, from_day: int = 0, to_day: int = 0, election: bytes = b"") -> LagReport:
        """Ask how long signals and retractions took, as `ExchangeClient.lag`."""
        return self._wait(self._client.lag(origin, from_day=from_day, to_day=to_day, election=election))

    def debts(
        self,
        origin: str,
        *,
        member: str = "",
        open_only: bool = False,
        deadline_hours: int = 0,
        election: bytes = b"",
    ) -> list[Debt]:
        """Ask what receivers said, or owe, to the ends of signals, as `ExchangeClient.debts`."""

        async def all_pages() -> list[Debt]:
            asked = self._client.debts(
                origin, member=member, open_only=open_only, deadline_hours=deadline_hours, election=election
            )
            return [debt async for debt in asked]

        return self._wait(all_pages())

    def activity(
        self, origin: str, *, from_day: int = 0, to_day: int = 0, election: bytes = b""
    ) -> tuple[ActivityRow, ...]:
        """Ask what members said, as `ExchangeClient.activity`."""
        return self._wait(self._client.activity(origin, from_day=from_day, to_day=to_day, election=election))

    def signal(self, origin: str, signal_id: bytes) -> SignalReport:
        """Ask what the ledger says of one signal, as `ExchangeClient.signal`."""
        return self._wait(self._client.signal(origin, signal_id))

    def quarantine(self, origin: str, member: str, from_index: int, reason: int) -> Receipt:
        """Flag a member's entries from an index on, as `Publisher.quarantine`."""
        return self._wait(self._publisher(origin).quarantine(member, from_index, reason))

    def release(self, origin: str, member: str) -> Receipt:
        """End a member's quarantine, as `Publisher.release`."""
        return self._wait(self._publisher(origin).release(member))

    def referrals(self, origin: str) -> SyncReferrals:
        """Return a community's referrals, notes and desks: to say and to ask."""
        return SyncReferrals(origin, self._wait, self._client.referrals, self._publisher)

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
        self,
        origin: str,
        *,
        cursor: int | None = None,
        from_now: bool = False,
        wanted: Filter | None = None,
        acknowledges: bool = False,
    ) -> Iterator[Delivery]:
        """Yield verified entries; block between them. Closing the iterator ends the stream."""
        stream = self._client.subscribe(
            origin, cursor=cursor, from_now=from_now, wanted=wanted, acknowledges=acknowledges
        )
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

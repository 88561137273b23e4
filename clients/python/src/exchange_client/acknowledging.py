"""A subscription that acknowledges: through which entry it has been processed, with the lag of what it was given.

At most once a minute, and only where there is something to say. One subscription of a member acknowledges a log; where
two do, the one behind is refused, and counts on. The offset of our clock to the hub's is measured and stated beside the
lags, which hold the times of both clocks as they are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from exchange import codec
from exchange.domain.bodies import Acknowledgement
from exchange.domain.life import ACKNOWLEDGE_EVERY_MS
from exchange.domain.statement import Statement
from exchange.errors import ExchangeError, InvalidStatement, Rejected, Unavailable
from exchange_client.cursors import Position, Positions
from exchange_client.delivery import Delivery
from exchange_client.delivery_lag import DeliveryLag, Part
from exchange_client.publisher import Publisher
from exchange_client.wire import Probed

_LOG = logging.getLogger("exchange_client")
EVERY_S = ACKNOWLEDGE_EVERY_MS / 1000
#: How long whoever leaves a subscription waits for what it says last.
LAST_WORD_S = 5.0
#: Of so many readings of the hub's clock the narrowest counts.
_READINGS = 3
_BEHIND = "acknowledgement.processed_through"


@dataclass(frozen=True, slots=True)
class Clock:
    """How far our clock is ahead of the hub's, and how far that may be off; 0 for both where it was not measured."""

    offset_ms: int = 0
    error_ms: int = 0


async def clock_of(probe: Callable[[], Awaitable[Probed]], now_ms: Callable[[], int]) -> Clock:
    """Measure our clock against the hub's: it said its time somewhere between asking and hearing."""
    readings = []
    with suppress(Unavailable):
        for _ in range(_READINGS):
            asked_ms = now_ms()
            hub_ms = (await probe()).hub_time_ms
            heard_ms = now_ms()
            if heard_ms < asked_ms:
                continue  # our clock was set back in between
            error_ms = max(1, (heard_ms - asked_ms + 1) // 2)
            readings.append(Clock((asked_ms + heard_ms) // 2 - hub_ms, error_ms))
    return min(readings, key=lambda clock: clock.error_ms, default=Clock())


class Acknowledging:
    """Acknowledges what one subscription processes, for as long as its context lasts."""

    def __init__(
        self, lag: DeliveryLag, publisher: Publisher, probe: Callable[[], Awaitable[Probed]], now_ms: Callable[[], int]
    ) -> None:
        """Use `ExchangeClient.subscribe`. The publisher has an outbox of its own, and is entered here."""
        self._lag = lag
        self._publisher = publisher
        self._probe = probe
        self._now_ms = now_ms
        #: Signed, and neither in the ledger nor refused.
        self._unsaid: Statement | None = None
        self._said_at_s = -EVERY_S
        self._saying: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        """Go on with what an earlier run has counted and not said."""
        await self._lag.load()
        await self._publisher.__aenter__()
        self._saying = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say the last, where a hub hears it at once; what is left is said by the next run."""
        self._saying.cancel()
        await asyncio.wait((self._saying,))
        closed = self._lag.closed
        try:
            minute_over = time.monotonic() >= self._said_at_s + EVERY_S
            if minute_over and not closed and not isinstance(error, ExchangeError):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_WORD_S):
                        await self._say()
            if not closed:
                await self._lag.store()
        finally:
            with suppress(*([Rejected] if closed else [])):
                await self._publisher.__aexit__(None, None, None)

    def processed(self, delivery: Delivery) -> None:
        """Count a delivery that the consumer is done with."""
        self._lag.note(delivery)

    def before(self, positions: Positions) -> Positions:
        """Return positions that are stored behind what was counted up to them."""
        return _Behind(positions, self._lag)

    async def _run(self) -> None:
        try:
            await self._publisher.settled()
        except ExchangeError as error:
            _LOG.warning("nothing is acknowledged: %s", error.diagnostics().replace("\n", "; "))
            return
        while True:
            await self._say()
            await asyncio.sleep(EVERY_S)

    async def _say(self) -> None:
        """Say what is due. What goes wrong is told to the log, and mended the next time."""
        try:
            if self._unsaid is not None:
                await self._submit(replace(self._unsaid, resubmission=True))
            elif self._lag.due is not None:
                clock = await clock_of(self._probe, self._now_ms)
                part = self._lag.take()
                said = Acknowledgement(part.through, clock.offset_ms, clock.error_ms, part.cells)
                self._unsaid = self._publisher.sign(said)
                await self._submit(self._unsaid)
        except ExchangeError as error:
            _LOG.warning("an acknowledgement waits: %s", error.diagnostics().replace("\n", "; "))

    async def _submit(self, statement: Statement) -> None:
        """Publish an acknowledgement: what it counts leaves the client's file as it comes into the outbox.

        So it is said once, whatever happens. It is counted again, with what comes, where it was not kept, and where
        another subscription of ours is ahead: it is said once this one is.
        """
        try:
            await self._publisher.submit(statement, beside=self._lag.storing())
        except ExchangeError as error:
            if not await self._publisher.outbox.pending():
                self._unsaid = None
                behind = isinstance(error, InvalidStatement) and {each.field for each in error.violations} == {_BEHIND}
                if behind or not isinstance(error, Rejected):
                    self._give_back(statement)
                    await self._lag.store()
            raise
        self._unsaid = None
        self._said_at_s = time.monotonic()

    def _give_back(self, statement: Statement) -> None:
        said = codec.decode_header(statement.payload, strict=False).body
        assert isinstance(said, Acknowledgement)
        self._lag.give_back(Part.of(said))


class _Behind:
    """Positions that follow what was counted."""

    def __init__(self, positions: Positions, lag: DeliveryLag) -> None:
        self._positions = positions
        self._lag = lag

    @property
    def closed(self) -> bool:
        return self._positions.closed

    async def load(self, origin: str) -> Position | None:
        return await self._positions.load(origin)

    async def store(self, origin: str, position: Position) -> None:
        await self._lag.store()
        await self._positions.store(origin, position)

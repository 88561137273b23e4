"""A platform's own accounts that live signals name. A match is advice, with its provenance: nothing bans by itself.

Which direction it comes from does not matter: a signal that arrives is held against the index of the accounts, and an
account that was indexed later against the signals that had come before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from exchange.domain.validation import DAY_MS
from exchange_client.account_indexes import AccountIndexes
from exchange_client.account_signals import WANTED, AccountSignals, NamingSignal
from exchange_client.client import ExchangeClient
from exchange_client.delivery import Delivery


@dataclass(frozen=True, slots=True)
class AccountMatch:
    """One of the platform's accounts, and a live signal that names it."""

    reference: str
    signal: NamingSignal


class AccountMatches:
    """What a community's signals say of a platform's accounts."""

    def __init__(
        self, client: ExchangeClient, signals: AccountSignals, indexes: AccountIndexes, *, acknowledges: bool = False
    ) -> None:
        """Read the signals' community with this client. ``acknowledges``: as `ExchangeClient.subscribe`."""
        self._acknowledges = acknowledges
        self._client = client
        self._signals = signals
        self._indexes = indexes

    async def catch_up(self) -> None:
        """Read what the community has said up to now, onto disk. Raises as `ExchangeClient.subscribe`."""
        until = (await self._client.checkpoint(self._signals.origin)).size
        position = await self._signals.load(self._signals.origin)
        if (position.range.size if position else 0) >= until:
            return
        async with aclosing(self._deliveries()) as deliveries:
            async for delivery in deliveries:
                self._signals.take(delivery)
                await self._signals.keep_up()
                if delivery.index + 1 >= until:
                    self._client.acknowledge(delivery)
                    return

    async def known(self, *, now_ms: int) -> AsyncIterator[list[AccountMatch]]:
        """Yield every account that a signal on disk names which is live, in the order of the log, some at a time."""
        await self._signals.expire(now_ms=now_ms)
        async for page in self._signals.live(now_ms=now_ms):
            yield await self._matches(page)

    async def arriving(self, *, now_ms: Callable[[], int]) -> AsyncGenerator[list[AccountMatch], None]:
        """Yield the accounts that each signal names, as it comes or is released from quarantine, for ever.

        Raises as `ExchangeClient.subscribe`.

        Asking for the next ones acknowledges these: after a crash the last ones may come again.
        """
        expired_at_ms = 0
        async with aclosing(self._deliveries()) as deliveries:
            async for delivery in deliveries:
                if now_ms() - expired_at_ms >= DAY_MS:
                    expired_at_ms = now_ms()
                    await self._signals.expire(now_ms=expired_at_ms)
                live = [signal for signal in await self._signals.follow(delivery) if signal.expires_at_ms > now_ms()]
                if live and (found := await self._matches(live)):
                    yield found

    async def _matches(self, signals: Sequence[NamingSignal]) -> list[AccountMatch]:
        found = await self._indexes.find(pseudonym for signal in signals for pseudonym in signal.pseudonyms)
        return [
            AccountMatch(reference, signal)
            for signal in signals
            # One account under two epochs is one match.
            for reference in sorted({each for value in signal.pseudonyms for each in found.get(value, ())})
        ]

    def _deliveries(self) -> AsyncGenerator[Delivery, None]:
        return self._client.subscribe(
            self._signals.origin, wanted=WANTED, positions=self._signals, acknowledges=self._acknowledges
        )

"""Signals that name accounts: their pseudonyms are made before anything is signed, and the identifiers go nowhere else.

The pseudonym service is called with the first line that needs it, so whoever names no accounts needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

from exchange.domain.key_epochs import KeyEpochEntry
from exchange.errors import ExchangeError, Reason, Rejected, Unavailable
from exchange.normal.accounts import Account
from exchange_client import AccountPseudonyms, ExchangeClient, Indicator, Signal

#: Lines whose accounts are evaluated together: what is refused for lack of budget is refused for so many.
_STEP = 64


class Naming:
    """Gives signals the pseudonyms of the accounts that their lines name."""

    def __init__(self, client: ExchangeClient, origin: str, closing: AsyncExitStack, *, shorten: bool) -> None:
        """What is opened ends with ``closing``; ``shorten`` lets a signal end with its key epoch, if that is sooner."""
        self._client = client
        self._origin = origin
        self._closing = closing
        self._shorten = shorten
        self._making: AccountPseudonyms | None = None

    async def named(self, drafts: Sequence[tuple[Signal, tuple[Account, ...]]]) -> list[Signal | ExchangeError]:
        """Return each signal with the pseudonyms of its accounts under each live epoch, or why it has none."""
        found: list[Signal | ExchangeError] = [signal for signal, _ in drafts]
        asking = [place for place, (_, accounts) in enumerate(drafts) if accounts]
        away: Unavailable | None = None
        for at in range(0, len(asking), _STEP):
            places = asking[at : at + _STEP]
            try:
                if away is not None:
                    raise away
                made = await self._name([drafts[place] for place in places])
            except ExchangeError as error:
                away = error if isinstance(error, Unavailable) else None
                made = [error.alone()] * len(places)
            for place, result in zip(places, made, strict=True):
                found[place] = result
        return found

    async def _name(self, drafts: Sequence[tuple[Signal, tuple[Account, ...]]]) -> list[Signal | ExchangeError]:
        if self._making is None:
            self._making = await self._closing.enter_async_context(self._client.pseudonyms(self._origin))
        first = min(await self._making.live(), key=lambda entry: entry.epoch.ends_ms)
        fitting = [self._fitting(signal, first) for signal, _ in drafts]
        # Only what is fit to be published is worth an evaluation.
        asked = [
            account
            for signal, (_, accounts) in zip(fitting, drafts, strict=True)
            if isinstance(signal, Signal)
            for account in accounts
        ]
        made = iter(await self._making.indicators(asked))
        return [
            _with(signal, [next(made) for _ in accounts]) if isinstance(signal, Signal) else signal
            for signal, (_, accounts) in zip(fitting, drafts, strict=True)
        ]

    def _fitting(self, signal: Signal, first: KeyEpochEntry) -> Signal | ExchangeError:
        """Return the signal as it may be published, where the epoch that ends first lets it."""
        ends_ms = first.epoch.ends_ms
        if signal.expires_at_ms <= ends_ms:
            return signal
        if self._shorten:
            return replace(signal, expires_at_ms=ends_ms)
        moment = datetime.fromtimestamp(ends_ms // 1000, UTC).isoformat()
        return Rejected(
            Reason.INVALID,
            f"it expires behind the end of key epoch {first.epoch.number}, {moment}, when its pseudonyms end",
            hint="let it expire by then, or publish with --shorten",
        )


def _with(signal: Signal, made: Sequence[tuple[Indicator, ...]]) -> Signal:
    return replace(signal, indicators=(*signal.indicators, *(each for indicators in made for each in indicators)))

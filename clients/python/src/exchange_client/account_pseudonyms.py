"""Accounts as others may know them: pseudonyms under each key epoch that is live in a community.

In an overlap two epochs are live, and a receiver may have its accounts indexed under either: so a signal names an
account under both. Which are live is read from the ledger, again and again for as long as this is open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from exchange.domain.identifiers import IndicatorType, pseudonym_value
from exchange.domain.key_epochs import KeyEpochEntry, KeyEpochs
from exchange.errors import OverQuota, Reason, Rejected, Unavailable
from exchange.normal.accounts import Account, data_versions
from exchange.normal.protected import require_signallable
from exchange.privacy.voprf import Evaluation
from exchange_client.backoff import Backoff
from exchange_client.pseudonyms import EpochKey, Evaluate, Pseudonyms
from exchange_client.records import Indicator

#: How old the view of the live epochs may get.
READ_AGAIN_MS = 600_000
#: A service that is away is asked so often, with growing pauses: about twenty seconds.
ATTEMPTS = 9

_LOG = logging.getLogger("exchange_client")


class AccountPseudonyms:
    """Makes the pseudonyms of one community. An async context manager: its processes end with it."""

    def __init__(
        self,
        evaluate: Evaluate,
        read_epochs: Callable[[], Awaitable[KeyEpochs]],
        now_ms: Callable[[], int],
        *,
        processes: int = 1,
    ) -> None:
        """``read_epochs`` returns the community's epochs as its ledger has them; ``processes`` are for each epoch."""
        self._evaluate = evaluate
        self._read = read_epochs
        self._now_ms = now_ms
        self._processes = processes
        self._entries: dict[int, KeyEpochEntry] = {}
        self._open: dict[int, Pseudonyms] = {}
        self._read_at_ms = -READ_AGAIN_MS
        self._closing = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Read which epochs are live. Raises `Rejected` (NOT_FOUND) when none is."""
        await self.live()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        await self._closing.aclose()

    async def live(self) -> list[KeyEpochEntry]:
        """Return the epochs that are live, the oldest first. Raises `Rejected` (NOT_FOUND) when there is none."""
        async with self._lock:
            now_ms = self._now_ms()
            if now_ms - self._read_at_ms >= READ_AGAIN_MS or not self._live(now_ms):
                await self._look(now_ms)
            live = self._live(now_ms)
            for entry in live:
                if entry.epoch.number not in self._open:
                    await self._begin(entry)
        if not live:
            raise Rejected(
                Reason.NOT_FOUND,
                "no pseudonym key is live in this community",
                hint="its pseudonym service announces one: `exchange pseudonyms epoch create`",
            )
        return live

    async def _look(self, now_ms: int) -> None:
        try:
            self._entries = (await self._read()).entries
        except Unavailable:
            if not self._live(now_ms):
                raise
            return  # what is known is live still
        self._read_at_ms = now_ms

    def _live(self, now_ms: int) -> list[KeyEpochEntry]:
        return [entry for _, entry in sorted(self._entries.items()) if entry.is_live(now_ms)]

    async def _begin(self, entry: KeyEpochEntry) -> None:
        for name, (ours, theirs) in differing_versions(entry).items():
            _LOG.warning(
                "key epoch %d was announced with %s %s, and here is %s: an account may come to another pseudonym here"
                " than at other members",
                *(entry.epoch.number, name, theirs, ours),
            )
        key = EpochKey(entry.epoch.number, entry.epoch.public_key)
        pseudonyms = Pseudonyms(self._patiently, key, processes=self._processes)
        self._open[key.number] = await self._closing.enter_async_context(pseudonyms)

    async def under(self, number: int) -> Pseudonyms:
        """Return what makes the pseudonyms of one live epoch. Raises `Rejected` (NOT_FOUND) when it is not live."""
        if number not in {entry.epoch.number for entry in await self.live()}:
            raise Rejected(Reason.NOT_FOUND, f"key epoch {number} is not live in this community")
        return self._open[number]

    async def indicators(self, accounts: Sequence[Account]) -> list[tuple[Indicator, ...]]:
        """Return for each account what a signal names it by: a pseudonym under each live epoch.

        Raises as `Pseudonyms.of`, and `Rejected` (NOT_PERMITTED) for an account that may not be signalled.
        """
        for account in accounts:
            require_signallable(account)
        return await self.of(accounts)

    async def of(self, accounts: Sequence[Account]) -> list[tuple[Indicator, ...]]:
        """Return for each account its pseudonym under each live epoch, to look for it. Raises as `Pseudonyms.of`."""
        made: list[list[Indicator]] = [[] for _ in accounts]
        for entry in await self.live():
            number = entry.epoch.number
            for indicators, output in zip(made, await self._open[number].of(accounts), strict=True):
                indicators.append(Indicator(IndicatorType.PSEUDONYM, pseudonym_value(number, output)))
        return list(map(tuple, made))

    async def _patiently(self, epoch: int, elements: Sequence[bytes]) -> Evaluation:
        backoff = Backoff("making pseudonyms")
        for _ in range(ATTEMPTS - 1):
            try:
                evaluation = await self._evaluate(epoch, elements)
            except OverQuota:
                raise
            except Unavailable as error:
                await backoff.after(error, "waits for the pseudonym service")
            except Rejected as error:
                if error.reason is not Reason.NOT_FOUND or not await self._is_live_now(epoch):
                    raise
                await backoff.after(error, "waits for the pseudonym service to take up a new key epoch")
            else:
                backoff.reset()
                return evaluation
        return await self._evaluate(epoch, elements)

    async def _is_live_now(self, number: int) -> bool:
        """Whether the ledger says so as it is now. A service evaluates under a new epoch once it has read it there."""
        self._read_at_ms = -READ_AGAIN_MS
        return number in {entry.epoch.number for entry in await self.live()}


def differing_versions(entry: KeyEpochEntry) -> dict[str, tuple[str, str]]:
    """Return what can change a normal form and is of another version here than the epoch's: (ours, the epoch's)."""
    ours = data_versions()
    theirs = {version.name: version.version for version in entry.epoch.data_versions}
    return {
        name: (ours.get(name, "none"), theirs.get(name, "none"))
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    }

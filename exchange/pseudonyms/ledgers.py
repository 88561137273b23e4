"""What the pseudonym service needs of the exchange, and its view of the directory.

The service fails closed: a directory that could not be read for `FRESH_S`, or that does not hold, lets nobody in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from exchange.domain.bodies import Body
from exchange.domain.directory import Directory
from exchange.domain.key_epochs import KeyEpochs
from exchange.errors import Unavailable, VerificationFailed

#: How old the view of the directory may get.
FRESH_S = 30.0


class Greeting(Protocol):
    """What a hub says of itself."""

    @property
    def hub_time_ms(self) -> int:
        """The hub's clock."""
        ...


class Ledgers(Protocol):
    """An exchange as a client of it sees it: what it returns is verified, and it raises `ExchangeError`."""

    async def directory(self) -> Directory:
        """Return the directory as it is now."""
        ...

    async def key_epochs(self, origin: str) -> KeyEpochs:
        """Return what a community's ledger says of key epochs: those that the hub shows."""
        ...

    async def say(self, origin: str, body: Body) -> object:
        """Publish a statement; it is in the ledger when this returns."""
        ...

    async def who_am_i(self) -> Greeting:
        """Ask a hub how it knows us."""
        ...


class FollowedDirectory:
    """The directory, read again and again."""

    def __init__(self, ledgers: Ledgers, clock_s: Callable[[], float]) -> None:
        """Nothing is read yet; ``clock_s`` is a monotonic clock in seconds."""
        self._ledgers = ledgers
        self._clock = clock_s
        self._directory: Directory | None = None
        self._asked_s = -math.inf

    async def look(self) -> Directory:
        """Read what is new. Raises `ExchangeError`; after `VerificationFailed` nothing that was read counts."""
        asked_s = self._clock()
        try:
            self._directory = await self._ledgers.directory()
        except VerificationFailed:
            self._directory = None
            raise
        self._asked_s = asked_s
        return self._directory

    @property
    def fresh(self) -> bool:
        """Whether what was read may still be judged by."""
        return self._directory is not None and self._clock() - self._asked_s <= FRESH_S

    def current(self) -> Directory:
        """Return the directory. Raises `Unavailable` when it is not known as it is now."""
        if self._directory is None or not self.fresh:
            raise Unavailable("the pseudonym service cannot read the exchange's directory now", retry_after_ms=2_000)
        return self._directory

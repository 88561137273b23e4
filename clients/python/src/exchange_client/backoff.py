"""Waiting longer after each failure, never in step with others."""

from __future__ import annotations

import asyncio
import logging
import random

from exchange.errors import ExchangeError, Unavailable

_LOG = logging.getLogger("exchange_client")
FIRST_S = 0.1
LONGEST_S = 10.0
#: However long a hub asks us to wait, we look again after this.
MOST_ASKED_S = 60.0


class Backoff:
    """Exponential, with full jitter above half; starts again after a success."""

    def __init__(self, what: str = "") -> None:
        """``what`` fails and goes on again, in the words of the log."""
        self._what = what
        self._next_s = FIRST_S
        #: Whether a failure was said aloud, and not yet that it is over.
        self._said = False

    def reset(self) -> None:
        """Begin again: something worked. Where a failure was said aloud, its end is too."""
        self._next_s = FIRST_S
        if self._said:
            self._said = False
            _LOG.warning("%s goes on: connected again", self._what)

    async def after(self, error: ExchangeError, how: str) -> None:
        """Say how it failed (aloud the first time in a row), and wait as long as is due."""
        level = logging.WARNING if self._next_s == FIRST_S else logging.DEBUG
        self._said = True
        _LOG.log(level, "%s %s: %s", self._what, how, error.diagnostics().replace("\n", "; "))
        await self.wait(error.retry_after_ms / 1000 if isinstance(error, Unavailable) else 0.0)

    async def wait(self, at_least_s: float = 0.0) -> None:
        """Sleep for the next pause, or for as long as the hub asked."""
        pause = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        self._next_s = min(self._next_s * 2, LONGEST_S)
        await asyncio.sleep(max(pause, min(at_least_s, MOST_ASKED_S)))

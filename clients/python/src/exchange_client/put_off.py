"""Statements that a hub puts off: sent again when it asks, which is said aloud once, and so is that it is over."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Container

from exchange.errors import Unavailable
from exchange_client.backoff import MOST_ASKED_S

_LOG = logging.getLogger("exchange_client")
#: So long after one such wait has begun, the next one is said aloud: a quota is full every moment in a bulk.
SAY_EVERY_S = 60.0


class PutOff:
    """The statements of one publisher that wait until the hub takes them: its log is not open, a quota is full."""

    def __init__(self, again: Callable[[bytes], None]) -> None:
        """``again`` is given the id of each when its time has come."""
        self._again = again
        self._ids: set[bytes] = set()
        #: Whether it was said aloud that they wait, and not yet that it is over.
        self._said = False
        self._say_from_s = 0.0

    def add(self, id_: bytes, error: Unavailable) -> None:
        """Send a statement again, as late as the hub asks; say why."""
        self._ids.add(id_)
        if not self._said and time.monotonic() >= self._say_from_s:
            self._said = True
            self._say_from_s = time.monotonic() + SAY_EVERY_S
            _LOG.warning("publishing waits: %s", error.diagnostics().replace("\n", "; "))
        asked_s = min(max(error.retry_after_ms, 50) / 1000, MOST_ASKED_S)
        spread = random.uniform(1.0, 1.2)  # noqa: S311 - spreads load, guards nothing
        asyncio.get_running_loop().call_later(asked_s * spread, self._again, id_)

    def keep(self, waiting: Container[bytes]) -> None:
        """Forget what waits for nothing any more; where that was the last, and the wait was said aloud, say its end."""
        if not self._ids:
            return
        self._ids = {id_ for id_ in self._ids if id_ in waiting}
        if self._said and not self._ids:
            self._said = False
            _LOG.warning("publishing goes on: nothing is put off any more")

    def forget(self) -> None:
        """Forget them all: those who waited have been told that it is over, and why."""
        self._ids.clear()
        self._said = False

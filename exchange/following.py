"""What follows a log is run for as long as the hub is, and again when it fails for a moment.

A moment is a store that cannot be had, or a disk that is full (`Unavailable`). The first failure in a row is told in
the hub's log, and so is the recovery; where the row lasts, the hub is not ready until it has ended. Anything else stops
what follows for good, and takes the hub out of readiness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from exchange.errors import ExchangeError, Unavailable
from exchange.ops.health import Health
from exchange.views.keeper import SnapshotDiffers

_log = structlog.get_logger()

AGAIN_S = 0.5
#: How long it may fail before the hub is not ready.
LONG_S = 30.0
#: How long it runs without failing until that may be a recovery: a failure takes some seconds to show.
WELL_S = 5.0
_LOOK_S = 0.5


class Following:
    """One thing that follows one log."""

    def __init__(
        self,
        what: str,
        origin: str,
        run: Callable[[], Awaitable[None]],
        health: Health,
        *,
        closing: Callable[[], bool],
        well: Callable[[], object] = lambda: None,
    ) -> None:
        """``what`` it is, for an operator. As long as ``well`` raises `Unavailable`, it has not recovered."""
        self._what = what
        self._origin = origin
        self._run = run
        self._health = health
        self._closing = closing
        self._well = well
        #: When the first of the failures was that are in a row now, by the loop's time.
        self._since: float | None = None
        self._look: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Run it until the hub closes its logs, which ends it quietly, or it stops. Raises `SnapshotDiffers`."""
        try:
            while not self._closing():
                await self._once()
                await asyncio.sleep(AGAIN_S)
        except SnapshotDiffers:
            raise  # the hub has judged by what its ledger does not say: it must not go on
        except ExchangeError as error:
            self._is_not_ready(error)
            _log.error("follower_stopped", origin=self._origin, what=self._what, exc_info=error)

    async def _once(self) -> None:
        if self._since is not None:
            self._look = asyncio.get_running_loop().call_later(WELL_S, self._look_whether_well)
        try:
            await self._run()
        except Unavailable as error:
            if not self._closing():
                self._failed(error)
        finally:
            if self._look is not None:
                self._look.cancel()

    def _failed(self, error: Unavailable) -> None:
        now = asyncio.get_running_loop().time()
        if self._since is None:
            self._since = now
            _log.warning("follower_fails", origin=self._origin, what=self._what, reason=error.message)
        elif now - self._since >= LONG_S:
            self._is_not_ready(error)

    def _look_whether_well(self) -> None:
        try:
            self._well()
        except Unavailable:
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._look_whether_well)
            return
        self._since = None
        self._health.serving("store", self._part)
        _log.info("follower_is_well_again", origin=self._origin, what=self._what)

    def _is_not_ready(self, error: ExchangeError) -> None:
        self._health.not_serving("store", f"{self._origin}: {self._what}: {error.message}", self._part)

    @property
    def _part(self) -> str:
        return f"{self._what} of {self._origin}"

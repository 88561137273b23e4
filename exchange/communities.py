"""Which communities this hub has open: all that the directory names and whose logs are here.

One that cannot be opened hurts no other. What may pass by itself is tried again every few seconds: a store that cannot
be had, another process that has the log open, a key that is not there yet. A log that is damaged, or an old copy, is
left alone until the directory changes or the hub is started again: somebody may be copying files into its folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

import structlog

from exchange.domain.identifiers import Origin
from exchange.errors import ExchangeError, Fatal, Reason, Unavailable
from exchange.opening import origin_here
from exchange.ops.health import Health
from exchange.stores.folders import Folders, read_key
from exchange.stores.opened import Stores
from exchange.views.directory import DirectoryView

_log = structlog.get_logger()

AGAIN_S = 5.0
#: What hurts one community alone, also at a start: its key, or that entries of its log are lost.
_OF_ONE_ALONE = frozenset({Reason.CONFIG, Reason.ROLLED_BACK})
_MAY_PASS = frozenset({Reason.CONFIG, Reason.CONFLICT})


class Communities:
    """Opens them, at the start and while the hub serves."""

    def __init__(
        self,
        folders: Folders,
        stores: Stores,
        view: DirectoryView,
        health: Health,
        *,
        opened: Collection[str],
        open_log: Callable[[Origin], Awaitable[None]],
    ) -> None:
        """``opened`` are the logs that are open; ``open_log`` opens one more."""
        self._folders = folders
        self._stores = stores
        self._view = view
        self._health = health
        self._opened = opened
        self._open_log = open_log
        #: Why a community is not open, as it was told last.
        self._told: dict[str, str] = {}
        #: Those that are tried again without a change of the directory.
        self._again: set[str] = set()

    def expected(self) -> int:
        """Return how many there are to open."""
        return sum(origin_here(self._stores, each) is not None for each in self._view.directory.communities)

    async def open_all(self) -> None:
        """Open them at a start. Raises `ExchangeError` where one cannot be opened for a reason that is not its own."""
        for origin in tuple(self._view.directory.communities):
            try:
                await self._open(origin)
            except Fatal as error:
                if error.reason not in _OF_ONE_ALONE:
                    raise
                self._is_wrong(origin, error)

    async def follow(self) -> None:
        """Open what the directory comes to name, and what could not be opened before, until cancelled."""
        seen = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S if self._again else None):
                    await self._view.reached(seen + 1)
            directory = self._view.directory
            grown, seen = directory.size > seen, directory.size
            shut = [origin for origin in directory.communities if origin not in self._opened]
            for origin in shut if grown else [each for each in shut if each in self._again]:
                try:
                    await self._open(origin)
                except ExchangeError as error:
                    self._is_wrong(origin, error)

    async def _open(self, text: str) -> None:
        """Open a community, unless it is closed, or is not to be served here."""
        directory = self._view.directory
        if text not in directory.successors:
            origin = origin_here(self._stores, text)
            if origin is None:
                self._is_elsewhere(text)
                return
            if read_key(self._folders.key(origin.log)).public_key != directory.communities[text].log_public_key:
                raise Fatal(
                    f"{text}: the key file is not the one that the directory names for this log",
                    reason=Reason.CONFIG,
                    hint="bring back the right key file; the hub must not sign with another one",
                )
            await self._open_log(origin)
        self._told.pop(text, None)
        self._note(text, again=False)

    def _is_elsewhere(self, text: str) -> None:
        why = "it is not on this hub"
        if self._told.get(text) != why:
            _log.warning("community_is_not_on_this_hub", origin=text)
        self._told[text] = why
        self._note(text, again=self._stores.come_at_once)

    def _is_wrong(self, text: str, error: ExchangeError) -> None:
        if self._told.get(text) != error.message:
            _log.error("community_not_opened", origin=text, exc_info=error)
        self._told[text] = error.message
        why = "" if error.reason is Reason.CONFIG else f"{text}: {error.message}"
        self._note(text, why, again=isinstance(error, Unavailable) or error.reason in _MAY_PASS)

    def _note(self, text: str, why_not_ready: str = "", *, again: bool) -> None:
        if why_not_ready:
            self._health.not_serving("store", why_not_ready, text)
        else:
            self._health.serving("store", text)
        if again:
            self._again.add(text)
        else:
            self._again.discard(text)

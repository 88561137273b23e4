"""Work that is done to its end, also when whoever asked for it has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ToTheEnd:
    """Keeps what is under way."""

    def __init__(self) -> None:
        """Nothing is."""
        self._under_way: set[asyncio.Task[Any]] = set()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it; return what it returns."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: its caller may have gone

    async def aclose(self) -> None:
        """Return when all of it has ended."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

"""Asking a hub again that says "later"."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from exchange.errors import OverQuota, Unavailable

T = TypeVar("T")
#: Nothing here takes long; what does not come by now never comes.
DEADLINE_S = 30.0


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Ask again as long as the hub says "later", which it does for a moment after a start."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await call()
            except OverQuota:
                raise
            except Unavailable:
                await asyncio.sleep(0.001)

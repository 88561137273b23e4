"""Waiting for what a task does beside a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Only what never happens waits so long.
DEADLINE_S = 60.0


async def until(happened: Callable[[], bool]) -> None:
    """Return once it has happened. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_S):
        while not happened():
            await asyncio.sleep(0.005)

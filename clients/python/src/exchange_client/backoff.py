"""Waiting longer after each failure, never in step with others."""

from __future__ import annotations

import asyncio
import random

FIRST_S = 0.1
LONGEST_S = 10.0


class Backoff:
    """Exponential, with full jitter above half; starts again after a success."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def reset(self) -> None:
        """Begin again: something worked."""
        self._next_s = FIRST_S

    async def wait(self, at_least_s: float = 0.0) -> None:
        """Sleep for the next pause, or for as long as the hub asked."""
        pause = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        self._next_s = min(self._next_s * 2, LONGEST_S)
        await asyncio.sleep(max(pause, at_least_s))

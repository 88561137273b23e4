"""What a hub in memory says that it has lost."""

from __future__ import annotations

import asyncio
from collections import deque

from exchange.errors import ExchangeError


class Losses:
    """A part of the transport."""

    def __init__(self) -> None:
        #: Places of entries without the records that they were said with.
        self.lost: list[int] = []
        #: What the next questions are answered with.
        self.lost_faults: deque[ExchangeError] = deque()
        self.asked_for_lost = 0

    async def lost_records(self, _origin: str) -> tuple[int, ...]:
        """Tell, and count how often that was asked."""
        await asyncio.sleep(0)
        self.asked_for_lost += 1
        if self.lost_faults:
            raise self.lost_faults.popleft()
        return tuple(self.lost)

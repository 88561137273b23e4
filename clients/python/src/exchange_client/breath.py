"""The event loop is not ours alone: whoever works through much lets others have it now and then."""

from __future__ import annotations

import asyncio
import time

#: So long nobody else is heard: streams that are read, processes that are fed, and the consumer's own tasks.
LONGEST_S = 0.005


class Breath:
    """Of one piece of work."""

    def __init__(self) -> None:
        """Begin now."""
        self._since = time.monotonic()

    async def taken(self) -> None:
        """Return once the others have been heard, where it is time for that."""
        if time.monotonic() - self._since > LONGEST_S:
            await asyncio.sleep(0)
            self._since = time.monotonic()

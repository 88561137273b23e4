"""Records that come back to a log that has lost them, by whichever hub they do.

A hub that puts some back writes down which, in the same step, and tells the others: each reads on from where it was,
and replaces what it holds in memory. What came back before a hub opened the log it reads from the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from exchange.errors import Conflict, Fatal
from exchange.stores import redis_calls as calls
from exchange.stores.recent import RecentEntries
from exchange.stores.redis_cold import Cold
from exchange.stores.redis_master import Master
from exchange.stores.redis_scripts import Keys

#: Read in one go.
_AT_ONCE = 256


async def _nobody(_indices: Sequence[int]) -> None:
    """Tell nobody."""


class Returning:
    """What comes back to one log."""

    def __init__(self, master: Master, keys: Keys, cold: Cold, recent: RecentEntries) -> None:
        """``recent`` holds entries in memory."""
        self._master = master
        self._keys = keys
        self._cold = cold
        self._recent = recent
        #: How many that came back are known of.
        self._known = 0
        #: How often a frame was replaced: what was read before that is not kept.
        self.count = 0
        #: Hears which entries they are, in their order.
        self.told: Callable[[Sequence[int]], Awaitable[None]] = _nobody

    async def begin(self) -> None:
        """Hear of what comes back from now on."""
        self._known = await self._count()

    async def _count(self) -> int:
        (count,) = await self._master.read(("HGET", self._keys.head, "returned"))
        return int(count or 0)

    async def put_back(self, index: int, was: bytes, frame: bytes) -> None:
        """See `Recovering.put_back`."""
        said, *more = await self._master.write(calls.put_back(self._keys, index, was, frame), changes=calls.wrote)
        match said:
            case b"ok":
                self._replaced(index, frame)
            case b"other":
                raise Conflict(f"entry {index} is not as it was")
            case b"leaf":
                raise Fatal(f"the frame to put back in entry {index} holds another leaf")
            case _:
                raise calls.refused(self._keys, (said, *more))

    async def look(self) -> None:
        """Take what has come back since, by this hub or another."""
        count = await self._count()
        if count < self._known:
            self._known = 0  # a server that had not heard of the last ones is the master now
        while self._known < count:
            end = min(count, self._known + _AT_ONCE)
            numbers = range(self._known + 1, end + 1)
            (found,) = await self._master.read(("HMGET", self._keys.returned, *numbers))
            indices = sorted({int(index) for index in found if index is not None})
            for index in indices:
                for entry in await self._cold.entries(index, index + 1):
                    self._replaced(index, entry.frame)
            await self.told(indices)
            self._known = end

    def _replaced(self, index: int, frame: bytes) -> None:
        self.count += 1
        self._recent.replace_frames({index: frame})

"""One reader of a log for all its subscribers: the newest sealed entries in memory, each encoded once.

The tail reads the store up to the sealed size, never the sequencer, so nothing undurable can be delivered. It keeps
a ring bounded in bytes; whoever is further behind reads the store itself. There is no queue per subscriber: a
subscriber is a cursor, and gRPC's flow control is the backpressure.

Wake-ups are paced: after a round of deliveries the next one starts no sooner than ``PACE`` times that round's
duration later. An idle hub delivers at once; a busy one sends fewer, larger messages.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exchange.errors import CursorAboveSize
from exchange.fanout.item import Item, item_of
from exchange.ports import LogStore

PACE = 2.0
LONGEST_PAUSE_S = 0.020
RING_BYTES = 64 * 1024 * 1024
_PAGE = 1024
_CACHED_MESSAGES = 16


@dataclass(frozen=True, slots=True)
class Sealed:
    """What may be delivered: everything below ``size``, covered by ``checkpoint``."""

    size: int
    checkpoint: bytes


class Tail:
    """The newest part of one log, shared by its feeds."""

    def __init__(self, store: LogStore, clock_s: Callable[[], float], *, ring_bytes: int = RING_BYTES) -> None:
        """Read this store; ``clock_s`` is a monotonic clock in seconds, for pacing."""
        self.store = store
        self._clock = clock_s
        self._ring: deque[Item] = deque()
        self._ring_bytes = 0
        self._ring_limit = ring_bytes
        self._waiters: set[asyncio.Future[None]] = set()
        self._cache: dict[tuple[int, int, bool], bytes] = {}
        self._not_before = 0.0
        self.sealed = Sealed(0, b"")
        self.draining = False

    @property
    def ring_start(self) -> int:
        """First index held in memory; the sealed size when there is none."""
        return self._ring[0].index if self._ring else self.sealed.size

    async def open(self) -> None:
        """Start at the sealed size, with an empty ring."""
        head = await self.store.head()
        self.sealed = Sealed(head.sealed.size, head.checkpoint)

    async def run(self) -> None:
        """Follow the log until cancelled."""
        while True:
            await self.store.wait(self.sealed.size)
            await self.advance()
            pause = self._not_before - self._clock()
            if pause > 0:
                await asyncio.sleep(pause)
                await self.advance()
            self.wake()

    async def advance(self) -> None:
        """Take what has been sealed since. Entries and the checkpoint that covers them appear together."""
        head = await self.store.head()
        at = self.sealed.size
        new: list[Item] = []
        while at < head.sealed.size:
            page = await self.store.read(at, min(_PAGE, head.sealed.size - at))
            new.extend(map(item_of, page))
            at += len(page)
        self._ring.extend(new)
        self._ring_bytes += sum(item.size for item in new)
        while self._ring_bytes > self._ring_limit and self._ring:
            self._ring_bytes -= self._ring.popleft().size
        self.sealed = Sealed(head.sealed.size, head.checkpoint)

    def wake(self) -> None:
        """Let every waiting feed look again: one round. Its length decides when the next may start."""
        waiters, self._waiters = self._waiters, set()
        self._cache.clear()
        started = self._clock()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        loop = asyncio.get_running_loop()
        # The feeds' wake-ups are queued now; what is queued behind them runs when their first step is done.
        loop.call_soon(loop.call_soon, self._end_round, started)

    def _end_round(self, started: float) -> None:
        ended = self._clock()
        self._not_before = ended + min(PACE * (ended - started), LONGEST_PAUSE_S)

    async def wait(self, cursor: int, timeout_s: float, waiter: asyncio.Future[None] | None = None) -> bool:
        """Return True when there may be something beyond the cursor, False after the timeout.

        ``waiter`` is the caller's own: resolving it wakes nobody else.
        """
        if cursor < self.sealed.size or self.draining:
            return True
        own = waiter or asyncio.get_running_loop().create_future()
        self._waiters.add(own)
        try:
            async with asyncio.timeout(timeout_s):
                await own
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(own)
        return True

    async def items(self, cursor: int, limit: int) -> Sequence[Item]:
        """Return consecutive items from the cursor, from memory or from the store. Raises `CursorBelowFloor`."""
        if cursor > self.sealed.size:
            raise CursorAboveSize(self.sealed.size)
        count = min(limit, self.sealed.size - cursor)
        start = self.ring_start
        if count and cursor >= start:
            return [self._ring[at] for at in range(cursor - start, cursor - start + count)]
        return [item_of(entry) for entry in await self.store.read(cursor, count)]

    def joined(self, items: Sequence[Item], *, full: bool) -> bytes:
        """Return the frames of items joined, all in one form; computed once a round for all feeds alike."""
        key = (items[0].index, items[-1].index, full)
        message = self._cache.get(key)
        if message is None:
            message = b"".join([item.full if full else item.bare for item in items])
            if len(self._cache) >= _CACHED_MESSAGES:
                self._cache.clear()
            self._cache[key] = message
        return message

    async def erased(self, indices: Sequence[int]) -> None:
        """Replace items that the store has erased, before the erasure is reported done."""
        for index in indices:
            if self.ring_start <= index < self.sealed.size:
                (entry,) = await self.store.read(index, 1)
                # The ring may have moved on while the store was read.
                start = self.ring_start
                if start <= index:
                    self._ring[index - start] = item_of(entry)
        self._cache.clear()

    def drain(self) -> None:
        """Tell every feed to say where to go on, and end."""
        self.draining = True
        self.wake()

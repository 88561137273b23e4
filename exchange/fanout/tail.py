"""One reader of a log for all its subscribers: the newest sealed entries in memory, each encoded once.

The tail reads the store up to the sealed size, never the sequencer, so nothing undurable can be delivered. It keeps
a ring bounded in bytes; whoever is further behind reads the store itself. There is no queue per subscriber: a
subscriber is a cursor, and gRPC's flow control is the backpressure.

Wake-ups are paced: after a round of deliveries the next one starts no sooner than ``PACE`` times that round's
duration later. An idle hub delivers at once; a busy one sends fewer, larger messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from exchange.domain.policy import Sight
from exchange.errors import CursorAboveSize, CursorBelowFloor
from exchange.fanout.item import Item, item_of
from exchange.ports import LogStore

PACE = 2.0
LONGEST_PAUSE_S = 0.050
RING_BYTES = 64 * 1024 * 1024
#: The alarm for those who wait rings again no sooner: each time it looks at all of them.
_ALARM_S = 0.05
_READ = 1024
MAX_PAGE_BYTES = 1_000_000
MAX_PAGE_ITEMS = 4096
_CACHED_PAGES = 16
#: What the messages of all pages may take; then they are made anew.
CACHED_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sealed:
    """What may be delivered: everything below ``size``, covered by ``checkpoint``."""

    size: int
    checkpoint: bytes


@dataclass(eq=False, slots=True)
class Page:
    """Items that fit into one message, and the messages made of them so far: feeds that see the same share them."""

    items: Sequence[Item]
    #: Whether some item is for some members only.
    restricted: bool
    messages: dict[Hashable, bytes] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The index after the last item."""
        return self.items[-1].index + 1


class Tail:
    """The newest part of one log, shared by its feeds."""

    def __init__(self, store: LogStore, clock_s: Callable[[], float], *, ring_bytes: int = RING_BYTES) -> None:
        """Read this store; ``clock_s`` is a monotonic clock in seconds, for pacing."""
        self.store = store
        self._clock = clock_s
        self._ring: list[Item] = []
        self._ring_bytes = 0
        self._ring_limit = ring_bytes
        #: Who waits, and until when by the loop's time; one alarm for all, since a timer for each costs more.
        self._waiters: dict[asyncio.Future[None], float] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._pages: dict[tuple[int, Sight], Page] = {}
        self._kept_bytes = 0
        self._not_before = 0.0
        #: Held while the ring takes up what the store holds: else what is erased meanwhile would stay in it.
        self._taking = asyncio.Lock()
        self.sealed = Sealed(0, b"")
        self.draining = False
        #: How often something was erased: what was read before that must not be sent any more.
        self.erasures = 0

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
        async with self._taking:
            await self._take()

    async def _take(self) -> None:
        head = await self.store.head()
        at = self.sealed.size
        new: list[Item] = []
        while at < head.sealed.size:
            page = await self.store.read(at, min(_READ, head.sealed.size - at))
            new.extend(map(item_of, page))
            at += len(page)
        self._ring.extend(new)
        self._ring_bytes += sum(item.size for item in new)
        surplus, held = 0, self._ring_bytes
        while held > self._ring_limit and surplus < len(self._ring):
            held -= self._ring[surplus].size
            surplus += 1
        self._drop(surplus)
        self.sealed = Sealed(head.sealed.size, head.checkpoint)

    def wake(self) -> None:
        """Let every waiting feed look again: one round. Its length decides when the next may start."""
        waiters, self._waiters = self._waiters, {}
        self._forget_pages()
        started = self._clock()
        for waiter in waiters:
            _resolve(waiter)
        loop = asyncio.get_running_loop()
        # The feeds' wake-ups are queued now; what is queued behind them runs when their first step is done.
        loop.call_soon(loop.call_soon, self._end_round, started)

    def _end_round(self, started: float) -> None:
        ended = self._clock()
        self._not_before = ended + min(PACE * (ended - started), LONGEST_PAUSE_S)

    async def wait(self, cursor: int, timeout_s: float, waiter: asyncio.Future[None] | None = None) -> None:
        """Return when there may be something beyond the cursor: at once where there is, when woken, in the end anyway.

        ``waiter`` is the caller's own: resolving it wakes nobody else.
        """
        if cursor < self.sealed.size or self.draining:
            return
        loop = asyncio.get_running_loop()
        own = waiter or loop.create_future()
        until = self._waiters[own] = loop.time() + timeout_s
        if self._alarm is None or until < self._alarm.when():
            self._set_alarm(until)
        try:
            await own
        finally:
            self._waiters.pop(own, None)

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(at, self._end_waits)

    def _end_waits(self) -> None:
        """Wake those whose time is over; come again when the next one's is."""
        self._alarm = None
        now = asyncio.get_running_loop().time()
        for waiter, until in self._waiters.items():
            if until <= now:
                _resolve(waiter)
        later = [until for until in self._waiters.values() if until > now]
        if later:
            self._set_alarm(max(min(later), now + _ALARM_S))

    async def page(self, cursor: int, sight: Sight) -> Page:
        """Return the items from the cursor that fit into one message, at least one. Raises `CursorBelowFloor`.

        A page from memory is the same for all feeds of one round; further back each reads the store for itself.
        """
        known = self._pages.get((cursor, sight))
        if known is not None:
            return known
        in_memory = cursor >= self.ring_start
        items = _fitting(await self.items(cursor, MAX_PAGE_ITEMS), sight)
        page = Page(items, any(item.restricted for item in items))
        if in_memory:
            if len(self._pages) >= _CACHED_PAGES:
                self._forget_pages()
            self._pages[cursor, sight] = page
        return page

    def keep(self, page: Page, key: Hashable, message: bytes) -> None:
        """Keep a message of a page for the other feeds of its kind, as long as there is room."""
        if self._kept_bytes + len(message) > CACHED_BYTES:
            self._forget_pages()
        page.messages[key] = message
        self._kept_bytes += len(message)

    def _forget_pages(self) -> None:
        self._pages.clear()
        self._kept_bytes = 0

    async def items(self, cursor: int, limit: int) -> Sequence[Item]:
        """Return consecutive items from the cursor, from memory or from the store. Raises `CursorBelowFloor`."""
        if cursor > self.sealed.size:
            raise CursorAboveSize(self.sealed.size)
        count = min(limit, self.sealed.size - cursor)
        start = self.ring_start
        if count and cursor >= start:
            return self._ring[cursor - start : cursor - start + count]
        return [item_of(entry) for entry in await self.store.read(cursor, count)]

    async def erased(self, indices: Sequence[int]) -> None:
        """Replace items that the store has erased, before the erasure is reported done."""
        if not indices:
            return
        async with self._taking:
            for index in indices:
                if self.ring_start <= index < self.sealed.size:
                    await self._read_again(index)
            self._forget_pages()
            self.erasures += 1

    async def _read_again(self, index: int) -> None:
        try:
            (entry,) = await self.store.read(index, 1)
        except CursorBelowFloor as gone:
            self._drop(max(0, gone.floor - self.ring_start))
            return
        at, item = index - self.ring_start, item_of(entry)
        self._ring_bytes += item.size - self._ring[at].size
        self._ring[at] = item

    def _drop(self, count: int) -> None:
        self._ring_bytes -= sum(item.size for item in self._ring[:count])
        del self._ring[:count]

    def drain(self) -> None:
        """Tell every feed to say where to go on, and end."""
        self.draining = True
        self.wake()


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _fitting(items: Sequence[Item], sight: Sight) -> Sequence[Item]:
    """Return as many of the first items as fit into one message, at least one."""
    total = 0
    for count, item in enumerate(items):
        total += len(item.full) if sight is Sight.RECORDS else len(item.bare)
        if total > MAX_PAGE_BYTES and count:
            return items[:count]
    return items

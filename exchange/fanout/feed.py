"""One subscriber: a cursor that pulls from the tail, a filter, and what the directory lets it see.

A feed yields ready feed messages as bytes. Entries come in index order without gaps; one that is filtered out or
not for this member comes as its leaf, and the two look the same. Standing is asked before every message, so a
suspension takes effect at the next one at the latest; the guard cuts the stream besides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from typing import NamedTuple

from exchange.domain.kinds import Kind
from exchange.domain.policy import Sight, Workload, visible_to
from exchange.fanout.item import Item
from exchange.fanout.tail import Page, Tail
from exchange.fanout.wire import FeedWire

HEARTBEAT_S = 5.0


class Filter(NamedTuple):
    """Which signals a subscriber wants the records of, judged on headers. Empty sets let everything pass."""

    labels: frozenset[int] = frozenset()
    indicator_types: frozenset[int] = frozenset()
    elections: frozenset[bytes] = frozenset()

    def passes(self, item: Item) -> bool:
        """Whether this item is wanted: what is no signal always is."""
        return item.kind != Kind.SIGNAL or (
            (not self.labels or item.label in self.labels)
            and (not self.indicator_types or not self.indicator_types.isdisjoint(item.indicator_types))
            and (not self.elections or item.election in self.elections)
        )


class Feed:
    """The messages of one stream, after its hello."""

    def __init__(
        self,
        tail: Tail,
        wire: FeedWire,
        workload: Workload,
        *,
        cursor: int,
        wanted: Filter,
        standing: Callable[[], Sight],
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """``standing`` says what the workload may see now, or raises `Denied`."""
        self._tail = tail
        self._wire = wire
        self._filter = wanted
        self._standing = standing
        self._heartbeat_s = heartbeat_s
        self._probe: bytes | None = None
        self._waiter: asyncio.Future[None] | None = None
        #: Feeds of one class are shown the same of what is for everyone.
        self._class: Hashable = (workload.role, wanted)
        self.workload = workload
        self.cursor = cursor
        self.sent_entries = 0

    def probe(self, state: bytes) -> None:
        """Echo this state with the next message; a newer probe replaces one not yet sent."""
        self._probe = state
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield messages until the hub drains or the standing ends (`Denied`)."""
        tail, loop = self._tail, asyncio.get_running_loop()
        beat_at = loop.time() + self._heartbeat_s
        while not tail.draining:
            self._waiter = loop.create_future()
            if self._probe is None:
                await tail.wait(self.cursor, max(0.0, beat_at - loop.time()), self._waiter)
            sight = self._standing()
            if self._probe is not None:
                state, self._probe = self._probe, None
                yield self._wire.probe(state)
            elif self.cursor < tail.sealed.size:
                yield await self._next(sight)
            elif loop.time() >= beat_at:
                yield self._wire.heartbeat(tail.sealed.size)
            else:
                continue
            # Only what was really sent puts the next heartbeat off: others' wake-ups do not.
            beat_at = loop.time() + self._heartbeat_s
        yield self._wire.draining(self.cursor)

    async def _next(self, sight: Sight) -> bytes:
        page = await self._tail.page(self.cursor, sight)
        sealed = self._tail.sealed
        note = sealed.checkpoint if page.end == sealed.size else b""
        if sight is Sight.RECORDS and page.restricted:
            message = self._join(page, sight, note)  # of no use to anybody else
        else:
            key = (sight if sight is Sight.LEAVES else self._class, note)
            known = page.messages.get(key)
            message = self._join(page, sight, note) if known is None else known
            if known is None:
                self._tail.keep(page, key, message)
        self.cursor = page.end
        self.sent_entries += len(page.items)
        return message

    def _join(self, page: Page, sight: Sight, note: bytes) -> bytes:
        if sight is Sight.LEAVES:
            frames = [item.bare for item in page.items]
        else:
            frames = [item.full if self._sees(item) else item.bare for item in page.items]
        if note:
            frames.append(self._wire.checkpoint(note))
        return b"".join(frames)

    def _sees(self, item: Item) -> bool:
        return visible_to(self.workload, item.kind, item.publisher, item.audience) and self._filter.passes(item)

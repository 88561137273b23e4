"""The hub's view of a small fold of a community's log, such as its key epochs.

It follows the log a moment behind, so that it costs those who publish next to nothing: what such a fold tells is
needed days, or at least moments, after it was said. After a start it may have much to read, which is done in small
turns beside the hub's other work; until it has, what is judged by it waits, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic

from exchange.errors import Unavailable
from exchange.ports import LogStore, TreeHead
from exchange.views.replay import F, Pace, Replay

#: How far behind the log at most, once it has caught up; a burst of statements is read in one go.
BEHIND_S = 0.25


class FollowedFold(Generic[F]):
    """Follows one community's log."""

    def __init__(self, store: LogStore, replay: Replay[F], clock_s: Callable[[], float]) -> None:
        """Go on from this replay of this store; ``clock_s`` is a monotonic clock in seconds, for pacing."""
        self._store = store
        self._replay = replay
        self._clock = clock_s
        self._caught_up = False

    def current(self) -> F:
        """Return the fold. Raises `Unavailable` until it has read what the log held at the start, and once it fails."""
        if not self._caught_up:
            raise Unavailable("the hub has not read what this log held at its start", retry_after_ms=1_000)
        return self._replay.fold

    async def run(self) -> None:
        """Follow the log until cancelled. Raises `Fatal` when its leaves are not those that were sealed.

        Whatever ends it, nobody judges by a view that does not follow.
        """
        try:
            while True:
                head = (await self._store.head()).sealed
                if self._replay.range.size < head.size:
                    await self._take(head)
                self._caught_up = True
                await self._store.wait(head.size)
                await asyncio.sleep(BEHIND_S)
        finally:
            self._caught_up = False

    async def _take(self, head: TreeHead) -> None:
        """Take the leaves of this tree: as they come while nobody judges by the view, else only once they hold."""
        pace = Pace(self._clock)
        if self._caught_up:
            await self._replay.follow_to(head, pace)
        else:
            await self._replay.read_to(head.size, pace)
            self._replay.require(head)

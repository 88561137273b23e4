"""What a hub knows of where a log in Redis stands, and when what it is told must not be believed.

The durable part of a stored head need not be safe yet: until it is known to be on every server that could be the
master next, the head is told as it was before. What was once told never goes back. A stored head that is behind it is
an old copy: one server that came back, or all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from exchange.errors import ExchangeError, Fatal, Reason
from exchange.ports import Head, TreeHead
from exchange.stores.redis_rows import RawHead


class Behind(Fatal):
    """The server holds less than what this hub knows to be sealed."""


async def _nothing(_head: TreeHead, _checkpoint: bytes) -> None:
    """Remember nothing: what a hub does while it has not compared the log with its mark yet."""


class Standing:
    """The head, as far as it is known and safe."""

    def __init__(self, head: Head) -> None:
        """Begin with what was read."""
        self.head = head
        #: Is told of what others have sealed, before anybody else is.
        self.seen: Callable[[TreeHead, bytes], Awaitable[None]] = _nothing
        self._learning = asyncio.Lock()
        #: The durable head that is known to be safe.
        self._safe = head.durable
        self._sealed = asyncio.Event()
        #: Why nothing may go on.
        self.broken: ExchangeError | None = None

    def is_safe(self, durable: TreeHead) -> None:
        """Note that a durable head is safe."""
        self._safe = durable

    async def learn(self, before: Head, raw: RawHead) -> Head:
        """Take a head that was read after ``before`` was known; return what is known now. Raises `Fatal`."""
        told = raw.head
        if told.durable.size < before.sealed.size:
            raise Behind(
                f"the store ends at {told.durable.size}, but {before.sealed.size} was sealed",
                reason=Reason.ROLLED_BACK,
                hint="this is an old copy: bring back the missing entries before the hub may sign again",
            )
        async with self._learning:
            now = self.head
            if told.sealed.size == now.sealed.size and told.sealed.root != now.sealed.root:
                raise Fatal("the store has another tree than the one that was sealed", reason=Reason.ROLLED_BACK)
            if told.sealed.size > now.sealed.size:
                await self.seen(told.sealed, told.checkpoint)
            self._put(self._newer(raw))
            return self.head

    def _newer(self, raw: RawHead) -> Head:
        now, told = self.head, raw.head
        safe = told if told.durable in {told.sealed, self._safe} else raw.as_sealed
        if safe.sealed.size < now.sealed.size or safe.durable.size < now.durable.size:
            # Read before something that is known since; or the last seal was lost with a server.
            return replace(now, floor=max(now.floor, told.floor))
        checkpoint = now.checkpoint if told.sealed.size == now.sealed.size and now.checkpoint else told.checkpoint
        return replace(safe, checkpoint=checkpoint, floor=max(now.floor, told.floor))

    def _put(self, head: Head) -> None:
        grown = head.sealed.size > self.head.sealed.size
        self.head = head
        if grown:
            self.wake()

    def appended(self, durable: TreeHead, received_at_ms: int, directory_size: int) -> None:
        """Note that a group of ours is durable and safe."""
        self._safe = durable
        if durable.size > self.head.durable.size:
            self.head = replace(
                self.head, durable=durable, last_received_at_ms=received_at_ms, last_directory_size=directory_size
            )

    def sealed(self, head: TreeHead, checkpoint: bytes) -> None:
        """Note that the durable head is sealed."""
        if head == self.head.durable and (head.size > self.head.sealed.size or not self.head.checkpoint):
            self._put(replace(self.head, sealed=head, checkpoint=checkpoint))

    def wake(self) -> None:
        """Let everyone look who waits."""
        woken, self._sealed = self._sealed, asyncio.Event()
        woken.set()

    async def moved(self) -> None:
        """Return at the next seal, or when nothing may go on."""
        await self._sealed.wait()

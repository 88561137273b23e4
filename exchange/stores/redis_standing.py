"""What a hub knows of where a log in Redis stands, and when what it is told must not be believed.

The durable part of a stored head need not be safe yet: until it is known to be on every server that could be the
master next, the head is told as it was before. What was once told never goes back. A stored head that is behind it is
an old copy: one server that came back, or all of them. A hub that has signed a group of its own, and finds another in
its place, says nothing more: there would be two trees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from exchange.errors import ExchangeError, Fatal, Reason
from exchange.ports import Group, Head, StoredEntry, TreeHead
from exchange.stores.redis_rows import RawHead

#: Returns the leaf hashes of a range that the store holds, for a floor.
ReadHashes = Callable[[int, int, int], Awaitable[Sequence[bytes]]]


class Behind(Fatal):
    """The server holds less than what this hub knows to be durable."""


async def _nothing(_head: TreeHead, _checkpoint: bytes) -> None:
    """Remember nothing: what a hub does while it has not compared the log with its mark yet."""


class Standing:
    """The head, as far as it is known and safe."""

    def __init__(self, head: Head, stored: ReadHashes) -> None:
        """Begin with what was read; ``stored`` reads again what lies in the store."""
        self.head = head
        self._stored = stored
        #: The last group of ours, until its seal is known.
        self._ours: Sequence[StoredEntry] = ()
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
        if told.durable.size < before.durable.size:
            raise Behind(
                f"the store ends at {told.durable.size}, but {before.durable.size} was durable",
                reason=Reason.ROLLED_BACK,
                hint="this is an old copy: bring back the missing entries before the hub may sign again",
            )
        async with self._learning:
            now = self.head
            if told.sealed.size == now.sealed.size and told.sealed.root != now.sealed.root:
                raise Fatal("the store has another tree than the one that was sealed", reason=Reason.ROLLED_BACK)
            await self._hold_ours(told)
            if told.sealed.size > now.sealed.size:
                await self.seen(told.sealed, told.checkpoint)
            self._put(self._newer(raw))
            return self.head

    async def _hold_ours(self, told: Head) -> None:
        """Return if a group of ours is in what is sealed now, or nothing is sealed in its place. Raises `Fatal`."""
        ours = self._ours
        if not ours or told.sealed.size <= ours[0].index:
            return
        stored = await self._stored(ours[0].index, ours[-1].index + 1, told.floor)
        if list(stored) != [each.leaf_hash for each in ours]:
            raise Fatal(
                f"the store has another entry {ours[0].index} than the one that was durable there",
                reason=Reason.ROLLED_BACK,
                hint="it has forgotten what it had written, and another hub went on: this one signs nothing more",
            )
        if told.sealed.size > ours[-1].index:
            self._ours = ()

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

    def appended(self, group: Group) -> None:
        """Note that a group of ours is durable and safe."""
        self._safe, self._ours = group.head, group.entries
        if group.head.size > self.head.durable.size:
            self.head = replace(
                self.head,
                durable=group.head,
                last_received_at_ms=group.entries[-1].received_at_ms,
                last_directory_size=group.directory_size,
            )

    def sealed(self, head: TreeHead, checkpoint: bytes) -> None:
        """Note that the durable head is sealed."""
        if self._ours and head.size > self._ours[-1].index:
            self._ours = ()
        if head == self.head.durable and (head.size > self.head.sealed.size or not self.head.checkpoint):
            self._put(replace(self.head, sealed=head, checkpoint=checkpoint))

    def wake(self) -> None:
        """Let everyone look who waits."""
        woken, self._sealed = self._sealed, asyncio.Event()
        woken.set()

    async def moved(self) -> None:
        """Return at the next seal, or when nothing may go on."""
        await self._sealed.wait()

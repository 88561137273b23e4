"""Signatures checked in processes beside this one (`exchange.signatures`): for catching up on entries of few records.

While this process takes an entry apart, hashes its records and extends the tree, another one checks the signatures of
the message that comes next. What is not known to hold is checked by the receiver itself, as ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress

from exchange import codec
from exchange.domain.directory import Directory
from exchange.domain.statement import Leaf
from exchange.errors import Rejected
from exchange.ledger.dsse import pae
from exchange.signatures.batch import Signed
from exchange.signatures.child import Child
from exchange_client.wire import FeedMessage

#: Messages of fewer entries are not worth the way to another process.
FEWEST = 32
#: Messages read ahead of the one that is being taken apart.
AHEAD = 2

#: By their position in a message: leaves as they were read, whose every signature holds.
Known = Mapping[int, Leaf]
#: What is under way for a message; None where nothing is.
_Checking = asyncio.Task[Known] | None

_log = logging.getLogger("exchange_client")


class SignaturePool:
    """Processes that check signatures. Close it with `aclose`."""

    def __init__(self, processes: int) -> None:
        """Start so many processes when there is first something to check."""
        self.children = tuple(Child() for _ in range(processes))
        self._free: asyncio.Queue[Child] = asyncio.Queue()
        for child in self.children:
            self._free.put_nowait(child)
        self._tasks: set[asyncio.Task[Known]] = set()

    def _begin(self, directory: Directory, message: FeedMessage) -> _Checking:
        """Begin to check a message's signatures, by the keys that the directory holds now. None for a small one."""
        if len(message.entries) < FEWEST:
            return None
        checks: dict[int, tuple[Leaf, Signed]] = {}
        for position, entry in enumerate(message.entries):
            with suppress(Rejected):  # the receiver says what is wrong with it
                leaf = codec.decode_leaf(entry.leaf)
                wanted = _signed(directory, leaf)
                if wanted is not None:
                    checks[position] = leaf, wanted
        task = asyncio.create_task(self._known(checks))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _known(self, checks: Mapping[int, tuple[Leaf, Signed]]) -> Known:
        child = await self._free.get()
        try:
            lost = child.given_up
            answer = await child.holding([wanted for _, wanted in checks.values()])
            if child.failure is not None and not lost:
                _log.warning("a process that checks signatures is given up: %r", child.failure)
        finally:
            self._free.put_nowait(child)
        return {position: leaf for (position, (leaf, _)), holds in zip(checks.items(), answer, strict=False) if holds}

    async def ahead(
        self, messages: AsyncIterator[FeedMessage], directory: Callable[[], Directory]
    ) -> AsyncGenerator[tuple[FeedMessage, Known], None]:
        """Yield each message with what is known of it; read on meanwhile. Ends as reading ends, also with its error."""
        queue: asyncio.Queue[tuple[FeedMessage, _Checking] | Exception | None] = asyncio.Queue(AHEAD)

        async def read() -> None:
            try:
                async for message in messages:
                    await queue.put((message, self._begin(directory(), message)))
            except Exception as error:  # noqa: BLE001 - the consumer raises it
                await queue.put(error)
            else:
                await queue.put(None)

        reader = asyncio.create_task(read())
        try:
            while (found := await queue.get()) is not None:
                if isinstance(found, Exception):
                    raise found
                message, checking = found
                yield message, {} if checking is None else await checking
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def aclose(self) -> None:
        """End the processes. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(child.aclose() for child in self.children))


def _signed(directory: Directory, leaf: Leaf) -> Signed | None:
    """Return what must hold of a leaf's signatures; None where that cannot be said now."""
    keys = [directory.key(signature.key_id) for signature in leaf.signatures]
    signatures = tuple(
        (key.public_key, one.signature) for key, one in zip(keys, leaf.signatures, strict=True) if key is not None
    )
    if not signatures or len(signatures) != len(keys):
        return None
    return Signed(pae(leaf.payload_type, leaf.payload), signatures)


async def alone(messages: AsyncIterator[FeedMessage]) -> AsyncGenerator[tuple[FeedMessage, Known], None]:
    """Yield each message, of which nothing is known yet: what `SignaturePool.ahead` does, without a pool."""
    async for message in messages:
        yield message, {}

"""Signatures checked in processes beside this one: for catching up on many entries of few records.

One Ed25519 verification takes longer than everything else about an entry of one record. So while this process takes an
entry apart, hashes its records and extends the tree, another one checks the signatures of the message that comes next.
A process and no thread: the library lets go of the interpreter lock for each signature, and taking it back from a busy
thread costs more than the signature.

What must stay true: what is not known to hold is checked here, so a pool can make things faster and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from exchange import codec
from exchange.domain.directory import Directory
from exchange.errors import ExchangeError, Rejected, VerificationFailed
from exchange.ledger import ed25519
from exchange.ledger.dsse import pae
from exchange_client.wire import FeedMessage

#: Messages of fewer entries are not worth the way to another process.
FEWEST = 32
#: Messages read ahead of the one that is being taken apart.
AHEAD = 2

#: A public key, a signature by it, and what was signed.
Check = tuple[bytes, bytes, bytes]
#: Positions of the entries of a message whose every signature holds.
Known = Collection[int]
#: What is under way for a message; None where nothing is.
_Checking = asyncio.Future[list[int]] | None


def _holding(checks: Sequence[tuple[int, list[Check]]]) -> list[int]:
    """Return the positions whose checks all hold. Runs in the other process."""
    found = []
    for position, wanted in checks:
        try:
            for key, signature, message in wanted:
                ed25519.verify(key, signature, message)
        except VerificationFailed:
            continue
        found.append(position)
    return found


class SignaturePool:
    """Processes that check signatures. Close it with `close`."""

    def __init__(self, processes: int) -> None:
        """Start so many processes when there is first something to check."""
        # Spawned: a forked process would inherit gRPC's threads half-way.
        self._pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))

    def _begin(self, directory: Directory, message: FeedMessage) -> _Checking:
        """Begin to check a message's signatures, by the keys that the directory holds now. None for a small one."""
        if len(message.entries) < FEWEST:
            return None
        checks = [
            (position, wanted)
            for position, entry in enumerate(message.entries)
            if (wanted := _checks(directory, entry.leaf))
        ]
        try:
            return asyncio.get_running_loop().run_in_executor(self._pool, _holding, checks)
        except BrokenProcessPool:
            return None

    async def ahead(
        self, messages: AsyncIterator[FeedMessage], directory: Callable[[], Directory]
    ) -> AsyncGenerator[tuple[FeedMessage, Known], None]:
        """Yield each message with what is known of it; read on meanwhile. Raises what reading raises."""
        queue: asyncio.Queue[tuple[FeedMessage, asyncio.Future[list[int]] | None] | ExchangeError] = asyncio.Queue(
            AHEAD
        )

        async def read() -> None:
            try:
                async for message in messages:
                    await queue.put((message, self._begin(directory(), message)))
            except ExchangeError as error:
                await queue.put(error)

        reader = asyncio.create_task(read())
        try:
            while True:
                found = await queue.get()
                if isinstance(found, ExchangeError):
                    raise found
                yield found[0], await _known(found[1])
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def close(self) -> None:
        """End the processes. Idempotent."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _checks(directory: Directory, leaf: bytes) -> list[Check]:
    """Return what must hold of a leaf's signatures; nothing where that cannot be said now."""
    try:
        signed = codec.decode_leaf(leaf)
    except Rejected:
        return []
    keys = [directory.key(signature.key_id) for signature in signed.signatures]
    message = pae(signed.payload_type, signed.payload)
    if None in keys:
        return []
    return [
        (key.public_key, one.signature, message)
        for key, one in zip(keys, signed.signatures, strict=True)
        if key is not None
    ]


async def alone(messages: AsyncIterator[FeedMessage]) -> AsyncGenerator[tuple[FeedMessage, Known], None]:
    """Yield each message, of which nothing is known yet: what `SignaturePool.ahead` does, without a pool."""
    async for message in messages:
        yield message, ()


async def _known(result: _Checking) -> Known:
    if result is None:
        return ()
    try:
        return frozenset(await result)
    except BrokenProcessPool:
        return ()  # then everything is checked here

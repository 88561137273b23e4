"""Signatures checked in processes beside this one: for catching up on many entries of few records.

One Ed25519 verification takes longer than everything else about an entry of one record. So while this process takes an
entry apart, hashes its records and extends the tree, another one checks the signatures of the message that comes next.
A process and no thread: the library lets go of the interpreter lock for each signature, and taking it back from a busy
thread costs more than the signature.

What must stay true: what is not known to hold is checked here, so a pool can make things faster and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence

from exchange import codec
from exchange.domain.directory import Directory
from exchange.errors import Rejected
from exchange.ledger.dsse import pae
from exchange_client.wire import FeedMessage

#: Messages of fewer entries are not worth the way to another process.
FEWEST = 32
#: Messages read ahead of the one that is being taken apart.
AHEAD = 2
#: A process that does not answer for so long is given up, its start included.
ANSWER_S = 30.0

#: Before a batch: its number and its length. The answer is the number, and a byte for each entry: 1 for "all hold".
HEAD = struct.Struct(">II")
NUMBER = struct.Struct(">I")

#: A public key, a signature by it, and what was signed.
Check = tuple[bytes, bytes, bytes]
#: Positions of the entries of a message whose every signature holds.
Known = Collection[int]
#: What is under way for a message; None where nothing is.
_Checking = asyncio.Task[Known] | None

_log = logging.getLogger("exchange_client")


def pack(batch: Sequence[Sequence[Check]]) -> bytes:
    """Return a batch as bytes: for each entry how many checks, and their parts, each with its length before it."""
    parts: list[bytes] = []
    for checks in batch:
        parts.append(NUMBER.pack(len(checks)))
        for check in checks:
            for part in check:
                parts += (NUMBER.pack(len(part)), part)
    return b"".join(parts)


def unpack(data: bytes) -> Iterator[list[Check]]:
    """Yield what `pack` was given."""
    at = 0

    def number() -> int:
        nonlocal at
        at += NUMBER.size
        return int(NUMBER.unpack_from(data, at - NUMBER.size)[0])

    def part() -> bytes:
        nonlocal at
        length = number()
        at += length
        return data[at - length : at]

    while at < len(data):
        yield [(part(), part(), part()) for _ in range(number())]


class _Child:
    """One process: started when first asked, asked one thing at a time, and given up for good when it fails."""

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self._failed = False
        self._number = 0

    async def holding(self, batch: Sequence[Sequence[Check]]) -> bytes:
        """Return a byte for each entry, or nothing when the process cannot be had."""
        if self._failed:
            return b""
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._ask(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the checks are made here
            _log.warning("a process that checks signatures is given up, the checks are made here: %r", error)
            self.give_up()
            return b""
        except asyncio.CancelledError:
            self.give_up()  # its answer would be taken for the next one's
            raise

    async def _ask(self, batch: Sequence[Sequence[Check]]) -> bytes:
        if self.process is None:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "exchange_client.signature_worker"),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for its caller
            )
        requests, answers = self.process.stdin, self.process.stdout
        if requests is None or answers is None:
            raise OSError("a process without its pipes")
        self._number += 1
        data = pack(batch)
        requests.write(HEAD.pack(self._number, len(data)) + data)
        await requests.drain()
        answer = await answers.readexactly(NUMBER.size + len(batch))
        if NUMBER.unpack_from(answer)[0] != self._number:
            raise ValueError("it answers something else")
        return answer[NUMBER.size :]

    def give_up(self) -> None:
        """Close its input and kill it. Idempotent."""
        self._failed = True
        if self.process is None:
            return
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.returncode is None:
            self.process.kill()


class SignaturePool:
    """Processes that check signatures. Close it with `aclose`."""

    def __init__(self, processes: int) -> None:
        """Start so many processes when there is first something to check."""
        self.children = tuple(_Child() for _ in range(processes))
        self._free: asyncio.Queue[_Child] = asyncio.Queue()
        for child in self.children:
            self._free.put_nowait(child)
        self._tasks: set[asyncio.Task[Known]] = set()

    def _begin(self, directory: Directory, message: FeedMessage) -> _Checking:
        """Begin to check a message's signatures, by the keys that the directory holds now. None for a small one."""
        if len(message.entries) < FEWEST:
            return None
        checks = {
            position: wanted
            for position, entry in enumerate(message.entries)
            if (wanted := _checks(directory, entry.leaf))
        }
        task = asyncio.create_task(self._known(checks))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _known(self, checks: dict[int, list[Check]]) -> Known:
        child = await self._free.get()
        try:
            answer = await child.holding(list(checks.values()))
        finally:
            self._free.put_nowait(child)
        return frozenset(position for position, holds in zip(checks, answer, strict=False) if holds)

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
                yield message, () if checking is None else await checking
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def aclose(self) -> None:
        """End the processes. Idempotent."""
        for task in self._tasks:
            task.cancel()
        for child in self.children:
            child.give_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(child.process.wait() for child in self.children if child.process is not None))


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

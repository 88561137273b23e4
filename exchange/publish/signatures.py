"""The signatures of what is published, checked in a process beside the hub's.

The hub has one thread for everything but the SQL, and a signature is a third to half of what a statement of one record
costs it. Members take turns at the process, a bounded piece of work at a time, and what one may have waiting there is
bounded too. Where there is no process, or a member has too much waiting, nothing is known and nobody waits: the hub
checks the signatures itself. A process that hangs is waited for until `ANSWER_S`, and then there is none for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from exchange.publish.turns import FairQueue
from exchange.signatures.batch import Batch, Signed
from exchange.signatures.child import Child

#: Fewer statements at once are not worth the way to another process.
FEWEST = 4
#: Asked at once, and in one turn of a member: at most so many signatures, so many bytes; one statement may have more.
TURN_SIGNATURES = 64
TURN_BYTES = 256 * 1024
#: What one member may have waiting.
MAX_LINE_BYTES = 4 * 1024 * 1024
#: A process that does not answer for so long is given up. Its start may take longer.
ANSWER_S = 2.0
#: How long to do without one before the next is started.
AGAIN_S = 10.0

_log = structlog.get_logger()


class _Knowledge:
    """What is known of one batch, piece by piece, to come."""

    def __init__(self, pieces: int) -> None:
        self.whole: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._pieces = [b""] * pieces
        self._missing = pieces

    def add(self, at: int, piece: bytes) -> None:
        self._pieces[at] = piece
        self._missing -= 1
        if not self._missing and not self.whole.done():
            self.whole.set_result(self._pieces)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one member wants to know, in one turn: a piece of a batch."""

    batch: Batch
    known: _Knowledge
    at: int

    def say(self, said: bytes) -> None:
        """Answer it; without a word of the process nothing is known."""
        self.known.add(self.at, said or bytes(len(self.batch)))

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.known.whole.done()

    @property
    def size(self) -> int:
        return sum(item.size for item in self.batch)

    @property
    def signatures(self) -> int:
        return sum(len(item.signatures) for item in self.batch)


class Signatures:
    """Says of statements that their signatures hold, where it can."""

    def __init__(self, *, again_s: float = AGAIN_S) -> None:
        """Nothing is known before `run` runs."""
        self._again_s = again_s
        self._lines: FairQueue[_Asked] = FairQueue(lambda asked: asked.size)
        self._someone = asyncio.Event()
        self._wanted = asyncio.Event()
        self.child: Child | None = None

    def holding(self, member: str, batch: Batch) -> asyncio.Future[list[bytes]]:
        """Return a byte for each item, in pieces, to come: 1 where all of it is known to hold, 0 where it is not known.

        Cancelling it takes back what was asked.
        """
        worth_it = len(batch) >= FEWEST
        if worth_it:
            self._wanted.set()
        if self.child is None or not worth_it or self._lines.held(member)[1] > MAX_LINE_BYTES:
            unknown = _Knowledge(1)
            unknown.add(0, bytes(len(batch)))
            return unknown.whole
        turns = list(_turns_of(batch))
        known = _Knowledge(len(turns))
        for at, turn in enumerate(turns):
            self._lines.push(member, _Asked(turn, known, at))
        self._someone.set()
        return known.whole

    async def run(self) -> None:
        """Have a process once there is something to check, and another when it fails, until cancelled."""
        while True:
            await self._wanted.wait()
            child = Child()
            try:
                if await child.holding([Signed(b"", ())]):
                    self.child = child
                    await self._serve(child)
            finally:
                self.child = None
                for asked in self._lines.drain():
                    asked.say(b"")
                self._someone.clear()
                self._wanted.clear()
                if child.failure is not None:
                    _log.warning("signature_process_given_up", error=repr(child.failure), again_s=self._again_s)
                await child.aclose()
            await asyncio.sleep(self._again_s)

    async def _serve(self, child: Child) -> None:
        while not child.given_up:
            await self._someone.wait()
            together = self._take()
            if not together:
                continue
            answer = b""
            try:
                answer = await child.holding([item for asked in together for item in asked.batch], within_s=ANSWER_S)
            finally:
                at = 0
                for asked in together:
                    asked.say(answer[at : at + len(asked.batch)])
                    at += len(asked.batch)

    def _take(self) -> list[_Asked]:
        """Take what the process is asked at once, the members in turn: one piece, and what fits beside it."""
        together: list[_Asked] = []
        signatures = size = 0
        while self._lines:
            asked = self._lines.first()
            if not asked.gone:
                signatures += asked.signatures
                size += asked.size
                if together and (signatures > TURN_SIGNATURES or size > TURN_BYTES):
                    return together
                together.append(asked)
            self._lines.pop()
        self._someone.clear()
        return together


def _turns_of(batch: Batch) -> Iterator[Batch]:
    start = signatures = size = 0
    for end, item in enumerate(batch):
        signatures += len(item.signatures)
        size += item.size
        if end > start and (signatures > TURN_SIGNATURES or size > TURN_BYTES):
            yield batch[start:end]
            start, signatures, size = end, len(item.signatures), item.size
    yield batch[start:]

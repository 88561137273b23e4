"""The signatures of what is published, checked in a process beside the hub's.

The hub has one thread for everything but the SQL, and a signature is a third to half of what a statement of one record
costs it. Members take turns at the process, a few statements at a time. While there is none (it is starting, it was
killed, it hangs), nothing is known and nothing waits: the hub checks the signatures itself, and starts another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from exchange.publish.turns import FairQueue
from exchange.signatures.batch import Batch
from exchange.signatures.child import Child

#: Fewer statements at once are not worth the way to another process.
FEWEST = 4
#: Statements asked about in one turn of a member.
TURN = 64
#: A process that does not answer for so long is given up. Its start may take longer.
ANSWER_S = 2.0
#: How long to do without one before the next is started.
AGAIN_S = 10.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one member wants to know, in one turn."""

    batch: Batch
    answer: asyncio.Future[bytes]


class Signatures:
    """Says of statements that their signatures hold, where it can."""

    def __init__(self, *, again_s: float = AGAIN_S) -> None:
        """Nothing is known before `run` runs."""
        self._again_s = again_s
        self._lines: FairQueue[_Asked] = FairQueue()
        self._someone = asyncio.Event()
        self._wanted = asyncio.Event()
        self.child: Child | None = None

    def holding(self, member: str, batch: Batch) -> asyncio.Future[bytes]:
        """Return a byte for each item, to come: 1 where every signature is known to hold, 0 where that is not known."""
        loop = asyncio.get_running_loop()
        worth_it = len(batch) >= FEWEST
        if worth_it:
            self._wanted.set()
        if self.child is None or not worth_it:
            unknown: asyncio.Future[bytes] = loop.create_future()
            unknown.set_result(bytes(len(batch)))
            return unknown
        asked = [_Asked(batch[at : at + TURN], loop.create_future()) for at in range(0, len(batch), TURN)]
        for each in asked:
            self._lines.push(member, each)
        self._someone.set()
        return asked[0].answer if len(asked) == 1 else asyncio.ensure_future(_joined(asked))

    async def run(self) -> None:
        """Have a process once there is something to check, and another when it fails, until cancelled."""
        while True:
            await self._wanted.wait()
            child = Child()
            try:
                if await child.holding([[]]):
                    self.child = child
                    await self._serve(child)
            finally:
                self.child = None
                for asked in self._lines.drain():
                    _answer(asked, b"")
                if child.failure is not None:
                    _log.warning("signature_process_given_up", error=repr(child.failure), again_s=self._again_s)
                await child.aclose()
            await asyncio.sleep(self._again_s)

    async def _serve(self, child: Child) -> None:
        while not child.given_up:
            await self._someone.wait()
            asked = self._lines.pop()
            if not self._lines:
                self._someone.clear()
            if asked.answer.done():
                continue  # whoever asked is gone
            answer = b""
            try:
                answer = await child.holding(asked.batch, within_s=ANSWER_S)
            finally:
                _answer(asked, answer)


async def _joined(asked: Sequence[_Asked]) -> bytes:
    return b"".join([await each.answer for each in asked])


def _answer(asked: _Asked, answer: bytes) -> None:
    if not asked.answer.done():
        asked.answer.set_result(answer or bytes(len(asked.batch)))

"""Statements on their way into a group, a line for each member, and the receipts that they wait for.

A group takes from the lines in turn, and no more than a share for each member that waits: whoever has much to say
queues behind itself. What one member may have waiting is bounded, so nobody uses up another's room.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from exchange.domain.kinds import SAID_AFTERWARDS
from exchange.errors import ExchangeError, Unavailable
from exchange.publish.intake import Candidate
from exchange.publish.turns import ABOUT_S, FairQueue

MAX_GROUP = 512
MAX_GROUP_BYTES = 4 * 1024 * 1024
#: A group's room for each member that waits: who comes next waits for one such group, not for a large one.
SHARE = 32
SHARE_BYTES = 1024 * 1024
#: The room of one that has been alone with this log for a while: nobody else said what others are to act on.
ALONE = 128
#: What one member may have waiting.
MAX_WAITING = 8192
MAX_WAITING_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Receipt:
    """The publisher's proof: the leaf, its place, its path to the root of a signed checkpoint."""

    origin: str
    index: int
    leaf: bytes
    inclusion_proof: tuple[bytes, ...]
    checkpoint: bytes
    repeated: bool = False


@dataclass(slots=True)
class Waiting:
    """A checked statement, and whom to tell."""

    candidate: Candidate
    answer: asyncio.Future[Receipt]
    #: The same statement, sent again while this one was waiting.
    twins: list[Waiting] = field(default_factory=list)

    def fail(self, error: ExchangeError) -> None:
        """Answer this one alone with an error."""
        if not self.answer.done():
            self.answer.set_exception(error.alone())

    def fail_all(self, error: ExchangeError) -> None:
        """Answer this one and its twins with an error."""
        for waiting in (self, *self.twins):
            waiting.fail(error)

    def succeed(self, receipt: Receipt) -> None:
        """Answer with the receipt."""
        if not self.answer.done():
            self.answer.set_result(receipt)


class WaitingRoom:
    """What waits for one log's sequencer."""

    def __init__(self, max_group: int = MAX_GROUP) -> None:
        """A group has at most so many statements."""
        self._max_group = max_group
        self._lines: FairQueue[Waiting] = FairQueue(lambda waiting: waiting.candidate.size)
        self._wake = asyncio.Event()
        #: When each member that was about lately last said something that others are to act on.
        self._about: dict[str, float] = {}

    def offer(self, candidate: Candidate) -> asyncio.Future[Receipt]:
        """Put a statement at the end of its member's line. Raises `Unavailable` when that is full."""
        member = candidate.workload.member
        count, size = self._lines.held(member)
        if count >= MAX_WAITING or size + candidate.size > MAX_WAITING_BYTES:
            raise Unavailable("too many statements of this member are waiting", retry_after_ms=200)
        loop = asyncio.get_running_loop()
        if candidate.header.kind not in SAID_AFTERWARDS:
            self._about[member] = loop.time()
        answer: asyncio.Future[Receipt] = loop.create_future()
        self._lines.push(member, Waiting(candidate, answer))
        self._wake.set()
        return answer

    async def someone(self) -> None:
        """Return when something waits."""
        await self._wake.wait()

    def take(self) -> list[Waiting]:
        """Take the next group's statements, the members in turn; statements sent twice wait behind their first."""
        taken: dict[bytes, Waiting] = {}
        members = self._lines.members
        room = SHARE * members + (ALONE - SHARE if self._is_alone() else 0)
        most, most_bytes = min(self._max_group, room), min(MAX_GROUP_BYTES, SHARE_BYTES * members)
        size = 0
        while self._lines and len(taken) < most and size < most_bytes:
            waiting = self._lines.pop()
            first = taken.setdefault(waiting.candidate.statement_id, waiting)
            if first is not waiting:
                first.twins.append(waiting)
            size += waiting.candidate.size
        if not self._lines:
            self._wake.clear()
        return list(taken.values())

    def _is_alone(self) -> bool:
        since = asyncio.get_running_loop().time() - ABOUT_S
        self._about = {member: at for member, at in self._about.items() if at >= since}
        return len(self._about) <= 1

    def empty(self) -> list[Waiting]:
        """Take everything."""
        return self._lines.drain()

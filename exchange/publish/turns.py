"""Fairness between members: whoever asks for much waits behind itself, never in front of others.

`FairQueue` is a line for each member, taken from in turn. `Turns` hands out the event loop: checking statements is the
dearest thing that a caller can ask for, so it is done in small pieces, one a round of the loop, and members take turns.
While a light member says what is waited for, the heavy ones also rest between their pieces, so that it meets a loop, a
store and a group that are mostly free. Otherwise nobody rests, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

#: Work a second, in records checked, up to which a member is light; a statement alone, with its signature, is about 40.
LIGHT_WORK = 4_000
#: How long a member counts as being about after it has said something that is waited for. What it reads does not count,
#: nor what it acknowledges: it has its turns, and rests would cost the heavy far more than they gained.
ABOUT_S = 2.0
#: Work done in one turn of a member, in records checked.
TURN_WORK = 120
#: What a proof costs in that measure, and any other reading of a log that takes a turn of its own.
PROOF_WORK = 120
#: The rest of the heavy members after so much: long enough that a light one's statement mostly meets an idle loop and
#: store. After less it is as much shorter: else one that says little at a time could hardly speak at all.
REST_S = 0.010

#: A timer may come so much too early. Whoever rests waits for one, and must not be found resting still when it comes.
_EARLY_S = 0.001
#: Less is not rested after by itself: a timer is no shorter than a millisecond.
_LEAST_WORK = TURN_WORK // 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn that is waited for, and for how much work."""

    given: asyncio.Future[None]
    work: int


@dataclass(slots=True)
class _Line(Generic[T]):
    """What one member has waiting."""

    items: deque[T] = field(default_factory=deque)
    size: int = 0


class FairQueue(Generic[T]):
    """First in, first out for each member; round robin over the members. Empty lines take no memory."""

    def __init__(self, size: Callable[[T], int] = lambda _: 0) -> None:
        """``size`` tells how large an item is, for `held`."""
        self._size = size
        self._lines: dict[str, _Line[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    @property
    def members(self) -> int:
        """How many members wait."""
        return len(self._lines)

    def held(self, member: str) -> tuple[int, int]:
        """Return how many items of a member wait, and their size."""
        line = self._lines.get(member)
        return (len(line.items), line.size) if line else (0, 0)

    def push(self, member: str, item: T) -> None:
        """Put an item at the end of its member's line."""
        line = self._lines.get(member)
        if line is None:
            line = self._lines[member] = _Line()
        line.items.append(item)
        line.size += self._size(item)

    def first(self) -> T:
        """Return what `pop` would take. Only where something waits."""
        return next(iter(self._lines.values())).items[0]

    def pop(self) -> T:
        """Take the next member's first item; the member goes to the end of the round. Only where something waits."""
        member = next(iter(self._lines))
        line = self._lines.pop(member)
        item = line.items.popleft()
        line.size -= self._size(item)
        if line.items:
            self._lines[member] = line
        return item

    def drain(self) -> list[T]:
        """Take everything."""
        lines, self._lines = self._lines, {}
        return [item for line in lines.values() for item in line.items]


class Turns:
    """One piece of work a round of the event loop, to the members that wait for one, in turn."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        """``clock_s`` is the clock of the event loop, in seconds."""
        self._clock = clock_s
        self._light: FairQueue[_Turn] = FairQueue()
        self._heavy: FairQueue[_Turn] = FairQueue()
        #: Recent work of each member, and when it was last looked at.
        self._loads: dict[str, tuple[float, float]] = {}
        #: When each light member was last about, the latest at the end.
        self._said: dict[str, float] = {}
        self._taken = False
        self._rests_until = 0.0
        #: What the heavy have done since their last rest while a light member was about.
        self._unrested = 0

    async def take(self, member: str, work: int) -> None:
        """Return when this member may do so much work, at once and without waiting in between."""
        now = self._clock()
        heavy = self._is_heavy(member, work, now)
        if heavy:
            self._said.pop(member, None)
        if self._taken or (heavy and (self._heavy or self._is_resting(now))):
            turn = _Turn(asyncio.get_running_loop().create_future(), work)
            (self._heavy if heavy else self._light).push(member, turn)
            await turn.given
        else:
            self._taken = True
            asyncio.get_running_loop().call_soon(self._ended, work if heavy else 0)

    def said(self, member: str) -> None:
        """Note that this member has said something that is waited for: if it is light, it is about now."""
        now = self._clock()
        self._said.pop(member, None)
        if not self._is_heavy(member, 0, now):
            self._said[member] = now

    def _is_heavy(self, member: str, work: int, now: float) -> bool:
        level, at = self._loads.get(member, (0.0, now))
        level = max(0.0, level - (now - at) * LIGHT_WORK) + work
        self._loads[member] = (min(level, 2.0 * LIGHT_WORK), now)
        return level > LIGHT_WORK

    def _is_resting(self, now: float) -> bool:
        return now < self._rests_until - _EARLY_S

    def _ended(self, heavy_work: int) -> None:
        """End a turn and give the next. After a heavy one's, the heavy may have to rest."""
        now = self._clock()
        last_said = next(reversed(self._said.values()), -math.inf)
        if heavy_work and now - last_said < ABOUT_S:
            self._unrested += heavy_work
        if self._unrested >= _LEAST_WORK:
            self._rests_until = now + REST_S * min(1.0, self._unrested / TURN_WORK)
            self._unrested = 0
            asyncio.get_running_loop().call_at(self._rests_until, self._give)
        self._taken = False
        self._give(after_heavy=heavy_work > 0)

    def _give(self, *, after_heavy: bool = False) -> None:
        """Give the turn to one who still wants it: light and heavy members in turn, those that rest left out."""
        now = self._clock()
        while not self._taken:
            heavy = bool(self._heavy) and not self._is_resting(now) and not (after_heavy and self._light)
            if not heavy and not self._light:
                return
            turn = (self._heavy if heavy else self._light).pop()
            if not turn.given.done():
                turn.given.set_result(None)
                # Whoever was woken works in the next round, right before this.
                self._taken = True
                asyncio.get_running_loop().call_soon(self._ended, turn.work if heavy else 0)

"""When a member's entries are flagged by themselves: a burst, too many disputed signals, a canary. Pure.

An alarm is no verdict. It flags what the member said from then on, until operators release it; nothing is withheld
from anybody. Each limit is the operators' choice, and each rule can be switched off by a limit of 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from exchange.domain.bodies import QuarantineReason, SignalHeader
from exchange.domain.statement import Header

_MINUTE_MS = 60_000
#: What a member usually says is an average that forgets half of what was in half a day.
_HALF_LIFE_MINUTES = 720


@dataclass(frozen=True, slots=True)
class AlarmLimits:
    """From where on a member is flagged."""

    #: Signals in ``burst_minutes`` that are a burst, if they are also ``burst_factor`` times the member's usual number.
    burst_signals: int = 10_000
    burst_minutes: int = 10
    burst_factor: int = 20
    #: Percent of a member's signals that ``disputed_by`` other members call wrong, and how many these are at least.
    disputed_percent: int = 10
    disputed_least: int = 20
    disputed_by: int = 2


@dataclass(frozen=True, slots=True)
class Alarm:
    """Why a member is to be flagged, and from which entry on."""

    member: str
    from_index: int
    reason: QuarantineReason


@dataclass(slots=True)
class _Said:
    """What one member said: minute by minute of late, and on average before."""

    #: (minute, signals, index of its first entry), the oldest first.
    minutes: deque[tuple[int, int, int]] = field(default_factory=deque)
    average: float = 0.0
    averaged_to: int = 0

    def take(self, minute: int, signals: int, index: int, window: int) -> None:
        """Count signals; what falls out of the window goes into the average."""
        if self.minutes and self.minutes[-1][0] == minute:
            _, before, first = self.minutes.pop()
            self.minutes.append((minute, before + signals, first))
        else:
            self.minutes.append((minute, signals, index))
        while self.minutes[0][0] <= minute - window:
            old, count, _ = self.minutes.popleft()
            weight = 0.5 ** (max(0, old - self.averaged_to) / _HALF_LIFE_MINUTES)
            per_minute = 1 - 0.5 ** (1 / _HALF_LIFE_MINUTES)
            self.average = self.average * weight + count * per_minute
            self.averaged_to = max(old, self.averaged_to)

    def recent(self) -> tuple[int, int]:
        """Return the signals in the window, and the index of its first entry."""
        return sum(count for _, count, _ in self.minutes), self.minutes[0][2]


class BurstWatch:
    """Looks for members that say far more than they usually do."""

    def __init__(self, limits: AlarmLimits) -> None:
        """Nothing has been said yet."""
        self._limits = limits
        self._members: dict[str, _Said] = {}

    def usual(self, per_minute: Mapping[str, float], now_ms: int) -> None:
        """Take what members said before this began to look."""
        for member, signals in per_minute.items():
            said = self._members.setdefault(member, _Said())
            said.average, said.averaged_to = max(said.average, signals), now_ms // _MINUTE_MS

    def forget(self, member: str) -> None:
        """Begin anew with a member that was released: what it said before raises no alarm again."""
        if member in self._members:
            self._members[member].minutes.clear()

    def look(self, index: int, header: Header, received_at_ms: int) -> Iterator[Alarm]:
        """Take the next entry of the log; yield the alarm that it raises."""
        limits = self._limits
        body = header.body
        if not limits.burst_signals or not isinstance(body, SignalHeader) or body.backfill:
            return
        said = self._members.setdefault(header.publisher, _Said())
        said.take(received_at_ms // _MINUTE_MS, len(header.signal_ids), index, limits.burst_minutes)
        signals, first = said.recent()
        usual = said.average * limits.burst_minutes
        if signals >= limits.burst_signals and signals >= limits.burst_factor * usual:
            yield Alarm(header.publisher, first, QuarantineReason.BURST)


def is_disputed(limits: AlarmLimits, disputed: int, signals: int) -> bool:
    """Whether so many disputed ones of a member's signals are too many."""
    if not limits.disputed_percent:
        return False
    return disputed >= limits.disputed_least and 100 * disputed >= limits.disputed_percent * signals

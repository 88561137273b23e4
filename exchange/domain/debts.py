"""Debts: what the end of a signal leaves open at a member that was given it, until that member says what it did. Pure.

Taking a signal back ends it, and so does an erasure on request. A member owes an answer if it was given the signal and
acknowledged it, or said something of it (WIRE 14). What it last said closes the debt: that it undid what it had done,
that there was nothing to undo, or, said afterwards, that it upholds what it did on grounds of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from exchange.domain.bodies import DispositionState, ErasureReason
from exchange.domain.life import MemberFacts, SignalFacts

DEADLINE_HOURS = 72
_HOUR_MS = 3_600_000
#: These close a debt however early they were said: nothing stands that could be undone.
_NOTHING_STANDS = (DispositionState.REVERSED, DispositionState.NOT_ACTIONED)


@dataclass(frozen=True, slots=True)
class Ending:
    """A signal was taken back, or erased."""

    index: int
    signal_id: bytes
    erasure: bool
    #: Number of a `RetractionReason`, or of an `ErasureReason`.
    reason: int
    #: Who said it.
    publisher: str
    received_at_ms: int
    #: Directory size that it was judged at.
    directory_size: int
    #: Of an erasure: who had acknowledged the signal before. None for a retraction.
    acknowledged: frozenset[str] | None = None

    @property
    def opens_debts(self) -> bool:
        """Whether those who were given the signal have to answer."""
        return not self.erasure or self.reason == ErasureReason.ON_REQUEST


@dataclass(frozen=True, slots=True)
class Said:
    """A member's last disposition of a signal."""

    index: int
    state: int
    action: int
    reason: int
    matched_at_ms: int
    actioned_at_ms: int
    received_at_ms: int


@dataclass(frozen=True, slots=True)
class Debt:
    """How one member stands to the end of one signal that it was given."""

    signal: SignalFacts
    ending: Ending
    member: str
    #: What it said last; None where it said nothing.
    said: Said | None
    owes: bool
    #: Index of what closed it; None while it is open, or not owed.
    closed_at: int | None
    overdue: bool

    @property
    def open(self) -> bool:
        """Whether an answer is owed and has not come."""
        return self.owes and self.closed_at is None


def debt_of(
    signal: SignalFacts, ending: Ending, member: str, facts: MemberFacts, said: Said | None, *, late_before_ms: int
) -> Debt:
    """Return how a member stands that was given this signal.

    What was received before ``late_before_ms`` (Unix milliseconds) and is open is overdue.
    """
    through = facts.processed_through
    acknowledged = through is not None and through >= signal.index
    if ending.acknowledged is not None:
        acknowledged = member in ending.acknowledged
    closes = said is not None and (
        said.state in _NOTHING_STANDS or (said.state == DispositionState.UPHELD and said.index > ending.index)
    )
    closed_at = said.index if said is not None and closes else None
    owes = acknowledged or said is not None
    overdue = owes and closed_at is None and ending.received_at_ms < late_before_ms
    return Debt(signal, ending, member, said, owes, closed_at, overdue)


def late_before(now_ms: int, deadline_hours: int) -> int:
    """Return the time before which what is not answered is overdue."""
    return now_ms - (deadline_hours or DEADLINE_HOURS) * _HOUR_MS

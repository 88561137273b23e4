"""What a community's ledger adds up to, as a hub tells it: lag, debts, activity, and what became of one signal.

Folds over leaves that every member has and can make again. Numbers of enums are as in `exchange.domain`; metadata only,
no identifier is in any of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from exchange.domain.lag import Histogram, added


@dataclass(frozen=True, slots=True)
class LagRow:
    """How long one stage took between two members."""

    #: Number of a `exchange.domain.lag.Stage`.
    stage: int
    publisher: str
    #: Empty in a stage that is the publisher's own.
    receiver: str
    label: int
    #: In the buckets of `exchange.domain.lag`.
    counts: tuple[int, ...]

    @property
    def histogram(self) -> Histogram:
        """The counts, to be asked for quantiles: upper bounds."""
        return added([self.counts])


@dataclass(frozen=True, slots=True)
class ClockRow:
    """How far a member's clock is before the hub's, as it measured it itself."""

    member: str
    offset_ms: int
    #: How far the offset may be off; 0 where the member has not measured it.
    error_ms: int


@dataclass(frozen=True, slots=True)
class LagReport:
    """Lags as members' clocks have them, and beside them how those clocks go."""

    rows: tuple[LagRow, ...]
    clocks: tuple[ClockRow, ...]
    #: Every entry below this index is in it.
    size: int


@dataclass(frozen=True, slots=True)
class Debt:
    """How one member stands to the end of one signal that it was given."""

    signal_id: bytes
    publisher: str
    label: int
    #: The entry that took it back, or erased it.
    ended_at: int
    ended_at_ms: int
    erasure: bool
    #: Number of a `RetractionReason`; 0 for an erasure.
    reason: int
    member: str
    #: Number of the `DispositionState` that it said last; 0 where it said nothing.
    said: int
    owes: bool
    #: The entry that closed it; None while it is open, or not owed.
    closed_at: int | None
    open: bool
    overdue: bool


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """What a member said of one kind; of signals, of one label."""

    member: str
    kind: int
    label: int
    statements: int
    #: Signals in them, or that they name.
    signals: int


@dataclass(frozen=True, slots=True)
class OpinionOf:
    """A member's last opinion of a signal."""

    member: str
    category: int
    reason: int


@dataclass(frozen=True, slots=True)
class SignalReport:
    """What a ledger says of one signal."""

    signal_id: bytes
    #: Of the entry that it came with.
    index: int
    publisher: str
    label: int
    received_at_ms: int
    expires_at_ms: int
    #: The entries that ended it; None where none did.
    retracted_at: int | None
    erased_at: int | None
    replaced_at: int | None
    #: Whether its publisher's entries are flagged from before it on.
    quarantined: bool
    opinions: tuple[OpinionOf, ...]
    disputed: bool
    #: How many members said what they did with it, by the number of a `DispositionState`.
    dispositions: dict[int, int]
    size: int

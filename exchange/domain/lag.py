"""Lag in fixed buckets: how histograms of milliseconds are counted, added and read, everywhere the same.

Bucket 0 holds what took less than one millisecond, bucket i what took from 2^(i-1) to below 2^i. Counts of different
members and days can so be added without loss, for ever: the buckets are part of the wire (acknowledgements hold them).
A quantile read from them is an upper bound, at most twice what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import ceil

from exchange.domain.bodies import Disposition, DispositionState

#: The last one holds all from 2^30 ms on: twelve days.
BUCKETS = 32


class Stage(IntEnum):
    """Between which two moments a lag lies. Those without a receiver are the publisher's own."""

    #: The publisher's action, until the hub had its signal.
    REPORTED = 1
    #: The making of the statement, until the hub had it.
    RECEIVED = 2
    #: The hub's receipt, until a receiver had the signal (as it acknowledges).
    DELIVERED = 3
    #: The hub's receipt, until a receiver found its own content or account by the signal.
    MATCHED = 4
    #: The hub's receipt, until a receiver acted.
    ACTIONED = 5
    #: The publisher's action, until a receiver's: how long abuse could go on elsewhere.
    MIGRATION = 6
    #: The decision to take a signal back, until the hub had the retraction.
    UNDO_REPORTED = 7
    #: The hub's receipt of a retraction, until a receiver had it.
    UNDO_DELIVERED = 8
    #: The hub's receipt of a retraction, until a receiver had undone what it did.
    UNDONE = 9

    @property
    def word(self) -> str:
        """The stage as it stands in tables and JSON."""
        return self.name.lower()


#: What was done so shortly before it could be known counts as done at once: clocks differ.
_CLOCKS_APART_MS = 2_000
#: Fewer than this are nobody's usual time, and might be told apart.
LEAST_MEASURED = 20
#: In place of how many were measured: other sums of the same signals would tell what is kept back of them.
_BANDS = (100_000, 10_000, 1_000, 100, LEAST_MEASURED)


def lags_of(
    said: Disposition, *, received_ms: int, actioned_ms: int, retracted_ms: int | None = None
) -> dict[Stage, int]:
    """Return what a disposition tells of how long things took, in milliseconds.

    The times are the signal's: when the hub had it, when its publisher acted (0: not told), and when the hub had its
    retraction. What was done before the signal (or the retraction) was there was not done for its sake: it is no lag.
    """
    at_ms, lags = said.actioned_at_ms, dict[Stage, int]()
    if said.state == DispositionState.REVERSED:
        if retracted_ms is not None and at_ms:
            lags[Stage.UNDONE] = at_ms - retracted_ms
    else:
        if said.matched_at_ms:
            lags[Stage.MATCHED] = said.matched_at_ms - received_ms
        if said.state == DispositionState.ACTIONED and at_ms:
            lags[Stage.ACTIONED] = at_ms - received_ms
            if actioned_ms and at_ms >= received_ms - _CLOCKS_APART_MS:
                lags[Stage.MIGRATION] = at_ms - actioned_ms
    return {stage: lag_ms for stage, lag_ms in lags.items() if lag_ms >= -_CLOCKS_APART_MS}


def bucket_of(lag_ms: int) -> int:
    """Return the bucket of a lag; one that clocks make negative counts as none at all."""
    return min(max(lag_ms, 0).bit_length(), BUCKETS - 1)


def upper_bound_ms(bucket: int) -> int:
    """Return the time below which all in a bucket lies, but for the last bucket."""
    return 1 << bucket


@dataclass(slots=True)
class Histogram:
    """Counts by bucket."""

    counts: list[int]

    @classmethod
    def empty(cls) -> Histogram:
        """Return one that has counted nothing."""
        return cls([0] * BUCKETS)

    def add(self, counts: Sequence[int]) -> None:
        """Add the counts of another, which may be shorter."""
        for bucket, count in enumerate(counts):
            self.counts[bucket] += count

    def note(self, lag_ms: int) -> None:
        """Count one lag."""
        self.counts[bucket_of(lag_ms)] += 1

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    @property
    def trimmed(self) -> tuple[int, ...]:
        """The counts without the zeros at their end: as a leaf holds them."""
        used = max((bucket + 1 for bucket, count in enumerate(self.counts) if count), default=0)
        return tuple(self.counts[:used])

    def quantile_ms(self, share: float) -> int | None:
        """Return the upper bound of the bucket that this share of all counts reaches; None of nothing."""
        wanted, seen = max(1, ceil(share * self.total)), 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if seen >= wanted:
                return upper_bound_ms(bucket)
        return None


def band_of(count: int) -> int | None:
    """Return how many were measured, as it is told to others: at least so many; None of too few to tell."""
    return next((band for band in _BANDS if count >= band), None)


def added(histograms: Iterable[Sequence[int]]) -> Histogram:
    """Return the sum of many."""
    total = Histogram.empty()
    for counts in histograms:
        total.add(counts)
    return total

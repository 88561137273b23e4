"""Latencies as counts in bins of one per cent: small to send between processes, exact enough for a p99."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOWEST_NS = 1_000.0
_STEP = math.log(1.01)


class Histogram:
    """Counts of latencies from one microsecond up, each bin one per cent wide."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts = dict(counts or {})

    @classmethod
    def of(cls, latencies_ns: NDArray[np.float64]) -> Histogram:
        """Return the histogram of an array of nanoseconds."""
        clipped = np.maximum(latencies_ns, _LOWEST_NS)
        bins, counts = np.unique((np.log(clipped / _LOWEST_NS) / _STEP).astype(np.int64), return_counts=True)
        return cls(dict(zip(bins.tolist(), counts.tolist(), strict=True)))

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        """Return one histogram of several."""
        merged: dict[int, int] = {}
        for part in parts:
            for at, count in part.counts.items():
                merged[at] = merged.get(at, 0) + count
        return cls(merged)

    @classmethod
    def from_json(cls, data: dict[str, int]) -> Histogram:
        """Return a histogram that came as JSON."""
        return cls({int(at): count for at, count in data.items()})

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {str(at): count for at, count in self.counts.items()}

    @property
    def total(self) -> int:
        """How many latencies it counts."""
        return sum(self.counts.values())

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile in milliseconds; 0 when it is empty."""
        wanted = self.total * percent / 100
        seen = 0
        for at in sorted(self.counts):
            seen += self.counts[at]
            if seen >= wanted:
                return _LOWEST_NS * math.exp((at + 0.5) * _STEP) / 1e6
        return 0.0

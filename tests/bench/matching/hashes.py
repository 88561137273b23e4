"""Hashes to match against, of two kinds: uniform ones, and ones that lie as those of photographs do.

Photographs: few centres of skewed bits, some with very many near duplicates and most with few; a copy differs in 16
bits on average, and some bits change more often than others. A query that hits is at most 31 bits from a known hash.
Nothing here needs more than numpy, since other people's indexes are measured by other interpreters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BITS, BYTES, LIMIT = 256, 32, 31
KINDS = ("uniform", "clustered")
_AT_ONCE = 50_000
_PER_CENTRE = 200

Hashes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Task:
    """What an index is filled with and asked."""

    known: Hashes
    hits: Hashes
    misses: Hashes

    def wanted(self, asked: Hashes) -> dict[int, int]:
        """Return the rows within the limit and their distances, by comparing with every one."""
        distances = np.bitwise_count(self.known.view("<u8") ^ asked.view("<u8")).sum(axis=1, dtype=np.int64)
        return {int(row): int(distances[row]) for row in np.flatnonzero(distances <= LIMIT)}


def task(kind: str, count: int, queries: int) -> Task:
    """Make a task, the same at each call."""
    source = np.random.default_rng(count)
    make = {"uniform": _uniform, "clustered": _clustered}[kind]
    known = make(source, count)
    hits = known[source.integers(0, count, queries)].copy()
    for number in range(queries):
        bits = np.zeros(BITS, dtype=np.uint8)
        bits[source.choice(BITS, number % (LIMIT + 1), replace=False)] = 1
        hits[number] ^= np.packbits(bits)
    return Task(known, hits, make(source, queries))


def _uniform(source: np.random.Generator, count: int) -> Hashes:
    return source.integers(0, 256, (count, BYTES), dtype=np.uint8)


def _clustered(source: np.random.Generator, count: int) -> Hashes:
    centres = max(1, count // _PER_CENTRE)
    skew = np.clip(source.beta(4, 4, BITS), 0.05, 0.95)
    of_centre = source.random((centres, BITS)) < skew
    share = 1 / np.arange(1, centres + 1) ** 0.9
    centre = source.choice(centres, count, p=share / share.sum())
    restless = source.gamma(1.0, 1.0, BITS)
    restless /= restless.mean()
    made = np.empty((count, BYTES), dtype=np.uint8)
    for start in range(0, count, _AT_ONCE):
        part = centre[start : start + _AT_ONCE]
        spread = source.gamma(2, 8, (len(part), 1)) / BITS
        flipped = source.random((len(part), BITS)) < np.minimum(spread * restless, 0.5)
        made[start : start + len(part)] = np.packbits(of_centre[part] ^ flipped, axis=1)
    return made

"""Which rows of an index are whose: rows are given out, found by their owner, and given back.

Most rows come many at once. A dictionary of a million owners takes longer to fill than all tables of hashes, and most
of the memory; so the owners of many are found by the half of their hash code, sorted beside their row, and those that
came since by a dictionary. An entry there is only a hint: the row itself tells whose it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

#: From so many new owners on, and where they are a large part of all, all are sorted anew.
MANY = 4096
_PART = 4
_ROW = np.uint64(0xFFFFFFFF)
_ROW_BITS = np.uint64(32)


class OwnerRows:
    """The owner of each row; an owner may have several."""

    def __init__(self) -> None:
        #: None where a row is free.
        self.owners: list[bytes | None] = []
        self._free: list[int] = []
        self._sorted: NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)
        #: Most owners have one row; the others' further ones are apart, since a million lists are much to collect.
        self._first_row: dict[bytes, int] = {}
        self._further_rows: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return len(self.owners) - len(self._free)

    @property
    def end(self) -> int:
        """The first row that was never given out."""
        return len(self.owners)

    def taken(self) -> NDArray[np.int64]:
        """Return all rows that have an owner."""
        taken = np.ones(self.end, dtype=np.bool_)
        taken[self._free] = False
        return np.flatnonzero(taken)

    def take(self, owners: Sequence[bytes]) -> NDArray[np.int64]:
        """Give each owner a row, a free one first."""
        free = self._free[max(0, len(self._free) - len(owners)) :]
        del self._free[len(self._free) - len(free) :]
        for row, owner in zip(free, owners, strict=False):
            self.owners[row] = owner
        rows = np.concatenate([np.array(free, dtype=np.int64), np.arange(len(owners) - len(free)) + self.end])
        self.owners.extend(islice(owners, len(free), None))
        if len(owners) >= MANY and len(owners) * _PART >= self.end:
            self._sort()
            return rows
        for row, owner in zip(rows.tolist(), owners, strict=True):
            if self._first_row.setdefault(owner, row) != row:
                self._further_rows.setdefault(owner, []).append(row)
        return rows

    def leave(self, owner: bytes) -> list[int]:
        """Take all rows from an owner, and return them."""
        code = np.int64(hash(owner)).astype(np.uint64) & ~_ROW
        first, end = np.searchsorted(self._sorted, np.array([code, code | _ROW]))
        hints = (self._sorted[first : end + 1] & _ROW).tolist()
        later = self._first_row.pop(owner, None)
        if later is not None:
            hints += [later, *self._further_rows.pop(owner, ())]
        # A row may be hinted at twice: by the sorted ones for what its owner was before, too.
        rows = [row for row in dict.fromkeys(hints) if self.owners[row] == owner]
        for row in rows:
            self.owners[row] = None
        self._free.extend(rows)
        return rows

    def _sort(self) -> None:
        codes = np.fromiter(map(hash, self.owners), dtype=np.int64, count=self.end).view(np.uint64)
        codes &= ~_ROW
        codes |= np.arange(self.end, dtype=np.uint64)
        codes.sort()
        self._sorted = codes
        self._first_row.clear()
        self._further_rows.clear()

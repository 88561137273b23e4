"""Hashes of 256 bits and their owners, found by Hamming distance: exactly, and without looking at most of them.

A hash is a ring of 16 blocks of 16 bits. Where at most 31 bits of two hashes differ, there is a block from which on
every run of blocks differs in at most its share of the 31 (Raney's cycle lemma): that block in at most 1 bit, it and
the next two in at most 5. So each hash stands in 16 tables, one for each block, and a query looks into the buckets of
its own 16 blocks and of those one bit beside them, 272 of a million. An entry carries the next two blocks with its row,
which tells nearly all that are too far before their whole hash is read. Nothing is ever built anew: a bucket that is
full moves to the end of the pool with twice its size. Where the buckets hold too large a part of all rows (many near
duplicates of one picture), or more than 31 bits may differ, all rows are compared; so are a few thousand rows, which
have no tables yet.

The arrays grow in place, so that no call copies them; a lock keeps out readers of other threads meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

HASH_BYTES = 32
#: Up to this many differing bits the tables tell; beyond it, all rows are compared.
TABLES_REACH = 31

_BLOCKS = 16
_BUCKETS = 1 << 16
_WORDS = 4
_BLOCK_BITS, _THREE_BLOCKS_BITS = TABLES_REACH // _BLOCKS, 3 * TABLES_REACH // _BLOCKS
_FIRST_BUCKETS = np.arange(_BLOCKS, dtype=np.int64) * _BUCKETS
#: A block itself, and with each one of its bits flipped.
_PROBES = np.array([0, *(1 << bit for bit in range(16))], dtype=np.int64)
_ROW = np.uint64(0xFFFFFFFF)
_ROW_BITS, _NEXT_BITS = np.uint64(32), np.uint64(48)
_SMALLEST_BUCKET = 4
#: From so many rows on there are tables; comparing fewer is as fast, and the tables alone take 17 MB.
_TABLED = 1 << 11
#: From so many rows on, sorting each table for itself is faster than sorting all at once.
_MANY = 4096
#: Looking at an entry costs as much as comparing so many rows one after the other.
_ENTRY_COST = 8
#: So many rows fit the processor's cache.
_SCANNED = 1 << 14
_FIRST_ROWS, _FIRST_ENTRIES = 1 << 10, 1 << 14

assert _BLOCK_BITS == 1, "the probes flip one bit"


class HammingIndex:
    """Hashes with their owners; an owner may have several, and several the same."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._words = [np.zeros(_FIRST_ROWS, dtype=np.uint64) for _ in range(_WORDS)]
        #: None where a row is free.
        self._owners: list[bytes | None] = []
        self._free: list[int] = []
        #: Most owners have one row; the others' further ones are apart, since a million lists are much to collect.
        self._first_row: dict[bytes, int] = {}
        self._further_rows: dict[bytes, list[int]] = {}
        self._tabled = False
        self._starts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._counts: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._sizes: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._pool: NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)
        self._pool_end = 0

    def __len__(self) -> int:
        return len(self._owners) - len(self._free)

    def add(self, owners: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Add hashes, each with its owner; many at once are much cheaper."""
        if len(owners) != len(values) or not set(map(len, values)) <= {HASH_BYTES}:
            raise ValueError(f"every hash is {HASH_BYTES} bytes and has an owner")
        if not values:
            return
        joined = b"".join(values)
        with self._lock:
            rows = self._take_rows(owners)
            for number, word in enumerate(self._words):
                word[rows] = np.frombuffer(joined, dtype="<u8")[number::_WORDS]
            if self._tabled:
                self._enter(rows, np.frombuffer(joined, dtype="<u2").reshape(-1, _BLOCKS))
            elif len(self) >= _TABLED:
                self._make_tables()

    def remove(self, owner: bytes) -> None:
        """Remove all hashes of an owner; an unknown one is ignored."""
        with self._lock:
            first = self._first_row.pop(owner, None)
            if first is None:
                return
            for row in (first, *self._further_rows.pop(owner, ())):
                if self._tabled:
                    self._leave(row)
                self._owners[row] = None
                self._free.append(row)

    def within(self, value: bytes, distance: int) -> dict[bytes, int]:
        """Return the owners of hashes within this distance, each with its smallest one."""
        if len(value) != HASH_BYTES:
            raise ValueError(f"a hash is {HASH_BYTES} bytes")
        with self._lock:
            candidates = self._entered_near(value) if self._tabled and distance <= TABLES_REACH else None
            if candidates is None:
                candidates = self._near_in_half(value, distance)
            if not len(candidates):
                return {}
            distances = self._distances(candidates, value)
            near = distances <= distance
            found: dict[bytes, int] = {}
            # An entry in each of several tables may have told of the same row.
            for row, bits in dict(zip(candidates[near].tolist(), distances[near].tolist(), strict=True)).items():
                owner = self._owners[row]
                if owner is not None:
                    found[owner] = min(bits, found.get(owner, bits))
            return found

    def _entered_near(self, value: bytes) -> NDArray[np.int64] | None:
        """Return the rows that the tables tell may be near, some more than once; None where looking costs too much."""
        blocks = np.frombuffer(value, dtype="<u2")
        buckets = ((blocks.astype(np.int64)[:, None] ^ _PROBES) + _FIRST_BUCKETS[:, None]).ravel()
        counts = self._counts[buckets]
        by_block = counts.reshape(_BLOCKS, -1).sum(axis=1)
        if int(by_block.sum()) * _ENTRY_COST > len(self._owners):
            return None
        entries = self._pool[_spread(self._starts[buckets], counts)]
        differing = entries ^ np.repeat(_next_blocks(blocks), by_block)
        differing >>= _ROW_BITS
        near = entries[np.bitwise_count(differing) <= _THREE_BLOCKS_BITS]
        rows: NDArray[np.int64] = (near & _ROW).astype(np.int64)
        return rows

    def _near_in_half(self, value: bytes, distance: int) -> NDArray[np.int64]:
        """Return the rows whose first 128 bits are near, by comparing them all."""
        first, second = np.frombuffer(value, dtype="<u8")[:2]
        found = []
        for start in range(0, len(self._owners), _SCANNED):
            end = min(start + _SCANNED, len(self._owners))
            differing = np.bitwise_count(self._words[0][start:end] ^ first)
            differing += np.bitwise_count(self._words[1][start:end] ^ second)
            found.append(np.flatnonzero(differing <= distance) + start)
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _distances(self, rows: NDArray[np.int64], value: bytes) -> NDArray[np.int16]:
        distances = np.zeros(len(rows), dtype=np.int16)
        for word, asked in zip(self._words, np.frombuffer(value, dtype="<u8"), strict=True):
            distances += np.bitwise_count(word[rows] ^ asked)
        return distances

    def _take_rows(self, owners: Sequence[bytes]) -> NDArray[np.int64]:
        """Give each owner a row, a free one first."""
        rows = [self._free.pop() for _ in range(min(len(owners), len(self._free)))]
        for row, owner in zip(rows, owners, strict=False):
            self._owners[row] = owner
        new = owners[len(rows) :]
        rows.extend(range(len(self._owners), len(self._owners) + len(new)))
        self._owners.extend(new)
        for word in self._words:
            _grow(word, len(self._owners))
        for row, owner in zip(rows, owners, strict=True):
            if self._first_row.setdefault(owner, row) != row:
                self._further_rows.setdefault(owner, []).append(row)
        return np.array(rows, dtype=np.int64)

    def _make_tables(self) -> None:
        buckets = _BLOCKS * _BUCKETS
        self._starts = np.zeros(buckets, dtype=np.int64)
        self._counts, self._sizes = np.zeros(buckets, dtype=np.int32), np.zeros(buckets, dtype=np.int32)
        # None is free: so many were never here before, and free ones are taken first.
        count = len(self._owners)
        words = np.stack([word[:count] for word in self._words], axis=1).astype("<u8", copy=False)
        self._enter(np.arange(count), words.view("<u2"))
        self._tabled = True

    def _enter(self, rows: NDArray[np.int64], blocks: NDArray[np.uint16]) -> None:
        """Put rows into every table."""
        if len(rows) < _MANY:
            entries = (_next_blocks(blocks) | rows.astype(np.uint64)[:, None]).ravel()
            buckets = (blocks + _FIRST_BUCKETS).ravel()
            order = np.argsort(buckets, kind="stable")
            self._put(buckets[order], entries[order])
            return
        columns = np.ascontiguousarray(blocks.T)
        # An entry's four quarters, the lowest first: its row takes two.
        quarters = np.empty((len(rows), 4), dtype="<u2")
        quarters.view("<u4")[:, 0] = rows
        for table, first in enumerate(_FIRST_BUCKETS):
            order = np.argsort(columns[table], kind="stable")
            quarters[:, 2] = columns[(table + 1) % _BLOCKS]
            quarters[:, 3] = columns[(table + 2) % _BLOCKS]
            self._put(columns[table][order] + first, quarters.view("<u8")[:, 0][order])

    def _put(self, buckets: NDArray[np.int64], entries: NDArray[np.uint64]) -> None:
        """Append entries to their buckets, which are in order."""
        firsts = np.flatnonzero(np.diff(buckets, prepend=-1))
        changed = buckets[firsts]
        added = np.diff(firsts, append=len(buckets))
        counts = self._counts[changed]
        needed = counts + added
        full = needed > self._sizes[changed]
        if full.any():
            self._widen(changed[full], needed[full])
        self._pool[_spread(self._starts[changed] + counts, added)] = entries
        self._counts[changed] = needed

    def _widen(self, buckets: NDArray[np.int64], needed: NDArray[Any]) -> None:
        """Move buckets to the end of the pool. What they leave is not used again: in all, less than what they take."""
        sizes, counts, starts = self._sizes[buckets], self._counts[buckets], self._starts[buckets]
        roomy = np.where(sizes == 0, np.maximum(needed + needed // 4, _SMALLEST_BUCKET), np.maximum(needed, 2 * sizes))
        ends = np.cumsum(roomy) + self._pool_end
        _grow(self._pool, int(ends[-1]))
        self._pool[_spread(ends - roomy, counts)] = self._pool[_spread(starts, counts)]
        self._starts[buckets], self._sizes[buckets] = ends - roomy, roomy
        self._pool_end = int(ends[-1])

    def _leave(self, row: int) -> None:
        """Take a row out of every table; the last entry of its bucket fills the place."""
        words = np.array([word[row] for word in self._words], dtype="<u8")
        buckets = words.view("<u2") + _FIRST_BUCKETS
        starts, counts = self._starts[buckets], self._counts[buckets]
        places = _spread(starts, counts)
        places = places[(self._pool[places] & _ROW) == row]
        self._pool[places] = self._pool[starts + counts - 1]
        self._counts[buckets] -= 1


def _next_blocks(blocks: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """Return for each block the two after it, as the upper half of an entry."""
    wide = blocks.astype(np.uint64)
    return np.roll(wide, -1, axis=-1) << _ROW_BITS | np.roll(wide, -2, axis=-1) << _NEXT_BITS


def _spread(starts: NDArray[np.int64], counts: NDArray[Any]) -> NDArray[np.int64]:
    """Return all places of runs that start there and have so many places each."""
    ends = np.cumsum(counts, dtype=np.int64)
    places = np.repeat(starts - ends + counts, counts)
    places += np.arange(len(places))
    return places


def _grow(array: NDArray[np.uint64], needed: int) -> None:
    """Make an array longer where it stands: the system moves its pages. No view of it may be alive."""
    if needed > len(array):
        array.resize(max(needed, len(array) + max(len(array) // 64, _FIRST_ENTRIES)), refcheck=False)

"""Hashes of 256 bits and their owners, found by Hamming distance: exactly, and without looking at most of them.

A hash is a ring of 16 blocks of 16 bits. Where at most 31 bits of two hashes differ, there is a block from which on
every run of blocks, backwards, differs in at most its share of the 31 (Raney's cycle lemma): that block in at most 1
bit, it and the one before it in at most 3. So each hash stands in 16 tables, one for each block, and a query looks into
the buckets of its own 16 blocks and of those one bit beside them, 272 of a million. An entry carries both blocks with
its row, which tells nearly all that are too far before their whole hash is read. Where the buckets hold too large a
part of all rows (many near duplicates of one picture), or more than 31 bits may differ, all rows are compared; so are a
few thousand rows, which have no tables yet.

Tables are made whole, by sorting them where they lie, only of many rows that come at once. Else a bucket that is full
moves to a larger room of the pool, one that is nearly empty to a smaller one, and others take the rooms that they left.
Rooms have few sizes, and none is split, so all of a size are never more than were needed at once.

The arrays change where they stand; a lock keeps out readers of other threads meanwhile.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange_client.owner_rows import OwnerRows

HASH_BYTES = 32
#: Up to this many differing bits the tables tell; beyond it, all rows are compared.
TABLES_REACH = 31

_BLOCKS = 16
_BUCKETS = 1 << 16
_WORDS = 4
_BLOCK_BITS, _TWO_BLOCKS_BITS = TABLES_REACH // _BLOCKS, np.uint8(2 * TABLES_REACH // _BLOCKS)
_FIRST_BUCKETS = np.arange(_BLOCKS, dtype=np.int64) * _BUCKETS
_FLIPS = np.array([0, *(1 << bit for bit in range(16))], dtype=np.uint32)
#: A block itself, and with each one of its bits flipped, in each block's table.
_PROBES = (_FLIPS | _FIRST_BUCKETS[:, None].astype(np.uint32)).ravel()
# A query is many small steps: each conversion of numbers in them shows.
_UNSIGNED: np.dtype[np.uint32] = np.dtype("<u4")
_SIGNED: np.dtype[np.int32] = np.dtype("<i4")
_BLOCK_SIZE = np.uint32(16)
_ROW = 0xFFFFFFFF
#: How large a room may be.
_ROOMS = np.unique(np.array([0, 1, *(size << step for step in range(30) for size in (2, 3))]))
#: So many rows have place in a pool whose places are numbers of 31 bits, also where its rooms are half empty.
_MOST_ROWS = 1 << 26
#: From so many rows on there are tables; comparing fewer is as fast, and the tables alone take 12 MB.
_TABLED = 1 << 11
#: Where new rows are at least such a part of all, making all tables anew is faster than adding to them.
_PART = 16
#: Looking at an entry costs as much as comparing so many rows one after the other.
_ENTRY_COST = 8
#: So many distances are as fast worked out one by one.
_FEW = 6
#: So many rows fit the processor's cache.
_SCANNED = 1 << 14
_FIRST_ROWS, _FIRST_ENTRIES = 1 << 10, 1 << 14
#: So many hashes are joined at once.
_JOINED = 1 << 10
#: An array that has to be longer by more than that is made anew.
_MUCH = 8

assert _BLOCK_BITS == 1, "the probes flip one bit"


class HammingIndex:
    """Hashes with their owners; an owner may have several, and several the same."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rows = OwnerRows()
        self._words: NDArray[np.uint64] = np.zeros((_FIRST_ROWS, _WORDS), dtype="<u8")
        self._tabled = False
        #: Of each bucket: where its entries end in the pool, how many there are, both side by side; its room's size.
        self._runs: NDArray[np.int64] = np.zeros(0, dtype="<i8")
        self._ends, self._counts = np.zeros((2, 0), dtype="<i4")
        self._sizes: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        #: An entry is a block, the one before it, and its row, from the highest bits down.
        self._pool: NDArray[np.int64] = np.zeros(0, dtype="<i8")
        self._pool_end = 0
        #: By size, where rooms begin that no bucket has.
        self._free_rooms: dict[int, array[int]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, owners: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Add hashes, each with its owner; many at once are much cheaper."""
        if len(owners) != len(values) or not set(map(len, values)) <= {HASH_BYTES}:
            raise ValueError(f"every hash is {HASH_BYTES} bytes and has an owner")
        if len(self) + len(values) > _MOST_ROWS:
            raise ValueError(f"an index holds at most {_MOST_ROWS} hashes")
        if not values:
            return
        with self._lock:
            free, end = self._rows.end - len(self), self._rows.end + len(values)
            if free:
                words = np.empty((len(values), _WORDS), dtype="<u8")
            else:  # so the rows that will be taken lie side by side
                self._words = _grown(self._words, end)
                words = self._words[self._rows.end : end]
            _join(values, words)
            rows = self._rows.take(owners)
            if free:
                self._words = _grown(self._words, self._rows.end)
                self._words[rows] = words
            if self._tabled and len(rows) * _PART < len(self):
                self._enter(rows, words.view("<u2"))
            elif self._tabled or len(self) >= _TABLED:
                self._make_tables()

    def remove(self, owner: bytes) -> None:
        """Remove all hashes of an owner; an unknown one is ignored."""
        with self._lock:
            for row in self._rows.leave(owner):
                if self._tabled:
                    self._leave(row)

    def within(self, value: bytes, distance: int) -> dict[bytes, int]:
        """Return the owners of hashes within this distance, each with its smallest one."""
        if len(value) != HASH_BYTES:
            raise ValueError(f"a hash is {HASH_BYTES} bytes")
        with self._lock:
            entered = self._entered_near(value) if self._tabled and distance <= TABLES_REACH else None
            candidates = self._near_in_half(value, distance) if entered is None else entered
            if not len(candidates):
                return {}
            owners, found = self._rows.owners, dict[bytes, int]()
            # An entry in each of several tables may have told of the same row.
            for row, bits in dict(self._distances(candidates, value, distance)).items():
                owner = owners[row]
                if owner is not None:
                    found[owner] = min(bits, found.get(owner, bits))
            return found

    def _entered_near(self, value: bytes) -> NDArray[np.int64] | None:
        """Return the rows that the tables tell may be near, some more than once; None where looking costs too much."""
        # Each block, above the one before it.
        asked = np.ndarray(_BLOCKS, _UNSIGNED, value[-2:] + value, 0, (2,)).repeat(len(_FLIPS))
        runs = self._runs.take((asked >> _BLOCK_SIZE) ^ _PROBES)
        counts = runs >> 32
        before = np.add.accumulate(counts)
        total = int(before[-1])
        if total * _ENTRY_COST > self._rows.end:
            return None
        # The lower half is then what an entry's number lacks to its place; what is asked takes the count's half.
        runs -= before
        runs.view(_UNSIGNED)[1::2] = asked
        wanted = runs.repeat(counts)
        places = np.arange(total, dtype=np.int32)
        places += wanted.view(_SIGNED)[::2]
        entries = self._pool.take(places)
        differing = (entries ^ wanted).view(_UNSIGNED)[1::2]
        near = (np.bitwise_count(differing) <= _TWO_BLOCKS_BITS).nonzero()[0]
        rows: NDArray[np.int64] = entries[near] & _ROW
        return rows

    def _near_in_half(self, value: bytes, distance: int) -> NDArray[np.int64]:
        """Return the rows whose first 128 bits are near, by comparing them all."""
        first, second = np.frombuffer(value, dtype="<u8")[:2]
        found = []
        for start in range(0, self._rows.end, _SCANNED):
            words = self._words[start : min(start + _SCANNED, self._rows.end)]
            differing = np.bitwise_count(words[:, 0] ^ first)
            differing += np.bitwise_count(words[:, 1] ^ second)
            found.append(np.flatnonzero(differing <= distance) + start)
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _distances(self, rows: NDArray[Any], value: bytes, limit: int) -> Iterable[tuple[int, int]]:
        """Return rows up to this limit away, with their distances."""
        if len(rows) <= _FEW:
            asked, words = int.from_bytes(value), self._words
            distances = [(row, (int.from_bytes(words[row].tobytes()) ^ asked).bit_count()) for row in rows.tolist()]
            return [found for found in distances if found[1] <= limit]
        differing = self._words.take(rows, axis=0)
        differing ^= np.frombuffer(value, dtype="<u8")
        every = np.add.reduce(np.bitwise_count(differing), axis=1, dtype=np.int16)
        near = np.flatnonzero(every <= limit)
        return zip(rows[near].tolist(), every[near].tolist(), strict=True)

    def _make_tables(self) -> None:
        """Make all tables anew, each bucket with just the room that it needs."""
        self._tabled = False
        self._pool = np.zeros(0, dtype="<i8")
        self._free_rooms.clear()
        rows = self._rows.taken()
        # All that there are need not be picked out.
        words = np.ascontiguousarray(self._words[rows if len(rows) < self._rows.end else slice(len(rows))].T)
        numbers = rows.astype("<u4")
        # What lies behind the end is not touched, and takes no memory before it is needed.
        self._pool_end = _BLOCKS * len(rows)
        self._pool = np.empty(self._pool_end + self._pool_end // 4, dtype="<i8")
        self._runs = np.empty(_BLOCKS * _BUCKETS, dtype="<i8")
        self._ends, self._counts = self._runs.view("<i4").reshape(-1, 2).T
        for table in range(_BLOCKS):
            entries = self._pool[table * len(rows) : (table + 1) * len(rows)].view("<u8")
            # A block comes to the top, and with it the one before it, unless that is the last of another word.
            word, block = divmod(table, _BLOCKS // _WORDS)
            np.left_shift(words[word], np.uint64(48 - 16 * block), out=entries)
            if block == 0:
                entries.view("<u2")[2::4] = words[word - 1].view("<u2")[3::4]
            entries.view("<u4")[::2] = numbers
            entries.sort()
            self._counts[table * _BUCKETS :][:_BUCKETS] = np.bincount(entries.view("<u2")[3::4], minlength=_BUCKETS)
        self._sizes = self._counts.astype(np.int32)
        np.cumsum(self._counts, out=self._ends)
        self._tabled = True

    def _enter(self, rows: NDArray[np.int64], blocks: NDArray[np.uint16]) -> None:
        """Put rows into every table."""
        wide = blocks.astype(np.int64)
        entries = (wide << 48 | np.roll(wide, 1, axis=1) << 32 | rows[:, None]).ravel()
        buckets = (wide | _FIRST_BUCKETS).ravel()
        order = np.argsort(buckets, kind="stable")
        buckets = buckets[order]
        firsts = np.flatnonzero(np.diff(buckets, prepend=-1))
        changed = buckets[firsts]
        added = np.diff(firsts, append=len(buckets)).astype(np.int32)
        needed = self._counts[changed] + added
        full = needed > self._sizes[changed]
        if full.any():
            self._move(changed[full], needed[full])
        self._pool[_spread(self._ends[changed], added)] = entries[order]
        self._ends[changed] += added
        self._counts[changed] = needed

    def _leave(self, row: int) -> None:
        """Take a row out of every table; the last entry of its bucket fills the place."""
        buckets = self._words[row].view("<u2") + _FIRST_BUCKETS
        counts, lasts = self._counts[buckets], self._ends[buckets] - 1
        places = _spread(lasts + 1 - counts, counts)
        places = places[self._pool[places] & _ROW == row]
        self._pool[places] = self._pool[lasts]
        counts -= 1
        self._ends[buckets], self._counts[buckets] = lasts, counts
        roomy = counts * 4 <= self._sizes[buckets]
        if roomy.any():
            self._move(buckets[roomy], counts[roomy])

    def _move(self, buckets: NDArray[np.int64], needed: NDArray[Any]) -> None:
        """Give buckets rooms for what they need and a little more. Those that they had are free."""
        counts = self._counts[buckets]
        old = self._ends[buckets] - counts
        sizes = _ROOMS[np.searchsorted(_ROOMS, needed + needed // 4)]
        starts = np.zeros(len(buckets), dtype=np.int64)
        for size in np.unique(sizes[sizes > 0]).tolist():
            starts[sizes == size] = self._take_rooms(size, int(np.count_nonzero(sizes == size)))
        self._pool[_spread(starts, counts)] = self._pool[_spread(old, counts)]
        left = _ROOMS[np.searchsorted(_ROOMS, self._sizes[buckets], side="right") - 1]
        for size in np.unique(left[left > 0]).tolist():
            rooms = self._free_rooms.setdefault(size, array("i"))
            rooms.frombytes(old[left == size].tobytes())
        self._ends[buckets], self._sizes[buckets] = starts + counts, sizes

    def _take_rooms(self, size: int, count: int) -> NDArray[np.int64]:
        """Return where so many rooms begin, free ones first; others lie behind all that there are."""
        free = self._free_rooms.get(size, array("i"))
        kept = max(0, len(free) - count)
        starts = np.array(free[kept:], dtype=np.int64)
        del free[kept:]
        new = np.arange(count - len(starts)) * size + self._pool_end
        self._pool_end += len(new) * size
        self._pool = _grown(self._pool, self._pool_end)
        return np.concatenate([starts, new])


def _spread(starts: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.int64]:
    """Return all places of runs that start there and have so many places each."""
    ends = np.add.accumulate(counts, dtype=np.int64)
    places: NDArray[np.int64] = (starts - ends + counts).repeat(counts)
    places += np.arange(len(places))
    return places


def _join(values: Sequence[bytes], words: NDArray[np.uint64]) -> None:
    """Put hashes into an array's rows: in pieces that stay in the processor's cache, which is half the work."""
    for start in range(0, len(values), _JOINED):
        piece = slice(start, start + _JOINED)
        words[piece] = np.frombuffer(b"".join(values[piece]), dtype="<u8").reshape(-1, _WORDS)


def _grown(array: NDArray[Any], needed: int) -> NDArray[Any]:
    """Return an array that is long enough, made longer seldom, since its pages may have to move.

    Where it is much too short it is another one, which costs less than making place behind it. Else it is the same one:
    no view of it may be alive.
    """
    if needed <= len(array):
        return array
    if needed > _MUCH * len(array):
        made = np.empty((needed + needed // 8, *array.shape[1:]), dtype=array.dtype)
        made[: len(array)] = array
        return made
    longer = max(needed, len(array) + max(len(array) // 8, _FIRST_ENTRIES))
    array.resize((longer, *array.shape[1:]), refcheck=False)
    return array

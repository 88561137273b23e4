"""A page of a log, as bytes for the process that takes it into a fold."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from exchange.ledger.merkle import HASH_BYTES, CompactRange

#: Index of the first entry, how many there are, and how many hashes their place has.
_HEAD = struct.Struct(">QII")
#: Instead of hashes: what was given is not yet to be committed.
_NO_PLACE = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive entries: each its leaf, and its frame, which is empty below the floor."""

    first: int
    entries: Sequence[tuple[bytes, bytes]]
    #: The tree of all entries up to the last of these, once they are to be committed.
    place: CompactRange | None


def pack(page: Page) -> bytes:
    """Return a page as bytes: where a frame is there, its leaf is found in it again."""
    parts = [part for leaf, frame in page.entries for part in (b"" if frame else leaf, frame)]
    hashes = () if page.place is None else page.place.hashes
    count = len(page.entries)
    return b"".join(
        (
            _HEAD.pack(page.first, count, _NO_PLACE if page.place is None else len(hashes)),
            *hashes,
            struct.pack(f">{2 * count}I", *map(len, parts)),
            *parts,
        )
    )


def unpack(data: bytes) -> Page:
    """Return what `pack` was given, but for leaves whose frame is there: they are empty."""
    first, count, hashes = _HEAD.unpack_from(data)
    at, place = _HEAD.size, None
    if hashes != _NO_PLACE:
        cut = [data[at + n * HASH_BYTES : at + (n + 1) * HASH_BYTES] for n in range(hashes)]
        place = CompactRange.of(first + count, cut)
        at += hashes * HASH_BYTES
    lengths = struct.unpack_from(f">{2 * count}I", data, at)
    at += 4 * len(lengths)
    parts = [data[start:end] for start, end in pairwise(accumulate(lengths, initial=at))]
    return Page(first, list(zip(parts[::2], parts[1::2], strict=True)), place)

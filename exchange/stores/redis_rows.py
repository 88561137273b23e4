"""How an entry, a root and the head lie in Redis, and reading them back. Nothing is handed on unchecked.

The file of such a server has no checksum over what it holds: a flipped byte is loaded and served. So a row carries
checksums of its own, its leaf must have the leaf hash, and a root of a tile carries a checksum.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

from exchange.errors import Fatal, OtherFormat
from exchange.ledger.merkle import HASH_BYTES
from exchange.ledger.tiles import TILE_WIDTH, HashTile
from exchange.ports import Head, StoredEntry, TreeHead
from exchange.stores.entries import hash_of_leaf_in
from exchange.stores.redis_finding import text_of
from exchange.stores.redis_scripts import FORMAT, HEAD_FIELDS

_CRC = 4
_FIXED = HASH_BYTES + HASH_BYTES + 8
#: Where the checksum of the frame begins: the scripts know this number.
FRAME_CHECKSUM_AT = _FIXED + _CRC


def _sum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CRC, "big")


def frame_part(frame: bytes) -> bytes:
    """Return what stands in a row behind its fixed part."""
    return _sum(frame) + frame


def row_of(entry: StoredEntry) -> bytes:
    """Return an entry's row."""
    fixed = entry.statement_id + entry.leaf_hash + entry.received_at_ms.to_bytes(8, "big", signed=True)
    return fixed + _sum(fixed) + frame_part(entry.frame)


def entry_of(index: int, row: bytes) -> StoredEntry:
    """Return the entry in a row. Raises `Fatal` when it is damaged."""
    fixed, frame = row[:_FIXED], row[FRAME_CHECKSUM_AT + _CRC :]
    if len(row) > FRAME_CHECKSUM_AT + _CRC and row[_FIXED:FRAME_CHECKSUM_AT] == _sum(fixed):
        hash_ = fixed[HASH_BYTES : 2 * HASH_BYTES]
        if row[FRAME_CHECKSUM_AT : FRAME_CHECKSUM_AT + _CRC] == _sum(frame) and hash_of_leaf_in(frame) == hash_:
            received_at_ms = int.from_bytes(fixed[2 * HASH_BYTES :], "big", signed=True)
            return StoredEntry(index, fixed[:HASH_BYTES], hash_, received_at_ms, frame)
    raise Fatal(f"entry {index} is damaged in the store")


def root_row(root: bytes) -> bytes:
    """Return how the root of a tile is stored."""
    return root + _sum(root)


def root_of(level: int, index: int, row: bytes | None) -> bytes:
    """Return the root in what is stored. Raises `Fatal` when it is missing or damaged."""
    if row is None or len(row) != HASH_BYTES + _CRC or row != root_row(row[:HASH_BYTES]):
        raise Fatal(f"the root of hash tile {level}/{index} is {'missing' if row is None else 'damaged'} in the store")
    return row[:HASH_BYTES]


def checked_tile(level: int, index: int, hashes: bytes, root: bytes) -> HashTile:
    """Return a whole tile if its hashes make its root. Raises `Fatal`."""
    if len(hashes) == TILE_WIDTH * HASH_BYTES and (tile := HashTile(hashes)).is_whole(root):
        return tile
    raise Fatal(f"hash tile {level}/{index} is damaged in the store")


@dataclass(frozen=True, slots=True)
class RawHead:
    """The head as it lies in the store: its durable part need not be safe yet."""

    head: Head
    origin: str
    #: Names the folder of bundles that belongs to the log.
    bundles: str
    sealed_received_at_ms: int
    sealed_directory_size: int
    #: Why hubs may not serve it (`exchange.stores.withheld`); nothing where they may.
    withheld: bytes = b""

    @property
    def as_sealed(self) -> Head:
        """The head as it was before the group that is not sealed."""
        return replace(
            self.head,
            durable=self.head.sealed,
            last_received_at_ms=self.sealed_received_at_ms,
            last_directory_size=self.sealed_directory_size,
        )


def other_format(stated: str) -> OtherFormat:
    """Return the error for a log whose head states another format than ours."""
    return OtherFormat("the log in the store", int(stated) if stated.isdecimal() else stated[:20], FORMAT)


def read_head(values: list[Any]) -> RawHead | None:
    """Return the head in what was stored for `HEAD_FIELDS`; None where there is no log. Raises `Fatal`."""
    if values[0] is None:
        return None
    found = dict(zip(HEAD_FIELDS, values, strict=True))
    stated = text_of(found["format"])
    if stated != str(FORMAT):
        raise other_format(stated)
    try:
        number = {name: int(found[name]) for name in HEAD_FIELDS if name.endswith(("size", "ms")) or name == "floor"}
        roots = bytes(found["durable_root"]), bytes(found["sealed_root"])
        checkpoint = bytes(found["checkpoint"])
    except (TypeError, ValueError) as error:
        raise Fatal("the log's head is damaged in the store") from error
    durable, sealed, floor = number["durable_size"], number["sealed_size"], number["floor"]
    if not 0 <= floor <= sealed <= durable or {len(root) for root in roots} != {HASH_BYTES}:
        raise Fatal("the log's head is damaged in the store")
    return RawHead(
        Head(
            TreeHead(durable, roots[0]),
            TreeHead(sealed, roots[1]),
            checkpoint,
            floor,
            number["last_received_at_ms"],
            number["last_directory_size"],
        ),
        text_of(found["origin"]),
        text_of(found["bundles"]),
        number["sealed_received_at_ms"],
        number["sealed_directory_size"],
        bytes(found["withheld"] or b""),
    )

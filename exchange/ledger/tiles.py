"""C2SP tlog-tiles: how a tree is cut into tiles of 256 hashes and bundles of 256 entries, and what they are called.

Tile ``n`` of level ``l`` holds the hashes MTH(D[(n*256+i)*256^l : (n*256+i+1)*256^l]) for i in 0..255. Only full
tiles are hashed into the next level. For a given size the last tile of a level may be partial; partial tiles follow
from their rows and are not stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exchange.errors import Reason, Rejected
from exchange.ledger.merkle import HASH_BYTES, node_hash

TILE_HEIGHT = 8
TILE_WIDTH = 256
MAX_LEVEL = 63
MAX_ENTRY_BYTES = 65_535
_LENGTH_BYTES = 2
_MAX_PATH = 64

_PATH = re.compile(
    r"tile/(?P<level>0|[1-9][0-9]?|entries)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


#: What names a hash tile: level, index, width.
TileRef = tuple[int, int, int]


class HashTile:
    """The first hashes of a hash tile, 256 where it is full, and the complete nodes above them, each hashed once."""

    __slots__ = ("_rows", "hashes")

    def __init__(self, hashes: bytes) -> None:
        """Take the hashes, 32 bytes each. Raises `Rejected` (MALFORMED) where one of them is cut short."""
        if len(hashes) % HASH_BYTES:
            raise Rejected(Reason.MALFORMED, "a hash tile ends within a hash")
        self.hashes = hashes
        self._rows = [split_hashes(hashes)]

    def node(self, step: int, number: int) -> bytes:
        """Return node ``number`` (from 0) ``step`` above the hashes. Raises `Rejected` (MALFORMED) beyond them."""
        while len(self._rows) <= step:
            below = self._rows[-1]
            self._rows.append([node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)])
        if not 0 <= number < len(self._rows[step]):
            raise Rejected(Reason.MALFORMED, f"a hash tile has no more than {len(self._rows[0])} hashes")
        return self._rows[step][number]

    def is_whole(self, root: bytes) -> bool:
        """Whether it is full, and this the hash of its subtree. From then on nothing is hashed any more."""
        return len(self._rows[0]) == TILE_WIDTH and self.node(TILE_HEIGHT, 0) == root

    def first(self, width: int) -> HashTile:
        """Return the tile as it is with so many hashes."""
        return self if width >= len(self._rows[0]) else HashTile(self.hashes[: width * HASH_BYTES])


@dataclass(frozen=True, slots=True)
class Tile:
    """A full hash tile: 256 hashes, 8,192 bytes."""

    level: int
    index: int
    hashes: bytes

    def root(self) -> bytes:
        """Return the hash of the tile's subtree: one hash of the next level."""
        return HashTile(self.hashes).node(TILE_HEIGHT, 0)


@dataclass(frozen=True, slots=True)
class TileName:
    """What a tile path names. ``level`` is -1 for an entry bundle."""

    level: int
    index: int
    width: int

    @property
    def is_bundle(self) -> bool:
        """Whether this is an entry bundle rather than a hash tile."""
        return self.level < 0


def split_hashes(data: bytes) -> list[bytes]:
    """Return the 32-byte hashes in a tile."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def tile_width(size: int, level: int, index: int) -> int:
    """Return how many hashes (0..256) tile ``index`` of ``level`` has in a tree of ``size`` leaves."""
    hashes = size >> (TILE_HEIGHT * level)
    return max(0, min(TILE_WIDTH, hashes - index * TILE_WIDTH))


def require_tiles(refs: Sequence[TileRef], size: int) -> None:
    """Return if a tree of ``size`` leaves has these tiles, as wide as named. Raises `Rejected` (NOT_FOUND)."""
    for level, index, width in refs:
        if level < 0 or index < 0 or not 0 < width <= tile_width(size, level, index):
            raise Rejected(Reason.NOT_FOUND, "no such hash tile in the sealed tree")


def right_edge(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, index, width) of the partial tiles of a tree, lowest level first; none where a level is full."""
    level = 0
    while size >> (TILE_HEIGHT * level):
        index, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
        if width:
            yield level, index, width
        level += 1


def tiles_for_size(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, index, width) of every tile of a tree, level by level."""
    level = 0
    while size >> (TILE_HEIGHT * level):
        full, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
        yield from ((level, index, TILE_WIDTH) for index in range(full))
        if width:
            yield level, full, width
        level += 1


def _number(index: int) -> str:
    text = f"{index % 1000:03d}"
    while index >= 1000:
        index //= 1000
        text = f"x{index % 1000:03d}/{text}"
    return text


def _path(kind: str, index: int, width: int) -> str:
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{kind}/{_number(index)}{partial}"


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a hash tile below a log's prefix."""
    return _path(str(level), index, width)


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of an entry bundle below a log's prefix."""
    return _path("entries", index, width)


def parse_tile_path(path: str) -> TileName:
    """Return what a path names. Raises `Rejected` (MALFORMED) for any other spelling than the canonical one."""
    match = _PATH.fullmatch(path)
    if match is None or len(path) > _MAX_PATH:
        raise Rejected(Reason.MALFORMED, "not a tile path")
    level = -1 if match["level"] == "entries" else int(match["level"])
    index = int(match["index"].replace("x", "").replace("/", ""))
    width = int(match["width"]) if match["width"] else TILE_WIDTH
    canonical = entries_path(index, width) if level < 0 else tile_path(level, index, width)
    if canonical != path or level > MAX_LEVEL or (match["width"] and width >= TILE_WIDTH):
        raise Rejected(Reason.MALFORMED, "not a tile path")
    return TileName(level, index, width)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return an entry bundle: each entry after its big-endian uint16 length. Raises `Rejected` (TOO_LARGE)."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise Rejected(Reason.TOO_LARGE, f"an entry is longer than {MAX_ENTRY_BYTES} bytes")
        parts.append(len(entry).to_bytes(_LENGTH_BYTES, "big"))
        parts.append(entry)
    return b"".join(parts)


def decode_bundle(data: bytes) -> tuple[bytes, ...]:
    """Return the entries of a bundle. Raises `Rejected` (MALFORMED)."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        end = start + int.from_bytes(data[at:start], "big")
        if end > len(data) or start > len(data):
            raise Rejected(Reason.MALFORMED, "entry bundle: truncated")
        entries.append(data[start:end])
        at = end
    if len(entries) > TILE_WIDTH:
        raise Rejected(Reason.MALFORMED, f"entry bundle: more than {TILE_WIDTH} entries")
    return tuple(entries)

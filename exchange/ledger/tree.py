"""The hub's growing tree: its right edge only, enough to append leaves and to prove the newest ones.

For each height the edge keeps the complete nodes from the last multiple of 256 on (and, after a group, whatever the
group added). That bounds memory by the height of the tree times a few hundred hashes, whatever its size, and holds
every sibling that an inclusion proof for a leaf of the last group can need. A `Tree` never changes: extending
returns a new one, so a refused append costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from exchange.errors import Fatal
from exchange.ledger.merkle import HASH_BYTES, CompactRange
from exchange.ledger.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, right_edge, split_hashes

_WINDOW = TILE_WIDTH


@dataclass(frozen=True, slots=True)
class _Row:
    """Complete nodes of one height: ``nodes[i]`` is number ``first + i``."""

    first: int = 0
    nodes: tuple[bytes, ...] = ()

    @property
    def end(self) -> int:
        return self.first + len(self.nodes)

    def get(self, number: int) -> bytes:
        at = number - self.first
        if not 0 <= at < len(self.nodes):
            raise Fatal("a node outside the tree's right edge was asked for")
        return self.nodes[at]

    def grow(self, nodes: Sequence[bytes]) -> _Row:
        """Append nodes; drop what lies before the window that was current when this call began."""
        keep_from = max(self.first, self.end - self.end % _WINDOW)
        if keep_from > self.first and self.end % _WINDOW == 0:
            # The window is exactly full: its last node may still be a left sibling within the same parent tile.
            keep_from = max(self.first, self.end - _WINDOW)
        return _Row(keep_from, (*self.nodes[keep_from - self.first :], *nodes))


@dataclass(frozen=True, slots=True)
class Extension:
    """What appending leaves did: the new tree, and the tiles that are now full (lowest level first)."""

    tree: Tree
    full_tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of ``size`` leaves, as its right edge."""

    size: int = 0
    rows: tuple[_Row, ...] = ()

    @classmethod
    def load(cls, size: int, tile: Callable[[int, int, int], bytes]) -> Tree:
        """Return the tree of ``size`` leaves from its partial tiles: ``tile(level, index, width)`` gives hashes.

        Raises `Fatal` when a tile has the wrong length.
        """
        rows: dict[int, _Row] = {}
        for level, index, width in right_edge(size):
            data = tile(level, index, width)
            if len(data) != width * HASH_BYTES:
                raise Fatal(f"hash tile {level}/{index} does not have {width} hashes")
            nodes = split_hashes(data)
            first = index * TILE_WIDTH
            for step in range(TILE_HEIGHT):
                rows[level * TILE_HEIGHT + step] = _Row(first, tuple(nodes))
                nodes = [_node(nodes[at], nodes[at + 1]) for at in range(0, len(nodes) - 1, 2)]
                first //= 2
        height = size.bit_length()
        return cls(size, tuple(rows.get(h, _Row(size >> h, ())) for h in range(height)))

    def compact_range(self) -> CompactRange:
        """Return the compact range of the whole tree."""
        heights = [h for h in range(self.size.bit_length() - 1, -1, -1) if self.size >> h & 1]
        return CompactRange(self.size, tuple(self.rows[h].get((self.size >> h) - 1) for h in heights))

    def root(self) -> bytes:
        """Return the RFC 6962 root."""
        return self.compact_range().root()

    def extend(self, leaf_hashes: Sequence[bytes]) -> Extension:
        """Return the tree with these leaves (as leaf hashes) appended, and the tiles that this completes."""
        size = self.size + len(leaf_hashes)
        rows: list[_Row] = []
        tiles: list[Tile] = []
        new: Sequence[bytes] = leaf_hashes
        for height in range(size.bit_length()):
            if not new:
                rows.extend(self.rows[height:])
                break
            old = self.rows[height] if height < len(self.rows) else _Row()
            row = old.grow(new)
            rows.append(row)
            if height % TILE_HEIGHT == 0:
                tiles.extend(_completed(row, height // TILE_HEIGHT, old.end))
            start = old.end - old.end % 2
            new = [_node(row.get(at), row.get(at + 1)) for at in range(start, row.end - 1, 2)]
        return Extension(Tree(size, tuple(rows)), tuple(tiles))

    def prover(self) -> Callable[[int], tuple[bytes, ...]]:
        """Return what makes the RFC 6962 path of a leaf of the last group. It raises `Fatal` for an older leaf.

        The incomplete nodes of the right edge, which many paths share, are hashed once.
        """
        size, rows = self.size, self.rows
        height = (size - 1).bit_length() if size else 0
        edge = self._incomplete(height)

        def prove(index: int) -> tuple[bytes, ...]:
            if not 0 <= index < size:
                raise Fatal("a leaf outside the tree was asked for")
            path: list[bytes] = []
            for level in range(height):
                sibling = (index >> level) ^ 1
                complete = size >> level
                if sibling < complete:
                    path.append(rows[level].get(sibling))
                elif sibling == complete and edge[level]:
                    path.append(edge[level])
            return tuple(path)

        return prove

    def _incomplete(self, height: int) -> list[bytes]:
        """Return, for each height, the root over the leaves beyond its last complete node; empty where none are."""
        edge = [b""]
        for level in range(height):
            root = edge[level]
            if self.size >> level & 1:
                left = self.rows[level].get((self.size >> level) - 1)
                root = _node(left, root) if root else left
            edge.append(root)
        return edge


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _completed(row: _Row, level: int, old_end: int) -> list[Tile]:
    tiles = []
    for index in range(old_end // TILE_WIDTH, row.end // TILE_WIDTH):
        at = index * TILE_WIDTH - row.first
        tiles.append(Tile(level, index, b"".join(row.nodes[at : at + TILE_WIDTH])))
    return tiles

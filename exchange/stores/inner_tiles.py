"""Whole hash tiles above the leaves', kept in memory: they are few, never change, and every proof needs some."""

from __future__ import annotations

from exchange.ledger.tiles import HashTile

#: Some 55 KB each. There is one for each 65,536 entries.
MOST = 64


class InnerTiles:
    """Those of one log that were read last, checked. The oldest go first."""

    def __init__(self, most: int = MOST) -> None:
        """Keep at most so many."""
        self._most = most
        self._tiles: dict[tuple[int, int], HashTile] = {}

    def get(self, level: int, index: int) -> HashTile | None:
        """Return a tile, where it is kept."""
        return self._tiles.get((level, index))

    def keep(self, level: int, index: int, tile: HashTile) -> None:
        """Keep a whole tile, unless it is one of leaf hashes: those are many."""
        if not level:
            return
        if len(self._tiles) >= self._most:
            del self._tiles[next(iter(self._tiles))]
        self._tiles[level, index] = tile

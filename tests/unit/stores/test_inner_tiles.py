"""Which hash tiles are kept."""

from __future__ import annotations

from exchange.ledger.tiles import HashTile
from exchange.stores.inner_tiles import InnerTiles


def test_the_newest_whole_tiles_above_the_leaves_are_kept() -> None:
    tiles, each = InnerTiles(most=2), [HashTile(bytes([at]) * 32) for at in range(4)]
    tiles.keep(0, 0, each[0])
    assert tiles.get(0, 0) is None
    for at, tile in enumerate(each):
        tiles.keep(1, at, tile)
    assert [tiles.get(1, at) for at in range(4)] == [None, None, each[2], each[3]]

"""The hub's growing tree against the naive recursion and the public verifier."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import Fatal
from exchange.ledger.merkle import EMPTY_ROOT, CompactRange
from exchange.ledger.proofs import verify_inclusion
from exchange.ledger.tiles import TILE_WIDTH, Tile, right_edge, tiles_for_size
from exchange.ledger.tree import Tree

Hashes = list[bytes]
MerkleTreeHash = Callable[[Sequence[bytes]], bytes]
TileKey = tuple[int, int, int]

#: Sizes at which a tile, or a tile of tiles, is almost, just and more than full.
EDGES = (0, 1, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537)


def tiles_of(leaf_hashes: Sequence[bytes]) -> dict[TileKey, bytes]:
    """Cut a tree into tiles by the definition in C2SP tlog-tiles, independently of `Tree`."""
    rows = [list(leaf_hashes)]
    while len(rows[-1]) >= TILE_WIDTH:
        below = rows[-1]
        whole = len(below) - len(below) % TILE_WIDTH
        rows.append([CompactRange().extend(below[at : at + 256]).root() for at in range(0, whole, 256)])
    return {
        (level, index, width): b"".join(rows[level][index * TILE_WIDTH : index * TILE_WIDTH + width])
        for level, index, width in tiles_for_size(len(leaf_hashes))
    }


def check_newest_proofs(tree: Tree, leaf_hashes: Hashes, start: int, *, sample: int = 20) -> None:
    """Check proofs of leaves [start, size): both ends and some between."""
    newest = range(start, tree.size)
    ends = {index for index in (start, start + 1, tree.size - 2, tree.size - 1) if index in newest}
    chosen = ends | set(random.Random(start).sample(newest, min(sample, len(newest))))
    root = tree.root()
    for index in chosen:
        proof = tree.prover()(index)
        verify_inclusion(leaf_hash=leaf_hashes[index], index=index, size=tree.size, proof=proof, root=root)


def test_every_size_up_to_600_leaf_by_leaf(leaf_hashes: Hashes, merkle_tree_hash: MerkleTreeHash) -> None:
    """Root, compact range, completed tiles and the newest proof at every size."""
    tree = Tree()
    assert tree.root() == EMPTY_ROOT
    done: list[Tile] = []
    for size in range(1, 601):
        extension = tree.extend([leaf_hashes[size - 1]])
        tree = extension.tree
        done.extend(extension.full_tiles)
        assert tree.size == size
        assert tree.root() == merkle_tree_hash(leaf_hashes[:size])
        check_newest_proofs(tree, leaf_hashes, size - 1)
    assert [(tile.level, tile.index) for tile in done] == [(0, 0), (0, 1)]


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.one_of(st.sampled_from(EDGES), st.integers(0, 3000)), min_size=1, max_size=6))
def test_groups_of_any_size(leaf_hashes: Hashes, sizes: list[int]) -> None:
    """Groups that end anywhere give the same tiles, root and valid proofs, and leave the old tree as it was."""
    tree, compact = Tree(), CompactRange()
    done: dict[TileKey, bytes] = {}
    for size in sorted(sizes):
        group = leaf_hashes[tree.size : size]
        before = (tree.size, tree.rows)
        extension = tree.extend(group)
        assert (tree.size, tree.rows) == before
        compact = compact.extend(group)
        start, tree = tree.size, extension.tree
        done |= {(tile.level, tile.index, TILE_WIDTH): tile.hashes for tile in extension.full_tiles}
        assert tree.compact_range() == compact
        check_newest_proofs(tree, leaf_hashes, start)
    expected = tiles_of(leaf_hashes[: tree.size])
    assert done == {key: data for key, data in expected.items() if key[2] == TILE_WIDTH}


@pytest.mark.parametrize("size", EDGES)
def test_a_tree_loaded_from_its_partial_tiles_goes_on_alike(leaf_hashes: Hashes, size: int) -> None:
    """After a restart: same root, same tiles to come, valid proofs for what is appended."""
    tiles = tiles_of(leaf_hashes[:size])
    loaded = Tree.load(size, lambda level, index, width: tiles[level, index, width])
    grown = Tree().extend(leaf_hashes[:size]).tree
    assert loaded.compact_range() == grown.compact_range()
    for count in (1, 2, 300):
        after_load, after_growth = (tree.extend(leaf_hashes[size : size + count]) for tree in (loaded, grown))
        assert after_load.full_tiles == after_growth.full_tiles
        assert after_load.tree.root() == after_growth.tree.root()
        check_newest_proofs(after_load.tree, leaf_hashes, size)


def test_a_refused_append_costs_nothing(leaf_hashes: Hashes) -> None:
    """Two different continuations of one tree value do not see each other."""
    tree = Tree().extend(leaf_hashes[:255]).tree
    refused = tree.extend(leaf_hashes[1000:1300])
    taken = tree.extend(leaf_hashes[255:600])
    assert refused.tree.root() != taken.tree.root()
    assert taken.tree.root() == CompactRange().extend(leaf_hashes[:600]).root()
    assert tree.root() == CompactRange().extend(leaf_hashes[:255]).root()


def test_an_empty_group_changes_nothing(leaf_hashes: Hashes) -> None:
    """A group of no leaves gives an equal tree and no tiles."""
    tree = Tree().extend(leaf_hashes[:300]).tree
    extension = tree.extend([])
    assert extension.tree == tree
    assert extension.full_tiles == ()


def test_the_edge_stays_small(leaf_hashes: Hashes) -> None:
    """Memory is bounded by the height of the tree, not by its size."""
    tree = Tree()
    for start in range(0, 66_000, 100):
        tree = tree.extend(leaf_hashes[start : start + 100]).tree
    assert sum(len(row.nodes) for row in tree.rows) <= len(tree.rows) * (2 * TILE_WIDTH + 100)
    assert len(tree.rows[0].nodes) <= 2 * TILE_WIDTH + 100


@pytest.mark.parametrize("index", [-1, 300, 10_000])
def test_a_leaf_outside_the_tree_has_no_proof(leaf_hashes: Hashes, index: int) -> None:
    """Never an IndexError, and never a proof of another leaf."""
    tree = Tree().extend(leaf_hashes[:300]).tree
    with pytest.raises(Fatal, match="outside the tree"):
        tree.prover()(index)


def test_an_old_leaf_is_not_proved_from_the_edge(leaf_hashes: Hashes) -> None:
    """What has left the window is refused, not guessed."""
    tree = Tree().extend(leaf_hashes[:2000]).tree.extend(leaf_hashes[2000:2001]).tree
    with pytest.raises(Fatal):
        tree.prover()(5)


@pytest.mark.parametrize("change", [-32, -1, 1, 32])
def test_a_stored_tile_of_the_wrong_length_is_fatal(leaf_hashes: Hashes, change: int) -> None:
    """A cut or padded tile in our own store is corruption, also where only a byte is missing."""
    tiles = tiles_of(leaf_hashes[:300])

    def damaged(level: int, index: int, width: int) -> bytes:
        data = tiles[level, index, width]
        return data[:change] if change < 0 else data + bytes(change)

    assert list(right_edge(300))
    with pytest.raises(Fatal):
        Tree.load(300, damaged)

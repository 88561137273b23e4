"""Proofs built from tiles verify; everything else, down to one bit, does not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import Reason, Rejected, VerificationFailed
from exchange.ledger.merkle import EMPTY_ROOT, CompactRange
from exchange.ledger.proofs import (
    build,
    consistency_nodes,
    inclusion_nodes,
    range_nodes,
    tiles_needed,
    verify_consistency,
    verify_inclusion,
)
from exchange.ledger.tiles import TILE_WIDTH, HashTile, tiles_for_size

Hashes = list[bytes]
TileKey = tuple[int, int, int]

SMALL = 80
BIG_SIZES = (255, 256, 257, 600, 65_535, 65_536, 65_537, 66_000)


class Log:
    """A tree as its rows, from which any tile of any of its sizes can be cut."""

    def __init__(self, leaf_hashes: Sequence[bytes]) -> None:
        """Hash every level once."""
        self.leaf_hashes = leaf_hashes
        self.rows = [list(leaf_hashes)]
        while len(self.rows[-1]) >= TILE_WIDTH:
            below = self.rows[-1]
            whole = len(below) - len(below) % TILE_WIDTH
            self.rows.append([CompactRange().extend(below[at : at + 256]).root() for at in range(0, whole, 256)])

    def root(self, size: int) -> bytes:
        """Return the root at a size."""
        return CompactRange().extend(self.leaf_hashes[:size]).root()

    def tile(self, ref: TileKey) -> bytes:
        """Return the tile, exactly as wide as named."""
        level, index, width = ref
        return b"".join(self.rows[level][index * TILE_WIDTH : index * TILE_WIDTH + width])

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Build an inclusion proof from exactly the tiles it says it needs."""
        return self._build(list(inclusion_nodes(index, size)), size)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Build a consistency proof from exactly the tiles it says it needs."""
        return self._build(list(consistency_nodes(old, new)), new)

    def _build(self, parts: list[list[tuple[int, int]]], size: int) -> tuple[bytes, ...]:
        needed = tiles_needed(parts, size)
        assert needed <= set(tiles_for_size(size))
        return build(parts, size, {ref: HashTile(self.tile(ref)) for ref in needed}.__getitem__)


@pytest.fixture(scope="module")
def log(leaf_hashes: Hashes) -> Log:
    """One big log for all tests of the module."""
    return Log(leaf_hashes)


def flipped(data: bytes, bit: int) -> bytes:
    """Return the bytes with one bit changed."""
    bit %= len(data) * 8
    return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")


def refuse_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Assert that an inclusion proof is refused as one."""
    with pytest.raises(VerificationFailed) as caught:
        verify_inclusion(leaf_hash=leaf_hash, index=index, size=size, proof=proof, root=root)
    assert caught.value.reason is Reason.BAD_PROOF


def test_every_inclusion_proof_of_small_trees(log: Log) -> None:
    """Every leaf of every size; its proof holds for no other leaf index and no other length."""
    for size in range(1, SMALL):
        root = log.root(size)
        for index in range(size):
            leaf, proof = log.leaf_hashes[index], log.inclusion(index, size)
            verify_inclusion(leaf_hash=leaf, index=index, size=size, proof=proof, root=root)
            refuse_inclusion(leaf, index, size, (*proof, root), root)
            refuse_inclusion(leaf, index ^ 1, size, proof, root)
            if proof:
                refuse_inclusion(leaf, index, size, proof[:-1], root)


def test_every_consistency_proof_of_small_trees(log: Log) -> None:
    """Every pair of sizes; no proof is longer or shorter than it must be."""
    roots = [log.root(size) for size in range(SMALL)]
    for new in range(SMALL):
        for old in range(new + 1):
            sizes = {"old_size": old, "new_size": new}
            proof = log.consistency(old, new)
            verify_consistency(**sizes, old_root=roots[old], new_root=roots[new], proof=proof)
            for wrong in ((*proof, roots[new]), proof[:-1]):
                if wrong == proof:
                    continue
                with pytest.raises(VerificationFailed):
                    verify_consistency(**sizes, old_root=roots[old], new_root=roots[new], proof=wrong)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), bit=st.integers(0, 2**16))
def test_one_bit_breaks_an_inclusion_proof(log: Log, data: st.DataObject, bit: int) -> None:
    """A changed bit in leaf, root or any hash of the proof is refused."""
    size = data.draw(st.one_of(st.sampled_from(BIG_SIZES), st.integers(1, 1500)))
    index = data.draw(st.integers(0, size - 1))
    leaf, root, proof = log.leaf_hashes[index], log.root(size), list(log.inclusion(index, size))
    verify_inclusion(leaf_hash=leaf, index=index, size=size, proof=proof, root=root)
    refuse_inclusion(flipped(leaf, bit), index, size, proof, root)
    refuse_inclusion(leaf, index, size, proof, flipped(root, bit))
    if proof:
        at = bit % len(proof)
        proof[at] = flipped(proof[at], bit)
        refuse_inclusion(leaf, index, size, proof, root)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), bit=st.integers(0, 2**16))
def test_one_bit_breaks_a_consistency_proof(log: Log, data: st.DataObject, bit: int) -> None:
    """A changed bit in either root or any hash of the proof is refused."""
    new = data.draw(st.one_of(st.sampled_from(BIG_SIZES), st.integers(2, 1500)))
    old = data.draw(st.integers(1, new - 1))
    old_root, new_root, proof = log.root(old), log.root(new), list(log.consistency(old, new))

    def verify(old_root: bytes, new_root: bytes, proof: list[bytes]) -> None:
        verify_consistency(old_size=old, new_size=new, old_root=old_root, new_root=new_root, proof=proof)

    verify(old_root, new_root, proof)
    at = bit % len(proof)
    broken = [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]]
    for case in (
        (flipped(old_root, bit), new_root, proof),
        (old_root, flipped(new_root, bit), proof),
        (old_root, new_root, broken),
    ):
        with pytest.raises(VerificationFailed) as caught:
            verify(*case)
        assert caught.value.reason is Reason.BAD_PROOF


@given(
    index=st.integers(-2, 2**70),
    size=st.integers(-2, 2**70),
    proof=st.lists(st.binary(max_size=40), max_size=70),
    root=st.binary(max_size=40),
)
def test_any_arguments_are_a_proof_or_refused(index: int, size: int, proof: list[bytes], root: bytes) -> None:
    """Hostile sizes, lengths and hashes raise `VerificationFailed` and nothing else."""
    with suppress(VerificationFailed):
        verify_inclusion(leaf_hash=root, index=index, size=size, proof=proof, root=root)
    with suppress(VerificationFailed):
        verify_consistency(old_size=index, new_size=size, old_root=root, new_root=root, proof=proof)


def test_from_the_empty_tree_there_is_nothing_to_prove(log: Log) -> None:
    """The proof is empty, the old root that of the empty tree, the new one any root."""
    verify_consistency(old_size=0, new_size=5, old_root=EMPTY_ROOT, new_root=log.root(5), proof=())
    for old_root, proof in ((log.root(1), ()), (EMPTY_ROOT, (EMPTY_ROOT,))):
        with pytest.raises(VerificationFailed):
            verify_consistency(old_size=0, new_size=5, old_root=old_root, new_root=log.root(5), proof=proof)


def test_a_wider_tile_serves_and_a_narrower_one_is_refused(log: Log) -> None:
    """A log that has grown holds the fuller version of a tile; a truncated one must not become a proof."""
    parts = list(inclusion_nodes(3, 300))
    wide = build(parts, 300, lambda ref: HashTile(log.tile((ref[0], ref[1], TILE_WIDTH))))
    assert wide == log.inclusion(3, 300)
    for width in (0, 1, 17):
        short = {ref: HashTile(log.tile(ref)).first(width) for ref in tiles_needed(parts, 300)}
        with pytest.raises(Rejected) as caught:
            build(parts, 300, short.__getitem__)
        assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 4), (4, 4)])
def test_no_plan_for_a_leaf_outside_the_tree(index: int, size: int) -> None:
    """A caller's index reaches the planner unchecked: it is refused there."""
    with pytest.raises(Rejected):
        inclusion_nodes(index, size)


@pytest.mark.parametrize(("old", "new"), [(-1, 4), (5, 4)])
def test_no_plan_for_a_shrinking_tree(old: int, new: int) -> None:
    """The same for sizes."""
    with pytest.raises(Rejected):
        consistency_nodes(old, new)


@pytest.mark.parametrize("size", [1, 2, 3, *BIG_SIZES])
def test_a_compact_range_is_read_from_tiles(log: Log, size: int) -> None:
    """What hello sends a new subscriber, for any size of the log's past."""
    parts = [[node] for node in range_nodes(0, size)]
    hashes = build(parts, size, lambda ref: HashTile(log.tile(ref)))
    assert CompactRange.of(size, hashes) == CompactRange().extend(log.leaf_hashes[:size])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_hashes_of_other_lengths_are_refused(length: int) -> None:
    """An empty leaf hash equals an empty root: the length is checked before anything is compared."""
    refuse_inclusion(bytes(length), 0, 1, (), bytes(length))
    with pytest.raises(VerificationFailed):
        verify_consistency(old_size=1, new_size=1, old_root=bytes(length), new_root=bytes(length), proof=())

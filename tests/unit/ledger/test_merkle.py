"""Hashing and compact ranges against the naive recursion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Reason, Rejected
from exchange.ledger.merkle import EMPTY_ROOT, CompactRange

Hashes = list[bytes]
MerkleTreeHash = Callable[[Sequence[bytes]], bytes]


def test_the_root_of_every_size_up_to_600(leaf_hashes: Hashes, merkle_tree_hash: MerkleTreeHash) -> None:
    """Growing leaf by leaf gives the RFC's root at every size."""
    compact = CompactRange()
    assert compact.root() == EMPTY_ROOT
    for size in range(1, 601):
        compact = compact.extend([leaf_hashes[size - 1]])
        assert compact.root() == merkle_tree_hash(leaf_hashes[:size])
        assert CompactRange.of(size, compact.hashes) == compact


@given(cuts=st.lists(st.integers(0, 2000), max_size=6))
def test_how_leaves_are_grouped_does_not_matter(
    leaf_hashes: Hashes, merkle_tree_hash: MerkleTreeHash, cuts: list[int]
) -> None:
    """Any split of the same leaves into groups ends in the same range, and the parts are never changed."""
    bounds = [0, *sorted(cuts), 2000]
    compact = CompactRange()
    for start, end in pairwise(bounds):
        before = compact.hashes
        longer = compact.extend(leaf_hashes[start:end])
        assert compact.hashes == before
        compact = longer
    assert compact.size == 2000
    assert compact.root() == merkle_tree_hash(leaf_hashes[:2000])


@given(size=st.integers(-3, 40), hashes=st.lists(st.binary(min_size=31, max_size=33), max_size=6))
def test_a_range_of_another_shape_is_malformed(size: int, hashes: list[bytes]) -> None:
    """One 32-byte hash for each bit of the size, or nothing."""
    if size >= 0 and len(hashes) == size.bit_count() and all(len(hash_) == 32 for hash_ in hashes):
        assert CompactRange.of(size, hashes).size == size
        return
    with pytest.raises(Rejected) as caught:
        CompactRange.of(size, hashes)
    assert caught.value.reason is Reason.MALFORMED

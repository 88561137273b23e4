"""The oracle of the ledger tests: RFC 6962 section 2.1 written out naively, without any code of the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import pytest

MerkleTreeHash = Callable[[Sequence[bytes]], bytes]


def _merkle_tree_hash(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return MTH by the recursion of the RFC."""
    if not leaf_hashes:
        return sha256(b"").digest()
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    split = 1
    while split * 2 < len(leaf_hashes):
        split *= 2
    left, right = _merkle_tree_hash(leaf_hashes[:split]), _merkle_tree_hash(leaf_hashes[split:])
    return sha256(b"\x01" + left + right).digest()


@pytest.fixture(scope="session")
def merkle_tree_hash() -> MerkleTreeHash:
    """The naive root over leaf hashes."""
    return _merkle_tree_hash


@pytest.fixture(scope="session")
def leaf_hashes() -> list[bytes]:
    """66,000 leaf hashes: a little more than one full level-1 tile (65,536)."""
    return [sha256(b"\x00leaf %d" % number).digest() for number in range(66_000)]

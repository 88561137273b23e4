"""RFC 6962 section 2 hashing, and the compact range.

A compact range is the least that must be kept to go on hashing: the roots of the full subtrees that cover the first
``size`` leaves, largest first. Extending it by leaves and asking for its root needs nothing else, so a subscriber
that holds one recomputes the root of every checkpoint it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from exchange.errors import Reason, Rejected

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Return SHA-256(0x00 || leaf)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def fold_right(hashes: Sequence[bytes]) -> bytes:
    """Return the root over subtree roots given left to right, joined from the right. EMPTY_ROOT for none."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


@dataclass(frozen=True, slots=True)
class CompactRange:
    """Roots of the full subtrees that cover leaves [0, size), left to right: one for each bit set in ``size``."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, size: int, hashes: Iterable[bytes]) -> CompactRange:
        """Return the range, checked for shape. Raises `Rejected` (MALFORMED)."""
        taken = tuple(hashes)
        if size < 0 or len(taken) != size.bit_count() or any(len(hash_) != HASH_BYTES for hash_ in taken):
            raise Rejected(Reason.MALFORMED, "compact range: its hashes do not fit its size")
        return cls(size, taken)

    def extend(self, leaf_hashes: Iterable[bytes]) -> CompactRange:
        """Return the range with these leaves (as leaf hashes) appended."""
        stack = list(self.hashes)
        size = self.size
        for hash_ in leaf_hashes:
            node = hash_
            carry = size
            while carry & 1:
                node = sha256(b"\x01" + stack.pop() + node).digest()
                carry >>= 1
            stack.append(node)
            size += 1
        return CompactRange(size, tuple(stack))

    def root(self) -> bytes:
        """Return the RFC 6962 root of the tree of this size."""
        return fold_right(self.hashes)

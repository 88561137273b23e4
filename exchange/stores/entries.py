"""What must hold of entries and their bundles, whichever store they go to or come from."""

from __future__ import annotations

from pathlib import Path

from exchange.codec import frame_leaf
from exchange.errors import Fatal, Rejected
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.tiles import decode_bundle
from exchange.ports import Group, TreeHead


def hash_of_leaf_in(frame: bytes) -> bytes:
    """Return the leaf hash of the leaf inside a frame; empty, which no leaf hash is, when there is none."""
    try:
        return leaf_hash(frame_leaf(frame))
    except Rejected:
        return b""


def check_follows(group: Group, expected: TreeHead) -> None:
    """Refuse what would be a gap for ever. The root is the caller's: it alone holds the tree. Raises `Fatal`."""
    first, last, count = group.entries[0].index, group.entries[-1].index, len(group.entries)
    if first != expected.size or last != first + count - 1 or group.head.size != first + count:
        raise Fatal(f"a group of {count} entries from {first} to {last} does not follow size {expected.size}")


def read_bundle(path: Path) -> tuple[bytes, ...]:
    """Return the leaves in a bundle's file, which nobody vouches for. Raises `Fatal`, and `Rejected` (MALFORMED)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Fatal(f"{path}: an entry bundle is missing, or cannot be read") from error
    return decode_bundle(data)

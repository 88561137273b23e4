"""What the contract tests build with: real groups on a real tree, and a naive tree to compare with.

The oracle (`naive_root`, `naive_tile`) is RFC 6962 written out with nothing but SHA-256, so that a mistake in the
package's tree cannot hide in its own test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256, shake_128
from typing import Protocol

from exchange.codec import erased_frame, frame_leaf, full_frame
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.tree import Tree
from exchange.ports import Group, History, LogStore, StoredEntry, TreeHead
from exchange.views.lost import Recovering

ORIGIN = "example/news"
KEY = SigningKey(bytes(range(32)))
WIDTH = 256


class Store(LogStore, History, Recovering, Protocol):
    """All sides of one log."""


def record(seed: str, size: int = 212) -> bytes:
    """Return a record that no other entry has, the same each time."""
    return b"\x0a\x10" + shake_128(seed.encode()).digest(size - 2)


def entry(index: int, *, seed: str = "", record_bytes: int = 212) -> StoredEntry:
    """Return the entry at an index; another seed gives another statement in the same place."""
    name = f"{seed}/{index}"
    leaf = b"leaf of " + name.encode() + shake_128(b"leaf " + name.encode()).digest(200)
    frame = full_frame(leaf, [record(name, record_bytes)], b"")
    return StoredEntry(index, sha256(name.encode()).digest(), leaf_hash(leaf), 1_000 + index, frame)


def erased(of: StoredEntry) -> bytes:
    """Return the frame that replaces an entry's when its records are erased."""
    return erased_frame(frame_leaf(of.frame))


@dataclass(frozen=True, slots=True)
class Chain:
    """What a log should hold: the entries so far and their tree. Growing it returns a new one."""

    tree: Tree = field(default_factory=Tree)
    entries: tuple[StoredEntry, ...] = ()

    @property
    def size(self) -> int:
        return self.tree.size

    @property
    def head(self) -> TreeHead:
        return TreeHead(self.tree.size, self.tree.root())

    @property
    def leaf_hashes(self) -> list[bytes]:
        return [each.leaf_hash for each in self.entries]

    @property
    def leaves(self) -> list[bytes]:
        return [frame_leaf(each.frame) for each in self.entries]

    def grow(self, count: int = 1, *, seed: str = "", record_bytes: int = 212) -> tuple[Chain, Group]:
        """Return the chain with new entries, and the group that appends them."""
        new = tuple(entry(index, seed=seed, record_bytes=record_bytes) for index in range(self.size, self.size + count))
        return self.grow_by(new)

    def grow_by(self, new: tuple[StoredEntry, ...]) -> tuple[Chain, Group]:
        """As `grow`, with these entries."""
        extension = self.tree.extend([each.leaf_hash for each in new])
        head = TreeHead(extension.tree.size, extension.tree.root())
        group = Group(new, extension.full_tiles, head, directory_size=1 + self.size // 100)
        return Chain(extension.tree, self.entries + new), group


def checkpoint(head: TreeHead) -> bytes:
    """Return the signed checkpoint of a head: the same bytes each time."""
    return sign_checkpoint(Checkpoint(ORIGIN, head.size, head.root), KEY)


async def seal(store: LogStore, head: TreeHead) -> None:
    """Seal a head with its checkpoint."""
    await store.seal(head, checkpoint(head))


async def commit(store: LogStore, chain: Chain, count: int = 1, *, seed: str = "", record_bytes: int = 212) -> Chain:
    """Append and seal a group; return the chain that the store now holds."""
    grown, group = chain.grow(count, seed=seed, record_bytes=record_bytes)
    await store.append(chain.head, group)
    await seal(store, grown.head)
    return grown


async def read_all(store: LogStore, start: int = 0) -> list[StoredEntry]:
    """Return every sealed entry from ``start``, whatever pieces the store hands out."""
    found: list[StoredEntry] = []
    while part := await store.read(start + len(found), 1_000):
        found += part
    return found


def naive_levels(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """Return the complete nodes of each height, lowest first."""
    levels = [list(leaf_hashes)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append(
            [sha256(b"\x01" + below[at] + below[at + 1]).digest() for at in range(0, len(below) - len(below) % 2, 2)]
        )
    return levels


def naive_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return MTH of RFC 6962 section 2.1 by its recursion; where a subtree is complete, without repeating work."""
    levels = naive_levels(leaf_hashes)

    def root(start: int, end: int) -> bytes:
        if start == end:
            return sha256(b"").digest()
        size = end - start
        if size & (size - 1) == 0:
            return levels[size.bit_length() - 1][start // size]
        split = 1 << ((size - 1).bit_length() - 1)
        return sha256(b"\x01" + root(start, start + split) + root(start + split, end)).digest()

    return root(0, len(leaf_hashes))


def naive_tile(leaf_hashes: Sequence[bytes], level: int, index: int, width: int) -> bytes:
    """Return a hash tile: complete nodes of height 8 x level."""
    levels = naive_levels(leaf_hashes)
    nodes = levels[8 * level] if 8 * level < len(levels) else []
    return b"".join(nodes[index * WIDTH : index * WIDTH + width])


async def tile(store: Store, level: int, index: int, width: int) -> bytes:
    """Return the hashes of one tile that a store holds."""
    (found,) = await store.tiles([(level, index, width)])
    return found.hashes


def naive_bundle(leaves: Sequence[bytes], index: int) -> bytes:
    """Return an entry bundle, written out from C2SP tlog-tiles."""
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves[index * WIDTH : (index + 1) * WIDTH])

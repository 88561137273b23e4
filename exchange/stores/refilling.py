"""Putting a log's entries back, byte for byte: into an empty store from a backup, or after the last one that is left.

No tree is signed that was not signed before: the entries are held against a checkpoint that is at hand before the
first of them is written, so every root on the way is of that tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from exchange import codec
from exchange.domain.statement import statement_id
from exchange.errors import Reason, VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.tree import Tree
from exchange.ports import Group, LogStore, StoredEntry, TreeHead

_GROUP_ENTRIES = 2_048
_GROUP_BYTES = 8 * 1024 * 1024


def check_leaves(leaves: Iterable[bytes], checkpoint: Checkpoint, heads: Iterable[TreeHead]) -> None:
    """Return if leaves, from 0 on, make a checkpoint, and on the way each of these trees. Raises `VerificationFailed`.

    Each leaf must be of its own place and of a form that this release knows. Trees beyond the checkpoint are not asked.
    """
    wanted: dict[int, set[bytes]] = {}
    for size, root in [(checkpoint.size, checkpoint.root), *((head.size, head.root) for head in heads)]:
        wanted.setdefault(size, set()).add(root)
    range_ = CompactRange()
    _compare(checkpoint.origin, range_, wanted)
    for leaf in leaves:
        if codec.decode_leaf(leaf).index != range_.size:
            raise VerificationFailed(Reason.BAD_PROOF, f"{checkpoint.origin}: entry {range_.size} says another place")
        range_ = range_.extend((leaf_hash(leaf),))
        _compare(checkpoint.origin, range_, wanted)
    if range_.size != checkpoint.size:
        raise VerificationFailed(Reason.BAD_PROOF, f"{checkpoint.origin}: entries are missing from {range_.size} on")


def _compare(origin: str, range_: CompactRange, wanted: Mapping[int, set[bytes]]) -> None:
    if wanted.get(range_.size, set()) - {range_.root()}:
        raise VerificationFailed(
            Reason.BAD_PROOF, f"{origin}: the first {range_.size} entries are not those that were signed"
        )


async def refill(
    store: LogStore,
    tree: Tree,
    frames: Iterator[bytes],
    origin: str,
    key: SigningKey,
    written: Callable[[int], None] = lambda _: None,
) -> Tree:
    """Append frames to a store that holds this tree, all of it sealed; return the tree with them.

    Their leaves have been checked (`check_leaves`). Each group is sealed with a checkpoint, as each must be: those on
    the way are of the same tree, and leave this machine in no way. ``written`` hears of each group's entries.
    """
    group: list[bytes] = []
    held = 0
    for frame in frames:
        group.append(frame)
        held += len(frame)
        if len(group) >= _GROUP_ENTRIES or held > _GROUP_BYTES:
            tree = await _append(store, tree, group, origin, key)
            written(len(group))
            group, held = [], 0
    if group:
        tree = await _append(store, tree, group, origin, key)
        written(len(group))
    return tree


async def _append(store: LogStore, tree: Tree, frames: list[bytes], origin: str, key: SigningKey) -> Tree:
    entries = []
    directory_size = 0
    for index, frame in enumerate(frames, start=tree.size):
        leaf = codec.frame_leaf(frame)
        read = codec.decode_leaf(leaf)
        directory_size = read.directory_size
        entries.append(StoredEntry(index, statement_id(read.payload), leaf_hash(leaf), read.received_at_ms, frame))
    extension = tree.extend([entry.leaf_hash for entry in entries])
    grown = extension.tree
    head = TreeHead(grown.size, grown.root())
    before = TreeHead(tree.size, tree.root())
    await store.append(before, Group(tuple(entries), extension.full_tiles, head, directory_size))
    await store.seal(head, sign_checkpoint(Checkpoint(origin, head.size, head.root), key))
    return grown

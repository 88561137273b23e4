"""What must hold before a log's head is signed again, and the tree to go on from.

A file can be an old copy, another log's, or damaged where no transaction would notice. So nothing that a head says is
believed: the mark tells what was released before, and the root is made anew from tiles and entries. Sealing signs
what was recomputed here, never what was merely read.
"""

from __future__ import annotations

from collections.abc import Sequence

from exchange import codec
from exchange.errors import Fatal, Reason, VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, log_verifier, open_checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.proofs import verify_consistency
from exchange.ledger.tiles import TILE_WIDTH, decode_bundle, right_edge
from exchange.ledger.tree import Tree
from exchange.ports import Head, History, SealedMark, TreeHead
from exchange.proving import consistency_proof

#: New entries beyond which tiles are quicker to read.
_MANY = 4_096
_DAMAGED = "the file is damaged: bring back a good copy of this log; `exchange verify` tells which one is"


async def check_mark(
    origin: str, head: Head, history: History, mark: SealedMark, key: SigningKey, *, adopt: bool
) -> None:
    """Return if the store holds everything that this machine has released, and the same.

    Raises `Fatal` (ROLLED_BACK). ``adopt`` accepts a log that this machine has no mark of.
    """
    note = await mark.load()
    if note is None:
        if head.durable.size and not adopt:
            raise Fatal(
                f"{origin}: this machine has no record of the log's last checkpoint",
                reason=Reason.ROLLED_BACK,
                hint="compare the log with a member's copy, then start once with --adopt",
            )
        return
    seen = open_checkpoint(note, log_verifier(origin, key.public_key))
    if seen.size > head.durable.size:
        raise Fatal(
            f"{origin}: the store ends at {head.durable.size}, but {seen.size} was released",
            reason=Reason.ROLLED_BACK,
            hint="this is an old copy: `exchange recover` brings back what is missing; until then nothing is signed",
        )
    if head.sealed.size < seen.size < head.durable.size:
        raise _fork(origin)
    if head.sealed.size >= seen.size:
        proof = await consistency_proof(history, seen.size, head.sealed.size) if seen.size else ()
        _compare(origin, seen, head.sealed, proof)
    elif head.durable.size == seen.size:
        _compare(origin, seen, head.durable, ())


def _compare(origin: str, seen: Checkpoint, now: TreeHead, proof: Sequence[bytes]) -> None:
    try:
        verify_consistency(old_size=seen.size, new_size=now.size, old_root=seen.root, new_root=now.root, proof=proof)
    except VerificationFailed as error:
        raise _fork(origin) from error


def _fork(origin: str) -> Fatal:
    return Fatal(
        f"{origin}: the store's tree is not the one whose checkpoint was released",
        reason=Reason.ROLLED_BACK,
        hint="do not serve this copy",
    )


async def load_tree(origin: str, head: Head, history: History) -> Tree:
    """Return the tree of the durable head, made of the sealed one's tiles and of the entries after it.

    Raises `Fatal` when either does not make the root that the head states.
    """
    edge = list(right_edge(head.sealed.size))
    tiles = dict(zip(edge, await history.tiles(edge), strict=True))
    tree = Tree.load(head.sealed.size, lambda *ref: tiles[ref].hashes)
    if tree.root() != head.sealed.root:
        raise Fatal(f"{origin}: the stored hashes do not make the stored root", hint=_DAMAGED)
    if head.sealed != head.durable:
        left = await history.durable_entries(head.sealed.size, head.durable.size)
        tree = tree.extend([entry.leaf_hash for entry in left]).tree
    if TreeHead(tree.size, tree.root()) != head.durable:
        raise Fatal(f"{origin}: the unsealed entries do not make the stored root", hint=_DAMAGED)
    return tree


async def continued(origin: str, tree: Tree, head: Head, history: History) -> Tree:
    """Return the tree of the durable head, which continues this one. Raises `Fatal` (ROLLED_BACK) where it does not."""
    if head.durable.size < tree.size:
        raise _fork(origin)
    if tree.size < head.floor or head.durable.size - tree.size > _MANY:
        now = await load_tree(origin, head, history)
        proof = await consistency_proof(history, tree.size, head.sealed.size) if tree.size else ()
        _compare(origin, Checkpoint(origin, tree.size, tree.root()), head.sealed, proof)
        return now
    new = await history.durable_entries(tree.size, head.durable.size)
    now = tree.extend([entry.leaf_hash for entry in new]).tree
    if TreeHead(now.size, now.root()) != head.durable:
        raise _fork(origin)
    return now


async def check_head(origin: str, head: Head, history: History, key: SigningKey) -> None:
    """Return if the rest of the head is what its tree and its last entry make of it. Raises `Fatal`.

    The checkpoint is served as it is stored, and the time is what the next entry's may not fall below.
    """
    sealed = Checkpoint(origin, head.sealed.size, head.sealed.root)
    if head.checkpoint and head.checkpoint != sign_checkpoint(sealed, key):
        raise Fatal(f"{origin}: the stored checkpoint is not that of the sealed size", hint=_DAMAGED)
    last = (0, 0)
    if head.durable.size:
        leaf = codec.decode_leaf(await _last_leaf(head, history))
        last = (leaf.received_at_ms, leaf.directory_size)
    if last != (head.last_received_at_ms, head.last_directory_size):
        raise Fatal(f"{origin}: the head's time is not that of the last entry", hint=_DAMAGED)


async def _last_leaf(head: Head, history: History) -> bytes:
    size = head.durable.size
    if head.floor < size:
        (entry,) = await history.durable_entries(size - 1, size)
        return codec.frame_leaf(entry.frame)
    return decode_bundle(await history.bundle((size - 1) // TILE_WIDTH))[-1]

"""A community's key epochs as its ledger has them: each leaf proven, each signature checked. The hub is not believed.

What a hub can do is keep one back. A key that it does not show is not used; the end of one that it does not show is
told by the service, which cannot evaluate under it any more. Where a ledger has two announcements of one number (both
can get in within a moment), a hub could show one here and one there: only whoever reads the whole log would see it.
"""

from __future__ import annotations

from collections.abc import Sequence

from exchange.codec import Delivered
from exchange.domain.directory import Directory
from exchange.domain.key_epochs import KeyEpochs
from exchange.errors import Reason, VerificationFailed
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.note import Verifier
from exchange.ledger.proofs import verify_inclusion
from exchange_client.verify import check_entry
from exchange_client.wire import ProvenLeaf


def fold_key_epochs(
    origin: str, directory: Directory, verifier: Verifier, leaves: Sequence[ProvenLeaf], checkpoint: bytes
) -> KeyEpochs:
    """Return the fold of these leaves, once all of them are in the tree of the checkpoint. Raises `VerificationFailed`.

    The directory must have been read up to the size that they name.
    """
    tree = open_checkpoint(checkpoint, verifier)
    epochs = KeyEpochs()
    behind = -1
    for proven in leaves:
        index = proven.index
        if not behind < index < tree.size:
            raise VerificationFailed(Reason.BAD_PROOF, "leaves about key epochs are not in their order")
        verify_inclusion(
            leaf_hash=leaf_hash(proven.leaf), index=index, size=tree.size, proof=proven.proof, root=tree.root
        )
        entry = check_entry(directory, origin, index, Delivered.bare(proven.leaf))
        epochs.apply(index, entry.header)
        behind = index
    return epochs

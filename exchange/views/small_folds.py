"""The small folds of a community's log: key epochs, guidance and elections, each made of a few leaves, held in memory.

The fold on disk (`exchange.ports.Facts`) notes where these leaves lie. So a start reads them alone, each held against
the log's tree, and not one leaf of all the others; what comes afterwards is passed on by `exchange.views.life`, which
reads every leaf anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from exchange import codec
from exchange.domain.bodies import Election, KeyEpoch
from exchange.domain.elections import Elections
from exchange.domain.guidance import Guidances
from exchange.domain.guidance_body import Guidance
from exchange.domain.key_epochs import KeyEpochs
from exchange.domain.kinds import FEW
from exchange.domain.statement import Header, statement_id
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.proofs import verify_inclusion
from exchange.ports import ToldEntry
from exchange.proving import inclusion_proof
from exchange.views.replay import Leaves


class SmallFolds:
    """Of one community's log."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self.key_epochs = KeyEpochs()
        self.guidances = Guidances()
        self.elections = Elections()

    @classmethod
    async def load(cls, leaves: Leaves, indexes: Sequence[int], tree: CompactRange) -> SmallFolds:
        """Return the folds of these leaves, in order. Raises `VerificationFailed` where one is not in this tree."""
        folds, root = cls(), tree.root()
        for index in indexes:
            (leaf,) = await leaves.read(index, 1)
            proof = await inclusion_proof(leaves.history, index, tree.size)
            verify_inclusion(leaf_hash=leaf_hash(leaf), index=index, size=tree.size, proof=proof, root=root)
            said = codec.decode_leaf(leaf)
            header = codec.decode_header(said.payload, strict=False)
            folds._apply(index, header, said.received_at_ms, statement_id(said.payload))
        return folds

    def take(self, entries: Sequence[ToldEntry]) -> None:
        """Take the next entries, of all kinds."""
        for entry in entries:
            if entry.header.kind in FEW:
                self._apply(entry.index, entry.header, entry.received_at_ms, entry.statement_id)

    def _apply(self, index: int, header: Header, received_at_ms: int, id_: bytes) -> None:
        match header.body:
            case KeyEpoch():
                self.key_epochs.apply(index, header)
            case Guidance():
                self.guidances.apply(index, header, received_at_ms)
            case Election() as body:
                self.elections.apply(index, id_, body)
            case _:
                pass

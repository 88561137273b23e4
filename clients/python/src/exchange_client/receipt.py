"""Receipts: checked before anyone hears of them."""

from __future__ import annotations

from dataclasses import dataclass

from exchange import codec
from exchange.domain.statement import Statement, statement_id
from exchange.errors import ExchangeError, Reason, VerificationFailed
from exchange.ledger.checkpoint import format_tlog_proof, open_checkpoint
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.note import Verifier
from exchange.ledger.proofs import verify_inclusion
from exchange_client.verify import Distrusted
from exchange_client.wire import WireReceipt


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a statement is in the ledger: verified, and worth keeping."""

    index: int
    statement_id: bytes
    leaf: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes
    repeated: bool

    def tlog_proof(self) -> bytes:
        """Return the receipt as a C2SP ``.tlog-proof`` file: what to hand to an auditor."""
        return format_tlog_proof(self.index, self.proof, self.checkpoint)


def verify_receipt(receipt: WireReceipt, statement: Statement, verifier: Verifier) -> Receipt:
    """Return the receipt once it proves that exactly this statement is in the log. Raises `VerificationFailed`."""
    leaf = codec.decode_leaf(receipt.leaf)
    if leaf.payload != statement.payload or leaf.signatures != statement.signatures or leaf.index != receipt.index:
        raise VerificationFailed(Reason.BAD_PROOF, "the receipt's leaf is not the statement that was sent")
    checkpoint = open_checkpoint(receipt.checkpoint, verifier)
    verify_inclusion(
        leaf_hash=leaf_hash(receipt.leaf),
        index=receipt.index,
        size=checkpoint.size,
        proof=receipt.proof,
        root=checkpoint.root,
    )
    return Receipt(
        receipt.index,
        statement_id(statement.payload),
        receipt.leaf,
        receipt.proof,
        receipt.checkpoint,
        receipt.repeated,
    )


def receipt_of(receipt: WireReceipt, statement: Statement, verifier: Verifier) -> Receipt | Distrusted:
    """Return the receipt as `verify_receipt` does, or that the hub cannot be trusted."""
    try:
        return verify_receipt(receipt, statement, verifier)
    except ExchangeError as error:
        message = f"the receipt does not hold: {error.message}"
        return Distrusted(error.reason, message, hint=_LYING, index=receipt.index)


_LYING = "the hub's answer does not hold: keep it, do not trust this hub, and ask other members what they see"

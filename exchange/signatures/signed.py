"""A header made into a statement: serialised once, and signed by one key."""

from __future__ import annotations

from typing import Protocol

from exchange import codec
from exchange.domain.statement import HEADER_TYPE, Header, Signature, Statement
from exchange.ledger.dsse import pae


class Signer(Protocol):
    """A signing key, or what stands for the one in use."""

    @property
    def key_id(self) -> bytes:
        """Id of the key."""

    def sign(self, message: bytes) -> bytes:
        """Sign with it."""


def signed(
    header: Header, signer: Signer, *, records: tuple[bytes, ...] = (), audience_record: bytes = b""
) -> Statement:
    """Return the statement with this header, signed."""
    payload = codec.encode_header(header)
    signature = Signature(signer.key_id, signer.sign(pae(HEADER_TYPE, payload)))
    return Statement(payload, (signature,), records, audience_record)

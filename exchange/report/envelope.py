"""A report in its DSSE envelope: the bytes, and one signature by a member's key over them and their type.

The type is another than that of headers, so that neither can ever be taken for the other.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from exchange.errors import Reason, Rejected
from exchange.ledger import ed25519
from exchange.ledger.dsse import pae
from exchange.report.payload import ENVELOPE_FILE, MAX_BYTES
from exchange.signatures.signed import Signer

PAYLOAD_TYPE = "application/vnd.signal-exchange.progress-report.v1+json"


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _Json(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    payloadType: str  # noqa: N815 - the name that DSSE gives it
    signatures: tuple[_Signature, ...]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A report's bytes, and who signed them, as it says."""

    payload: bytes
    key_id: bytes
    signature: bytes

    def check(self, public_key: bytes) -> None:
        """Return if this key signed it. Raises `VerificationFailed`, and `Rejected` (WRONG_KEY) for another key."""
        if sha256(public_key).digest() != self.key_id:
            raise Rejected(Reason.WRONG_KEY, "it is signed by another key than it names")
        ed25519.verify(public_key, self.signature, pae(PAYLOAD_TYPE, self.payload))


def sealed(payload: bytes, signer: Signer) -> bytes:
    """Return the envelope of a report, as JSON."""
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    signatures = (_Signature(signer.key_id.hex(), base64.b64encode(signature).decode()),)
    return msgspec.json.encode(_Json(base64.b64encode(payload).decode(), PAYLOAD_TYPE, signatures)) + b"\n"


def opened(data: bytes) -> Envelope:
    """Return what an envelope holds; whether the signature is right, `Envelope.check` says. Raises `Rejected`."""
    if len(data) > 2 * MAX_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"{ENVELOPE_FILE}: is too large for a report")
    try:
        found = msgspec.json.decode(data, type=_Json)
        (signed,) = found.signatures
        parts = (_plain(found.payload), bytes.fromhex(signed.keyid), _plain(signed.sig))
    except (msgspec.DecodeError, UnicodeError, ValueError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, f"{ENVELOPE_FILE}: is no envelope with one signature") from error
    if found.payloadType != PAYLOAD_TYPE:
        raise Rejected(Reason.MALFORMED, f"{ENVELOPE_FILE}: is not the envelope of a progress report")
    return Envelope(*parts)


def _plain(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error

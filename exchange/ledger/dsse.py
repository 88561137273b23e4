"""DSSE v1 pre-authentication encoding: what a member's key really signs."""

from __future__ import annotations


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return ``DSSEv1 SP len(type) SP type SP len(payload) SP payload``, lengths in bytes as ASCII decimals."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)

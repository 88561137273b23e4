"""The one suite that is used: RFC 9497, P256-SHA256, in verifiable mode (sections 3.1 and 4.3).

Its context string is part of every hash, so nothing that is made here fits another suite, mode or version.
"""

from __future__ import annotations

from exchange.errors import Reason, Rejected
from exchange.privacy.hash_to_curve import hash_to_curve, hash_to_field
from exchange.privacy.p256 import ORDER, Point

CONTEXT = b"OPRFV1-\x01-P256-SHA256"

_TO_GROUP = b"HashToGroup-" + CONTEXT
_TO_SCALAR = b"HashToScalar-" + CONTEXT


def prefixed(data: bytes) -> bytes:
    """Return bytes (at most 65,535) after their length, two bytes big-endian."""
    return len(data).to_bytes(2, "big") + data


def hash_to_group(data: bytes) -> Point:
    """Return the element of any bytes. Raises `Rejected` (INVALID) where it is the identity: one input in 2^256."""
    point = hash_to_curve(data, _TO_GROUP)
    if point is None:
        raise Rejected(Reason.INVALID, "this input cannot be evaluated")
    return point


def hash_to_scalar(data: bytes, dst: bytes = _TO_SCALAR) -> int:
    """Return the number below the group's order of any bytes. Zero is one in 2^256, and the caller's to handle."""
    (scalar,) = hash_to_field(data, dst, count=1, modulus=ORDER)
    return scalar

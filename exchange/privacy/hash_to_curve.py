"""From any bytes to a point of P-256 that nobody knows a logarithm of: RFC 9380, suite P256_XMD:SHA-256_SSWU_RO_.

What is hashed is an account's identifier: a secret, and one that can be guessed. Python's integers are not constant in
time. The step that would tell most, which of a map's two candidates is on the curve, is taken for both of them, always.
"""

from __future__ import annotations

from hashlib import sha256

from exchange.privacy.p256 import A, B, P, Point, add, lift_x

#: Bytes for one number modulo a prime of 256 bits, so that it is uniform up to 2^-128 (section 5.1).
_WIDE_BYTES = 48
_DIGEST_BYTES = 32
_BLOCK_BYTES = 64
#: Z of section 8.2, and what the map starts from where it has a division by zero (section 6.6.2).
_Z = P - 10
_MINUS_B_OVER_A = -B * pow(A, -1, P) % P
_EXCEPTION_X = B * pow(_Z * A, -1, P) % P


def expand_message(message: bytes, dst: bytes, length: int) -> bytes:
    """Return ``length`` uniform bytes: expand_message_xmd with SHA-256 (section 5.3.1).

    Raises ValueError for a domain separation tag of more than 255 bytes, or a length above 255 digests: both are fixed
    by the code that calls.
    """
    blocks = -(-length // _DIGEST_BYTES)
    if blocks > 255 or len(dst) > 255:
        raise ValueError("expand_message gives 255 digests, for a tag of 255 bytes, and no more")
    dst_prime = dst + bytes([len(dst)])
    first = sha256(bytes(_BLOCK_BYTES) + message + length.to_bytes(2, "big") + b"\x00" + dst_prime).digest()
    block = sha256(first + b"\x01" + dst_prime).digest()
    made = [block]
    for number in range(2, blocks + 1):
        mixed = int.from_bytes(first, "big") ^ int.from_bytes(block, "big")
        block = sha256(mixed.to_bytes(_DIGEST_BYTES, "big") + bytes([number]) + dst_prime).digest()
        made.append(block)
    return b"".join(made)[:length]


def hash_to_field(message: bytes, dst: bytes, *, count: int, modulus: int) -> list[int]:
    """Return so many numbers below a prime of 256 bits (section 5.2, extension degree 1)."""
    uniform = expand_message(message, dst, count * _WIDE_BYTES)
    return [
        int.from_bytes(uniform[start : start + _WIDE_BYTES], "big") % modulus
        for start in range(0, len(uniform), _WIDE_BYTES)
    ]


def map_to_curve(u: int) -> Point:
    """Return the point of a number of the field: the simplified SWU map (section 6.6.2)."""
    shift = _Z * u * u % P
    divisor = (shift * shift + shift) % P
    x1 = _MINUS_B_OVER_A * (1 + pow(divisor, -1, P)) % P if divisor else _EXCEPTION_X
    first, second = lift_x(x1), lift_x(shift * x1 % P)
    point = first or second
    assert point is not None, "one of the two is on the curve, whatever u is"
    return point if point.y & 1 == u & 1 else Point(point.x, P - point.y)


def hash_to_curve(message: bytes, dst: bytes) -> Point | None:
    """Return the point of a message under a domain separation tag (section 3). None is the identity: one in 2^256."""
    u0, u1 = hash_to_field(message, dst, count=2, modulus=P)
    return add(map_to_curve(u0), map_to_curve(u1))

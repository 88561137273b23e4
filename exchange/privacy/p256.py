"""The group of RFC 9497: NIST P-256 (RFC 9497 section 4.3). The only module here that knows the cryptography library.

The library has no scalar multiplication, but ECDH: the x coordinate of kP, made by OpenSSL in constant time. Two of
them, of kP and (k+1)P, determine y (Okeya and Sakurai, "Efficient elliptic curve cryptosystems from a scalar
multiplication algorithm with recovery of the y-coordinate", CHES 2001). Additions, of which there is one a product,
are written out here.

What must stay true: a `Point` is on the curve and is not the identity, which is None. Points from outside come through
`decode_point`, scalars through `decode_scalar`, and nothing else is accepted. Another group is another module with the
same names.

Python's integers are not constant in time. What is done with secrets here beside ECDH: y is recovered from a product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from exchange.errors import Fatal, Reason, Rejected

POINT_BYTES = 33
SCALAR_BYTES = 32

#: The field, the curve y^2 = x^3 + A x + B over it, and the order of the group (SEC 2, section 2.4.2).
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
A = P - 3
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

#: A source of randomness: so many bytes, of cryptographic quality, such as `secrets.token_bytes`.
Randomness = Callable[[int], bytes]

_CURVE = ec.SECP256R1()
_ECDH = ec.ECDH()
#: A draw is no scalar once in 2^32.
_MAX_DRAWS = 8


class Point(NamedTuple):
    """A point of the curve that is not the identity: its affine coordinates."""

    x: int
    y: int


def lift_x(x: int, *, odd: bool = False) -> Point | None:
    """Return the point of the curve with this x (below 2^256) and a y of this parity, or None if there is none."""
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, bytes([2 | odd]) + x.to_bytes(SCALAR_BYTES, "big"))
    except ValueError:
        return None
    numbers = key.public_numbers()
    return Point(numbers.x, numbers.y)


def encode_point(point: Point) -> bytes:
    """Return the compressed form (SEC 1, section 2.3.3): 33 bytes. RFC 9497 calls this SerializeElement."""
    return bytes([2 | point.y & 1]) + point.x.to_bytes(SCALAR_BYTES, "big")


def decode_point(data: bytes) -> Point:
    """Return the point of a compressed form: exactly 33 bytes. RFC 9497 calls this DeserializeElement.

    Raises `Rejected` (MALFORMED), always with the same words, for another length or form (so for the identity), an x
    that is not below the field's prime, and an x that no point of the curve has.
    """
    point = None
    if len(data) == POINT_BYTES and data[0] in (2, 3):
        point = lift_x(int.from_bytes(data[1:], "big"), odd=data[0] == 3)
    if point is None:
        raise Rejected(Reason.MALFORMED, f"an element is a compressed point of P-256: {POINT_BYTES} bytes")
    return point


def encode_scalar(scalar: int) -> bytes:
    """Return a scalar as 32 bytes, big-endian. RFC 9497 calls this SerializeScalar."""
    return scalar.to_bytes(SCALAR_BYTES, "big")


def decode_scalar(data: bytes) -> int:
    """Return the scalar of exactly 32 bytes, from 1 to the order less one. RFC 9497 calls this DeserializeScalar.

    Zero is refused too, which the RFC lets through: no key, blind or part of a proof is zero. Raises `Rejected`
    (MALFORMED), always with the same words.
    """
    scalar = int.from_bytes(data, "big") if len(data) == SCALAR_BYTES else 0
    if not 0 < scalar < ORDER:
        raise Rejected(Reason.MALFORMED, f"a scalar is {SCALAR_BYTES} bytes, above zero and below the group's order")
    return scalar


def random_scalar(randomness: Randomness) -> int:
    """Return a scalar from 1 to the order less one, all alike (RFC 9497 section 4.7.1: by rejection).

    Raises `Fatal` when the source does not give what was asked for, or nothing but what is no scalar.
    """
    for _ in range(_MAX_DRAWS):
        drawn = randomness(SCALAR_BYTES)
        if len(drawn) != SCALAR_BYTES:
            break
        scalar = int.from_bytes(drawn, "big")
        if 0 < scalar < ORDER:
            return scalar
    raise Fatal("the source of randomness is broken")


def add(first: Point | None, second: Point | None) -> Point | None:
    """Return the sum of two points. None, given or returned, is the identity."""
    if first is None or second is None:
        return first or second
    if first.x != second.x:
        slope = (second.y - first.y) * pow(second.x - first.x, -1, P) % P
    elif first.y == second.y:
        slope = (3 * first.x * first.x + A) * pow(2 * first.y, -1, P) % P
    else:
        return None
    x = (slope * slope - first.x - second.x) % P
    return Point(x, (slope * (first.x - x) - first.y) % P)


class Multiplier:
    """A scalar made ready to multiply points with. It shows neither itself nor its scalar."""

    __slots__ = ("_key", "_next")

    def __init__(self, scalar: int) -> None:
        """Take a scalar from 1 to the order less one. Raises ValueError for another."""
        self._key = ec.derive_private_key(scalar, _CURVE)
        self._next = ec.derive_private_key(scalar + 1, _CURVE) if scalar < ORDER - 1 else None

    def times_base(self) -> Point:
        """Return the product with the group's generator."""
        numbers = self._key.public_key().public_numbers()
        return Point(numbers.x, numbers.y)

    def times(self, point: Point) -> Point:
        """Return the product with a point."""
        x, y = point
        if self._next is None:
            return Point(x, P - y)
        peer = ec.EllipticCurvePublicNumbers(x, y, _CURVE).public_key()
        product = int.from_bytes(self._key.exchange(_ECDH, peer), "big")
        beyond = int.from_bytes(self._next.exchange(_ECDH, peer), "big")
        numerator = 2 * B + (A + x * product) * (x + product) - beyond * (x - product) ** 2
        return Point(product, numerator * pow(2 * y, -1, P) % P)

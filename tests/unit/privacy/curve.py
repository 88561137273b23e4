"""The oracle of these tests: P-256 and RFC 9380's map, written out as in textbooks, without any code of the package."""

from __future__ import annotations

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
A = -3
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Z = -10

#: A point, or the identity.
Affine = tuple[int, int] | None


def on_curve(point: tuple[int, int]) -> bool:
    x, y = point
    return 0 <= x < P and 0 <= y < P and (y * y - (x**3 + A * x + B)) % P == 0


def negative(point: tuple[int, int]) -> tuple[int, int]:
    return point[0], -point[1] % P


def plus(first: Affine, second: Affine) -> Affine:
    if first is None:
        return second
    if second is None:
        return first
    (x1, y1), (x2, y2) = first, second
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    over, under = (3 * x1 * x1 + A, 2 * y1) if first == second else (y2 - y1, x2 - x1)
    slope = over * pow(under, -1, P)
    x3 = (slope * slope - x1 - x2) % P
    return x3, (slope * (x1 - x3) - y1) % P


def times(scalar: int, point: Affine) -> Affine:
    """Return the product by doubling and adding."""
    made: Affine = None
    for bit in f"{scalar:b}":
        made = plus(made, made)
        if bit == "1":
            made = plus(made, point)
    return made


def compressed(point: tuple[int, int]) -> bytes:
    return bytes([2 + point[1] % 2]) + point[0].to_bytes(32, "big")


def right_side(x: int) -> int:
    return (x**3 + A * x + B) % P


def is_square(number: int) -> bool:
    return pow(number, (P - 1) // 2, P) in (0, 1)


def swu(u: int) -> tuple[int, int]:
    """RFC 9380 section 6.6.2, steps 1 to 9, in its order."""
    inverse = pow((Z**2 * u**4 + Z * u**2) % P, P - 2, P)
    x1 = (-B * pow(A, P - 2, P) * (1 + inverse)) % P
    if inverse == 0:
        x1 = B * pow(Z * A % P, P - 2, P) % P
    x2 = Z * u**2 * x1 % P
    x = x1 if is_square(right_side(x1)) else x2
    y = pow(right_side(x), (P + 1) // 4, P)
    return (x, y) if y % 2 == u % 2 else (x, -y % P)

"""Where OpenSSL and libsodium disagree about an Ed25519 signature, and that we give one verdict anyway.

Made with the curve arithmetic below (RFC 8032 section 5.1), not taken from a list: each case satisfies the
verification equation S B = R + h A, so a library that refuses it does so on principle, and one that does not, accepts.
Raw verdicts were seen with OpenSSL 4.0.3 (`cryptography` 50.0.2) and the libsodium of PyNaCl 1.6.2. If a later version
changes its mind, `test_the_libraries_disagree` says so; what must never change is `test_one_verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha512
from itertools import count

import pytest

from exchange.errors import VerificationFailed
from exchange.ledger import ed25519
from exchange.ledger.ed25519 import BACKENDS, check_public_key, check_strict, verify

Point = tuple[int, int]

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SIGN = 1 << 255
IDENTITY: Point = (0, 1)


def add(left: Point, right: Point) -> Point:
    """Edwards addition; complete on this curve."""
    (x1, y1), (x2, y2) = left, right
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def multiply(scalar: int, point: Point) -> Point:
    """Double and add."""
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def recover_x(y: int) -> int | None:
    """Return the even x of a point with this y, or None when there is no such point."""
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * pow(2, (P - 1) // 4, P) % P
    if v * x * x % P != u:
        return None
    return P - x if x & 1 else x


def encode(point: Point) -> bytes:
    """Encode canonically."""
    return raw(point[1] | (point[0] & 1) << 255)


def raw(number: int) -> bytes:
    """Return 32 bytes, little endian, whatever they mean."""
    return number.to_bytes(32, "little")


def challenge(r: bytes, a: bytes, message: bytes) -> int:
    """H(R || A || M) mod L."""
    return int.from_bytes(sha512(r + a + message).digest(), "little") % L


def point_of_order_eight() -> Point:
    """Return a generator of the small subgroup: L times some point."""
    for y in count(2):
        x = recover_x(y)
        if x is not None:
            point = multiply(L, (x, y))
            if multiply(4, point) != IDENTITY:
                return point
    raise AssertionError


BASE_Y = 4 * pow(5, -1, P) % P
BASE: Point = (recover_x(BASE_Y) or 0, BASE_Y)
TORSION = [multiply(times, point_of_order_eight()) for times in range(8)]
SECRET, NONCE = 0x5EED0FA11CE, 77
A = encode(multiply(SECRET, BASE))
R = encode(multiply(NONCE, BASE))
NON_CANONICAL = {
    "p": raw(P),
    "p, sign": raw(P | SIGN),
    "p+1": raw(P + 1),
    "p+1, sign": raw(P + 1 | SIGN),
    "1, sign": raw(1 | SIGN),
    "-1, sign": raw(P - 1 | SIGN),
}


@dataclass(frozen=True)
class Case:
    """A signature, and what each library says of it without our pre-check."""

    public_key: bytes
    r: bytes
    s: int
    message: bytes
    openssl: bool
    sodium: bool
    ours: bool = False

    @property
    def signature(self) -> bytes:
        """R || S."""
        return self.r + raw(self.s)


def message_where(r: bytes, a: bytes, rest: int) -> bytes:
    """Return a message whose challenge leaves this rest modulo 8, so that a point of order 8 cancels or does not."""
    return next(message for message in (b"%d" % n for n in count()) if challenge(r, a, message) % 8 == rest)


def weak_key(key: bytes, *, openssl: bool, sodium: bool) -> Case:
    """Anyone's signature under a key of small order: h A is the identity, so S is the nonce."""
    return Case(key, R, NONCE, message_where(R, key, 0), openssl, sodium)


def weak_r(r: bytes, *, openssl: bool, sodium: bool) -> Case:
    """A signature with nonce zero under an honest key: S = h a."""
    return Case(A, r, challenge(r, A, b"m") * SECRET % L, b"m", openssl, sodium)


def mixed(rest: int, *, accepted: bool) -> Case:
    """A key with an honest part and one of order 8."""
    key = encode(add(multiply(SECRET, BASE), TORSION[1]))
    message = message_where(R, key, rest)
    s = (NONCE + challenge(R, key, message) * SECRET) % L
    return Case(key, R, s, message, accepted, accepted, ours=accepted)


def mixed_r() -> Case:
    """A nonce point with a part of order 8: holds only in cofactored verification, which neither library does."""
    r = encode(add(multiply(NONCE, BASE), TORSION[1]))
    return Case(A, r, (NONCE + challenge(r, A, b"m") * SECRET) % L, b"m", openssl=False, sodium=False)


def plain(s_plus: int, *, accepted: bool) -> Case:
    """An honest signature with this added to S."""
    s = (NONCE + challenge(R, A, b"m") * SECRET) % L + s_plus
    return Case(A, R, s, b"m", accepted, accepted, ours=accepted)


CASES = {
    "honest": plain(0, accepted=True),
    "S + L": plain(L, accepted=False),
    "S + 8 L": plain(8 * L, accepted=False),
    "A and R identity, S zero": Case(raw(1), raw(1), 0, b"any message at all", openssl=True, sodium=False),
    "R identity": weak_r(raw(1), openssl=True, sodium=False),
    **{f"R = {n} T": weak_r(encode(TORSION[n]), openssl=False, sodium=False) for n in range(1, 8)},
    **{f"R = {name}": weak_r(key, openssl=False, sodium=False) for name, key in NON_CANONICAL.items()},
    **{f"A = {n} T": weak_key(encode(TORSION[n]), openssl=True, sodium=False) for n in range(8)},
    **{f"A = {name}": weak_key(key, openssl=True, sodium=False) for name, key in NON_CANONICAL.items()},
    "A mixed, challenge 0 mod 8": mixed(0, accepted=True),
    "A mixed, challenge 3 mod 8": mixed(3, accepted=False),
    "R mixed": mixed_r(),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def accepted_by(library: str, case: Case) -> bool:
    """Return a library's own verdict."""
    try:
        BACKENDS[library](case.public_key, case.signature, case.message)
    except VerificationFailed:
        return False
    return True


def test_the_arithmetic_of_this_file() -> None:
    """The base point has order L, the small subgroup order 8, and the cases are what they claim."""
    assert multiply(L, BASE) == IDENTITY
    assert len(set(TORSION)) == 8
    for name, case in CASES.items():
        if name.startswith(("A = ", "S + ")) or name == "honest":
            assert multiply(case.s, BASE) == multiply(
                NONCE + challenge(case.r, A, case.message) * SECRET * (case.public_key == A), BASE
            )


@each_case
def test_the_libraries_disagree(case: Case) -> None:
    """What each library says on its own: 16 of these signatures pass OpenSSL and not libsodium."""
    verdicts = {library: accepted_by(library, case) for library in BACKENDS}
    assert verdicts.pop("openssl") is case.openssl
    if not verdicts:
        pytest.skip("PyNaCl is not installed: OpenSSL's verdict was checked, libsodium's was not")
    assert verdicts.pop("sodium") is case.sodium


@each_case
@pytest.mark.parametrize("library", sorted(BACKENDS))
def test_one_verdict(case: Case, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the pre-check in front, the library does not matter."""
    monkeypatch.setattr(ed25519, "_verify", BACKENDS[library])
    if case.ours:
        verify(case.public_key, case.signature, case.message)
        return
    with pytest.raises(VerificationFailed):
        verify(case.public_key, case.signature, case.message)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("S + ", "A = ", "R = ", "R identity"))])
def test_the_pre_check_alone_refuses(name: str) -> None:
    """Also where both libraries of today would refuse: that is not left to them."""
    with pytest.raises(VerificationFailed):
        check_strict(CASES[name].public_key, CASES[name].signature)


def test_how_many_cases_divide_the_libraries() -> None:
    """The reason for the pre-check, as a number."""
    assert sum(case.openssl != case.sodium for case in CASES.values()) == 16


def test_every_encoding_of_every_small_point_is_refused_as_a_key() -> None:
    """All 8 points, and all 19 encodings at or above p with either sign."""
    keys = [encode(point) for point in TORSION] + list(NON_CANONICAL.values())
    keys += [raw(y | sign) for y in range(P, 2**255) for sign in (0, SIGN)]
    for key in keys:
        with pytest.raises(VerificationFailed):
            check_public_key(key)


def test_a_key_that_is_no_point_verifies_nothing() -> None:
    """y = 2 is on no point. The pre-check lets it pass (it would cost a square root); both libraries refuse it."""
    assert recover_x(2) is None
    for library in BACKENDS:
        assert not accepted_by(library, Case(raw(2), R, NONCE, b"m", openssl=False, sodium=False))

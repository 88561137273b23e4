"""The group: products and sums as in a textbook, and only what is a point or a scalar gets in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exchange.errors import Fatal, Reason, Rejected
from exchange.privacy import p256
from exchange.privacy.p256 import (
    ORDER,
    Multiplier,
    Point,
    add,
    decode_point,
    decode_scalar,
    encode_point,
    encode_scalar,
    lift_x,
    random_scalar,
)
from tests.unit.privacy import curve

G = Point(*curve.G)
WRONG_POINT = "an element is a compressed point of P-256: 33 bytes"
EXTREMES = [1, 2, 3, ORDER - 3, ORDER - 2, ORDER - 1, ORDER // 2, ORDER // 2 + 1, 2**255, 2**128]

scalars = st.integers(1, ORDER - 1) | st.sampled_from(EXTREMES)
points = scalars.map(lambda scalar: Multiplier(scalar).times_base())


def refuse(read: Callable[[bytes], object], data: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        read(data)
    assert caught.value.reason is Reason.MALFORMED
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value.message


def test_the_parameters_are_those_of_the_curve() -> None:
    assert (p256.P, p256.A % p256.P, p256.B, p256.ORDER) == (curve.P, curve.A % curve.P, curve.B, curve.N)
    assert curve.on_curve(curve.G)
    assert curve.times(curve.N, curve.G) is None


@pytest.mark.parametrize("scalar", EXTREMES)
def test_products_with_extreme_scalars(scalar: int) -> None:
    other = Point(*curve.swu(7))
    assert Multiplier(scalar).times_base() == curve.times(scalar, curve.G)
    assert Multiplier(scalar).times(G) == curve.times(scalar, curve.G)
    assert Multiplier(scalar).times(other) == curve.times(scalar, other)


@settings(max_examples=60)
@given(scalars, points)
def test_products_are_those_of_a_textbook(scalar: int, point: Point) -> None:
    assert Multiplier(scalar).times_base() == curve.times(scalar, curve.G)
    assert Multiplier(scalar).times(point) == curve.times(scalar, point)


@pytest.mark.parametrize("scalar", [0, -1, ORDER, ORDER + 1, 2**256])
def test_no_other_scalar_multiplies(scalar: int) -> None:
    with pytest.raises(ValueError):
        Multiplier(scalar)


@given(points, points)
def test_sums_are_those_of_a_textbook(first: Point, second: Point) -> None:
    opposite = Point(*curve.negative(first))
    assert add(first, second) == curve.plus(first, second)
    assert add(first, first) == curve.plus(first, first) == Multiplier(2).times(first)
    assert add(first, opposite) is None
    assert add(first, None) == add(None, first) == first
    assert add(None, None) is None


@given(points)
def test_a_point_has_one_form(point: Point) -> None:
    data = encode_point(point)
    assert data == curve.compressed(point)
    assert decode_point(data) == point
    assert curve.on_curve(decode_point(bytes([data[0] ^ 1]) + data[1:]))


@given(st.integers(0, 2**256 - 1))
@example(0)
@example(curve.P - 1)
def test_a_point_is_on_the_curve_or_refused(x: int) -> None:
    there = x < curve.P and curve.is_square(curve.right_side(x))
    for odd in (False, True):
        found = lift_x(x, odd=odd)
        assert (found is not None) == there
        if found is None:
            refuse(decode_point, bytes([2 + odd]) + x.to_bytes(32, "big"))
        else:
            assert found.x == x
            assert found.y % 2 == odd
            assert curve.on_curve(found)
            assert decode_point(bytes([2 + odd]) + x.to_bytes(32, "big")) == found


#: 5 is the x of a point, so 5 + p would be a second form of it; p itself stands for 0, which is one too.
WRONG_POINTS = {
    "nothing": b"",
    "identity": b"\x00",
    "identity, padded": bytes(33),
    "x alone": G.x.to_bytes(32, "big"),
    "uncompressed": b"\x04" + G.x.to_bytes(32, "big") + G.y.to_bytes(32, "big"),
    "hybrid": b"\x07" + G.x.to_bytes(32, "big") + G.y.to_bytes(32, "big"),
    "hybrid, cut": b"\x07" + G.x.to_bytes(32, "big"),
    "uncompressed, cut": b"\x04" + G.x.to_bytes(32, "big"),
    "a byte short": encode_point(G)[:-1],
    "a byte long": encode_point(G) + b"\x00",
    "x = 0 + p": b"\x02" + curve.P.to_bytes(32, "big"),
    "x = 5 + p": b"\x02" + (curve.P + 5).to_bytes(32, "big"),
    "x of no point": b"\x02" + (1).to_bytes(32, "big"),
    "all ones": b"\xff" * 33,
}


def test_the_wrong_points_are_wrong_for_what_they_are_named_after() -> None:
    assert curve.is_square(curve.right_side(0))
    assert curve.is_square(curve.right_side(5))
    assert not curve.is_square(curve.right_side(1))
    assert curve.P + 5 < 2**256
    assert curve.G[1] % 2 == 1


@pytest.mark.parametrize("data", WRONG_POINTS.values(), ids=list(WRONG_POINTS))
def test_what_is_no_compressed_point_is_refused(data: bytes) -> None:
    assert refuse(decode_point, data) == WRONG_POINT


@given(st.binary(max_size=80))
def test_any_bytes_are_a_point_or_refused(data: bytes) -> None:
    try:
        point = decode_point(data)
    except Rejected as error:
        assert error.message == WRONG_POINT
        return
    assert encode_point(point) == data


@pytest.mark.parametrize("scalar", EXTREMES)
def test_a_scalar_has_one_form(scalar: int) -> None:
    assert encode_scalar(scalar) == scalar.to_bytes(32, "big")
    assert decode_scalar(encode_scalar(scalar)) == scalar


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(32),
        ORDER.to_bytes(32, "big"),
        (ORDER + 1).to_bytes(32, "big"),
        b"\xff" * 32,
        b"\x01" * 31,
        b"\x00" + b"\x01" * 32,
        b"\x01" * 32 + b"\x00",
    ],
)
def test_what_is_no_scalar_is_refused(data: bytes) -> None:
    assert refuse(decode_scalar, data) == "a scalar is 32 bytes, above zero and below the group's order"


def test_a_random_scalar_is_the_first_draw_that_is_one() -> None:
    draws = iter([bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, (ORDER - 1).to_bytes(32, "big")])
    assert random_scalar(lambda count: next(draws)) == ORDER - 1


@pytest.mark.parametrize("drawn", [b"", bytes(32), b"\xff" * 32, b"\x01" * 31, b"\x01" * 33])
def test_a_broken_source_of_randomness_is_no_scalar(drawn: bytes) -> None:
    with pytest.raises(Fatal, match="the source of randomness is broken"):
        random_scalar(lambda count: drawn)

"""What is recognised by its bytes is what the close look finds no fault with, whatever the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import codec
from exchange.domain.identifiers import INDICATOR_TYPES, IndicatorType, pseudonym_value
from exchange.domain.plain_records import MAX_INDICATORS, Sifted, sift
from exchange.domain.validation import Findings, _check_record
from exchange.errors import Rejected
from exchange_client.records import Indicator, Record, VideoFrame

VALUED = [row for row in INDICATOR_TYPES.values() if row.value_bytes]


def of(*indicators: Indicator, case_ref: str = "", quality: int = 0) -> bytes:
    return codec.encode_record(Record(b"s" * 16, indicators, case_ref, quality))


def indicator(number: int, size: int | None = None, profile: int = 1) -> Indicator:
    return Indicator(number, b"v" * (INDICATOR_TYPES[number].value_bytes if size is None else size), profile)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """Good records, near misses, and bytes cut, changed or put together at random."""
    indicators = draw(
        st.lists(
            st.builds(
                Indicator,
                st.sampled_from([row.type.value for row in VALUED] + [2, 13, 200]),
                st.sampled_from([16, 31, 32, 35, 64, 0]).map(bytes),
                st.sampled_from([1, 1, 1, 0, 2, 300]),
                st.sampled_from([(), (), (VideoFrame(1, 2, bytes(32)),)]),
            ),
            max_size=MAX_INDICATORS + 1,
        )
    )
    good = [
        indicator(draw(st.sampled_from([row.type.value for row in VALUED]))) for _ in range(draw(st.integers(0, 3)))
    ]
    case_ref = draw(st.sampled_from(["", "T-1", "x" * 127, "x" * 128, "x" * 200, "\N{SNOWMAN}", "\0"]))
    raw = of(
        *draw(st.sampled_from([good, indicators])),
        case_ref=case_ref,
        quality=draw(st.sampled_from([0, 1, 100, 101, 128])),
    )
    cut = draw(st.integers(0, len(raw)))
    return draw(
        st.sampled_from(
            [
                raw,
                raw,
                raw[:cut],
                raw + b"\x20\x01",
                raw[:18] + raw[18:] * 2,
                raw[:cut] + bytes([draw(st.integers(0, 255))]) + raw[cut + 1 :],
            ]
        )
    )


@given(records())
def test_what_is_recognised_holds_under_the_close_look(raw: bytes) -> None:
    sifted = sift([raw])
    assert sifted.others in ([], [0])
    if sifted.others:
        return
    (view,) = codec.decode_records([raw], strict=True)
    findings, seen = Findings(), Sifted()
    _check_record(findings, "record", raw, view, seen)
    assert not findings.total
    assert seen == sifted


@pytest.mark.parametrize("row", VALUED, ids=lambda row: row.type.word)
def test_every_type_of_one_value_is_recognised(row: object) -> None:
    number = row.type.value  # type: ignore[attr-defined]
    assert sift([of(indicator(number), case_ref="T-1", quality=90)]).types == {number}


def test_the_positions_of_all_others_are_told() -> None:
    plain, odd = of(indicator(1)), of(indicator(1), case_ref="\N{SNOWMAN}")
    sifted = sift([plain, odd, plain, b"", of(indicator(5), indicator(1))])
    assert (sifted.types, sifted.others) == ({1, 5}, [1, 3])


def test_the_key_epochs_of_pseudonyms_are_told() -> None:
    under = [Indicator(IndicatorType.PSEUDONYM, pseudonym_value(number, bytes(32))) for number in (3, 70_000)]
    assert sift([of(under[0]), of(indicator(1), under[1])]) == Sifted({1, 13}, {3, 70_000}, [])


def test_a_ninth_indicator_is_looked_at_closely() -> None:
    assert sift([of(*[indicator(1)] * MAX_INDICATORS)]).others == []
    assert sift([of(*[indicator(1)] * (MAX_INDICATORS + 1))]).others == [0]


def test_bytes_that_are_no_record_are_refused_by_the_close_look() -> None:
    for raw in (b"", b"\x0a\x10", of(indicator(1))[:-1]):
        assert sift([raw]).others == [0]
    with pytest.raises(Rejected):
        codec.decode_records([of(indicator(1))[:-1]], strict=True)

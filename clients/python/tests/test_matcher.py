"""Matching: nothing known is missed, nothing gone is found, and nobody takes back what another said."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.python.tests.fake_hub import START_MS
from clients.python.tests.speech import delivery, received, saying, sha
from exchange.domain.bodies import Retraction, RetractionReason
from exchange.domain.identifiers import IndicatorType
from exchange_client import Indicator, Matcher, Signals, VideoFrame

NOW = START_MS


def pdq(value: bytes) -> Indicator:
    return Indicator(IndicatorType.PDQ, value)


def apart(value: bytes, bits: int) -> bytes:
    number = int.from_bytes(value, "big")
    for bit in secrets.SystemRandom().sample(range(256), bits):
        number ^= 1 << bit
    return number.to_bytes(32, "big")


def test_exact_types_match_exactly_and_tell_where_from() -> None:
    matcher = Matcher()
    one = received(sha(b"1" * 32))
    matcher.add(delivery(one, index=7))
    (match,) = matcher.match([sha(b"1" * 32)], now_ms=NOW)
    assert (match.signal_id, match.publisher, match.index, match.distance) == (one.signal_id, "alpha", 7, 0)
    assert (match.origin, match.severity, match.confidence, match.handling) == ("test.exchange/uk", 4, 3, 3)
    assert matcher.match([sha(b"2" * 32)], now_ms=NOW) == []
    # The same value as another type, or in another normal form, is another thing.
    assert matcher.match([Indicator(IndicatorType.VIDEO_SHA256, b"1" * 32)], now_ms=NOW) == []
    assert matcher.match([Indicator(IndicatorType.IMAGE_SHA256, b"1" * 32, profile=2)], now_ms=NOW) == []


def test_pdq_matches_up_to_31_bits_and_not_from_32() -> None:
    value = secrets.token_bytes(32)
    matcher = Matcher()
    matcher.add(delivery(received(pdq(value))))
    for bits in (0, 1, 30, 31):
        assert [m.distance for m in matcher.match([pdq(apart(value, bits))], now_ms=NOW)] == [bits]
    assert matcher.match([pdq(apart(value, 32))], now_ms=NOW) == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_order_of_adding_and_removing_finds_what_comparing_one_by_one_finds(data: st.DataObject) -> None:
    centre = b"\x5a" * 32
    matcher = Matcher()
    known: dict[bytes, bytes] = {}
    for step in range(data.draw(st.integers(1, 60))):
        if len(known) > 0 and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(known)))
            matcher.remove(gone)
            del known[gone]
        else:
            value = apart(centre, data.draw(st.integers(0, 64)))
            id_ = step.to_bytes(32, "big")
            matcher.add(delivery(received(pdq(value), id_=id_), index=step))
            known[id_] = value
    assert len(matcher) == len(known)
    asked = apart(centre, data.draw(st.integers(0, 20)))
    wanted = {}
    for id_, value in known.items():
        distance = (int.from_bytes(value, "big") ^ int.from_bytes(asked, "big")).bit_count()
        if distance <= 31:
            wanted[id_] = distance
    found = matcher.match([pdq(asked)], now_ms=NOW)
    assert {m.signal_id: m.distance for m in found} == wanted
    assert [m.distance for m in found] == sorted(wanted.values())


def test_it_grows_beyond_its_first_table() -> None:
    matcher = Matcher()
    values = [secrets.token_bytes(32) for _ in range(3000)]
    matcher.add(delivery(*(received(pdq(value)) for value in values)))
    assert all(matcher.match([pdq(values[n])], now_ms=NOW) for n in (0, 1023, 1024, 2047, 2048, 2999))


def test_the_nearest_of_several_indicators_counts_once() -> None:
    value = secrets.token_bytes(32)
    matcher = Matcher()
    matcher.add(delivery(received(pdq(value), pdq(apart(value, 9)), sha(b"1" * 32))))
    (match,) = matcher.match([pdq(apart(value, 3)), sha(b"1" * 32)], now_ms=NOW)
    assert (match.type, match.distance) == (IndicatorType.IMAGE_SHA256, 0)


def test_frames_match_each_other_unless_they_are_too_empty_to_mean_anything() -> None:
    value = secrets.token_bytes(32)

    def video(quality: int) -> Indicator:
        return Indicator(IndicatorType.VPDQ, frames=(VideoFrame(0, quality, value),))

    matcher = Matcher()
    matcher.add(delivery(received(video(80))))
    matcher.add(delivery(received(video(10))))
    assert len(matcher.match([video(90)], now_ms=NOW)) == 1
    assert matcher.match([video(49)], now_ms=NOW) == []


def test_what_has_expired_never_matches_and_can_be_forgotten() -> None:
    matcher = Matcher()
    matcher.add(delivery(received(sha(b"1" * 32)), expires_at_ms=NOW + 10))
    matcher.add(delivery(received(sha(b"2" * 32)), expires_at_ms=NOW + 20))
    asked = [sha(b"1" * 32), sha(b"2" * 32)]
    assert [len(matcher.match(asked, now_ms=NOW + later)) for later in (0, 9, 10, 19, 20)] == [2, 2, 1, 1, 0]
    assert matcher.expire(now_ms=NOW + 10) == 1
    assert len(matcher) == 1


def test_a_correction_swaps_the_old_signal_also_where_its_records_are_not_for_us() -> None:
    matcher = Matcher()
    old, other = received(sha(b"1" * 32)), received(sha(b"2" * 32))
    matcher.add(delivery(old, other))
    matcher.add(delivery(received(sha(b"3" * 32)), replaces=(old.signal_id,)))
    assert matcher.match([sha(b"1" * 32)], now_ms=NOW) == []
    assert len(matcher.match([sha(b"3" * 32)], now_ms=NOW)) == 1
    matcher.add(delivery(replaces=(other.signal_id,)))
    assert matcher.match([sha(b"2" * 32)], now_ms=NOW) == []


def test_nobody_replaces_what_another_member_said() -> None:
    matcher = Matcher()
    old = received(sha(b"1" * 32))
    matcher.add(delivery(old))
    matcher.add(delivery(received(sha()), publisher="beta", replaces=(old.signal_id,)))
    assert [m.publisher for m in matcher.match([sha(b"1" * 32)], now_ms=NOW)] == ["alpha"]


def test_the_first_header_wins_and_what_is_gone_stays_gone() -> None:
    matcher = Matcher()
    one = received(sha(b"1" * 32))
    matcher.add(delivery(one, expires_at_ms=NOW + 5))
    matcher.add(delivery(one, expires_at_ms=NOW + 500))
    assert matcher.match([sha(b"1" * 32)], now_ms=NOW + 6) == []
    matcher.remove(one.signal_id)
    matcher.remove(b"unknown" * 4)
    matcher.add(delivery(one))
    assert matcher.match([sha(b"1" * 32)], now_ms=NOW) == []


@pytest.mark.parametrize("by_operators", [False, True])
def test_what_was_taken_back_before_it_came_does_not_match(by_operators: bool) -> None:
    matcher = Matcher()
    early, other = received(sha(b"1" * 32)), received(sha(b"2" * 32))
    # Its entry was not for us, or was filtered; its publisher says it again, to us too.
    taken = saying(Retraction((early.signal_id,), RetractionReason.ERROR), publisher="op" if by_operators else "alpha")
    matcher.add(replace(taken, by_operators=by_operators))
    matcher.add(saying(Retraction((other.signal_id,), RetractionReason.ERROR), publisher="beta"))
    matcher.add(saying(Retraction((other.signal_id,), RetractionReason.ERROR), origin="test.exchange/elsewhere"))
    assert matcher.add(delivery(early, other, index=7)) == [other.signal_id]
    assert matcher.match([sha(b"1" * 32)], now_ms=NOW) == []
    assert [match.signal_id for match in matcher.match([sha(b"2" * 32)], now_ms=NOW)] == [other.signal_id]


def test_values_of_a_wrong_length_are_passed_over() -> None:
    matcher = Matcher()
    matcher.add(delivery(received(pdq(b"short"), Indicator(99, b"whatever"))))
    assert matcher.match([pdq(b"short"), pdq(bytes(32))], now_ms=NOW) == []


def test_records_that_come_back_to_a_hub_are_taken_by_whoever_reads_them_again_and_by_nobody_twice() -> None:
    matcher, one = Matcher(), received(sha(b"1" * 32))
    matcher.add_content([("T-1", [sha(b"1" * 32)])])
    bare = replace(delivery(one, index=7), signals=Signals(), state="erased")
    assert matcher.add(bare) == []
    assert matcher.match([sha(b"1" * 32)], now_ms=NOW) == []
    assert matcher.add(delivery(one, index=7)) == [one.signal_id]
    matcher.add(bare)
    matcher.add(delivery(one, index=7))
    assert [found.reference for found in matcher.content_matching([one.signal_id], now_ms=NOW)] == ["T-1"]
    assert len(matcher) == 1

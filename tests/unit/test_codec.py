"""Bytes to values and back: what round-trips, what a strict reader refuses, and that nothing else can happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from exchange import codec
from exchange.domain.bodies import (
    Body,
    Community,
    Genesis,
    GenesisKey,
    Key,
    Member,
    Membership,
    Quota,
    SignalHeader,
    Suspension,
)
from exchange.domain.guidance_body import Guidance
from exchange.domain.kinds import Kind
from exchange.domain.statement import RECORD_PREFIX, Header, Leaf, Signature, Statement, signal_ids, statement_id
from exchange.errors import Reason, Rejected
from exchange.v1 import feed_pb2
from exchange.v1 import statement_pb2 as pb
from exchange_client.records import Indicator, Record, VideoFrame
from tests.unit.builders import directory_header, genesis, pdq_record, signal_statement

numbers = st.integers(0, 2**31 - 1)
unsigned = st.integers(0, 2**32 - 1)
times = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
data = st.binary(max_size=40)
ids = st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple)


def _tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=4).map(tuple)


signal_bodies = st.builds(
    SignalHeader,
    label=numbers,
    confidence=numbers,
    severity=numbers,
    handling=numbers,
    audience=numbers,
    expires_at_ms=times,
    indicator_types=_tuples(numbers),
    audience_id=data,
    election=data,
    target_class=numbers,
    observed_at_ms=times,
    actioned_at_ms=times,
    source_action=numbers,
    guidance_clause=texts,
    lawful_basis=numbers,
    backfill=st.booleans(),
    replaces=_tuples(data),
    derived_from=_tuples(data),
)
bodies: st.SearchStrategy[Body] = st.one_of(
    signal_bodies,
    st.builds(Genesis, texts, data, texts, texts, _tuples(st.builds(GenesisKey, numbers, data)), unsigned),
    st.builds(Guidance, texts, unsigned, numbers, texts, _tuples(texts), data, unsigned, data),
    st.builds(Member, texts, texts, numbers, _tuples(numbers)),
    st.builds(Key, texts, numbers, data, numbers),
    st.builds(Membership, texts, texts, numbers),
    st.builds(Suspension, texts, numbers, numbers, texts),
    st.builds(Community, texts, texts, data, st.integers(0, 2**64 - 1), unsigned, unsigned, unsigned, st.booleans()),
    st.builds(Quota, texts, unsigned, unsigned, unsigned),
)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    body = draw(bodies)
    return Header(draw(texts), codec.kind_of(body), draw(texts), draw(times), draw(data), draw(ids), body)


indicators = st.builds(
    Indicator,
    type=numbers,
    value=data,
    profile=unsigned,
    frames=_tuples(st.builds(VideoFrame, st.integers(0, 2**64 - 1), unsigned, data)),
)
records = st.builds(
    Record,
    salt=st.binary(min_size=16, max_size=16),
    indicators=_tuples(indicators),
    case_ref=texts,
    quality=unsigned,
)
signatures = _tuples(st.builds(Signature, data, data))


@given(headers())
def test_a_header_round_trips(header: Header) -> None:
    payload = codec.encode_header(header)
    assert codec.decode_header(payload, strict=True) == header == codec.decode_header(payload, strict=False)


def _values(view: Any) -> Record:
    """Return a typed view as a value of our own."""
    return Record(
        view.salt,
        tuple(
            Indicator(i.type, i.value, i.profile, tuple(VideoFrame(f.frame_ms, f.quality, f.pdq) for f in i.frames))
            for i in view.indicators
        ),
        view.case_ref,
        view.quality,
    )


@given(st.lists(records, max_size=5))
def test_records_round_trip_and_begin_with_their_salt(said: list[Record]) -> None:
    raw = [codec.encode_record(record) for record in said]
    assert all(each[:2] == RECORD_PREFIX and each[2:18] == of.salt for each, of in zip(raw, said, strict=True))
    assert [_values(view) for view in codec.decode_records(raw, strict=True)] == said


@given(
    st.builds(Leaf, st.integers(0, 2**64 - 1), times, st.booleans(), st.integers(0, 2**64 - 1), data, signatures),
)
def test_a_leaf_round_trips(leaf: Leaf) -> None:
    assert codec.decode_leaf(codec.encode_leaf(leaf)) == leaf


@given(st.builds(Statement, data, signatures, _tuples(data), data, st.booleans(), texts))
def test_a_statement_round_trips_byte_for_byte(statement: Statement) -> None:
    assert codec.decode_statement(codec.encode_statement(statement)) == statement


@given(st.binary(min_size=16, max_size=16), st.lists(texts, max_size=5))
def test_an_audience_round_trips(salt: bytes, members: list[str]) -> None:
    raw = codec.encode_audience(salt, members)
    assert raw[:2] == RECORD_PREFIX
    assert codec.decode_audience(raw, strict=True) == tuple(members)


READERS: dict[str, Callable[[bytes], object]] = {
    "strict header": lambda raw: codec.decode_header(raw, strict=True),
    "lenient header": lambda raw: codec.decode_header(raw, strict=False),
    "strict records": lambda raw: codec.decode_records([raw, raw], strict=True),
    "lenient records": lambda raw: codec.decode_records([raw], strict=False),
    "leaf": codec.decode_leaf,
    "frame": codec.decode_frame,
    "leaf of a frame": codec.frame_leaf,
    "strict audience": lambda raw: codec.decode_audience(raw, strict=True),
    "lenient audience": lambda raw: codec.decode_audience(raw, strict=False),
    "statement": codec.decode_statement,
}
SEEDS = (
    signal_statement(audience=["beta"]).statement.payload,
    codec.encode_header(directory_header(genesis())),
    codec.encode_record(pdq_record()),
    codec.encode_leaf(Leaf(7, 1, True, 3, b"payload", (Signature(b"k", b"s"),))),
    codec.full_frame(b"leaf" * 50, [b"record"], b"audience"),
    codec.erased_frame(b"leaf"),
    codec.encode_audience(bytes(16), ["alpha", "beta"]),
    codec.encode_statement(signal_statement().statement),
)


@st.composite
def near_misses(draw: st.DrawFn) -> bytes:
    """Valid bytes, cut and changed: what a fuzzer finds after hours."""
    raw = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(raw)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@given(raw=st.one_of(st.binary(max_size=200), near_misses()))
def test_any_bytes_are_a_value_or_refused(read: Callable[[bytes], object], raw: bytes) -> None:
    try:
        read(raw)
    except Rejected as error:
        assert error.reason is Reason.MALFORMED


@given(raw=st.one_of(st.binary(max_size=200), near_misses()))
def test_what_is_read_strictly_is_written_alike(raw: bytes) -> None:
    """Nothing can hide in bytes that the hub takes: they are the only bytes that say this."""
    try:
        header = codec.decode_header(raw, strict=True)
    except Rejected:
        return
    if header.body is not None or header.kind not in set(Kind):
        assert codec.encode_header(header) == raw


def _field(number: int, value: bytes) -> bytes:
    return codec.varint(number << 3 | 2) + codec.varint(len(value)) + value


def _wire(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


SIGNAL = signal_statement().statement.payload
PARSED = pb.Header.FromString(SIGNAL)
ORIGIN = _field(1, PARSED.origin.encode())
NOT_STRICT: dict[str, bytes] = {
    "an unknown field": SIGNAL + _field(200, b"hidden"),
    "an unknown field inside the body": _wire(pb.Header(origin="o", kind=pb.KIND_SIGNAL))
    + _field(101, _field(99, b"hidden")),
    "out of order": SIGNAL[len(ORIGIN) :] + ORIGIN,
    "a singular field twice": ORIGIN + SIGNAL,
    "the body twice": SIGNAL + _field(101, _wire(PARSED.signal)),
    "a default written out": SIGNAL.replace(ORIGIN, ORIGIN + b"\x10\x00", 1),
    "a number longer than it need be": SIGNAL.replace(b"\x10\x01", b"\x10\x81\x00", 1),
    "numbers not packed": _wire(pb.Header(origin="o", kind=pb.KIND_SIGNAL)) + _field(101, b"\x80\x01\x01"),
    "a group": SIGNAL + b"\xfb\x0c\xfc\x0c",
}


@pytest.mark.parametrize("raw", NOT_STRICT.values(), ids=NOT_STRICT)
def test_the_hub_refuses_what_a_receiver_reads(raw: bytes) -> None:
    codec.decode_header(raw, strict=False)
    with pytest.raises(Rejected) as caught:
        codec.decode_header(raw, strict=True)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("kind", [Kind.MEMBER, Kind.RETRACTION, 99, 0])
def test_the_body_is_that_of_the_kind(kind: int) -> None:
    header = replace(signal_statement().header, kind=kind)
    raw = codec.encode_header(header)
    with pytest.raises(Rejected):
        codec.decode_header(raw, strict=True)
    assert codec.decode_header(raw, strict=False) == replace(header, body=None)


def test_two_bodies_are_one_too_many() -> None:
    both = pb.Header(origin="o", kind=pb.KIND_SIGNAL, signal=PARSED.signal, member=pb.Member(id="alpha"))
    with pytest.raises(Rejected):
        codec.decode_header(_wire(both), strict=True)


def test_a_receiver_keeps_kinds_it_does_not_know() -> None:
    future = SIGNAL.replace(b"\x10\x01", b"\x10\x63", 1) + _field(199, b"something new")
    header = codec.decode_header(future, strict=False)
    assert (header.kind, header.publisher, header.body) == (99, "alpha", None)


@pytest.mark.parametrize("size", [1, 31, 33])
def test_ids_are_whole(size: int) -> None:
    for strict in (True, False):
        with pytest.raises(Rejected, match="multiple of 32"):
            codec.decode_header(_wire(pb.Header(signal_ids=bytes(size))), strict=strict)


RECORD = codec.encode_record(pdq_record())


@pytest.mark.parametrize(
    "raw",
    [
        RECORD + _field(99, b"hidden"),
        RECORD[18:] + RECORD[:18],
        RECORD[:18] + RECORD,
        RECORD + b"\x20\x01",
        pb.SignalRecord(salt=bytes(16)).SerializeToString() + _field(2, b"\x08\x01" + _field(99, b"x")),
    ],
    ids=["unknown", "out of order", "salt twice", "quality twice", "unknown in an indicator"],
)
def test_records_are_read_strictly(raw: bytes) -> None:
    codec.decode_records([RECORD, raw], strict=False)
    with pytest.raises(Rejected):
        codec.decode_records([RECORD, raw], strict=True)


def test_an_audience_is_read_strictly() -> None:
    raw = codec.encode_audience(bytes(16), ["beta"])
    assert codec.decode_audience(raw + _field(9, b"x"), strict=False) == ("beta",)
    for bad in (raw + _field(9, b"x"), raw[18:] + raw[:18], b"\x0a\xff"):
        with pytest.raises(Rejected):
            codec.decode_audience(bad, strict=True)
    assert codec.decode_audience(b"", strict=True) == ()


@pytest.mark.parametrize("changes", [{"format": 2}, {"format": 0}, {"payload_type": "text/plain"}])
def test_a_leaf_of_another_format_is_refused(changes: dict[str, Any]) -> None:
    leaf = replace(Leaf(0, 0, late=False, directory_size=0, payload=b"", signatures=()), **changes)
    with pytest.raises(Rejected, match="not known"):
        codec.decode_leaf(codec.encode_leaf(leaf))


LEAVES = st.binary(min_size=1, max_size=300)


@given(LEAVES, st.lists(data, max_size=3), data)
def test_a_frame_holds_what_was_put_in(leaf: bytes, raw: list[bytes], audience: bytes) -> None:
    full = codec.full_frame(leaf, raw, audience)
    found = codec.decode_frame(full)
    assert (found.leaf, found.records, found.audience_record) == (leaf, tuple(raw), audience)
    assert found.present
    assert not found.erased
    for frame, erased in ((codec.leaf_only_frame(leaf), False), (codec.erased_frame(leaf), True)):
        bare = codec.decode_frame(frame)
        assert (bare.leaf, bare.records, bare.audience_record) == (leaf, (), b"")
        assert (bare.present, bare.erased) == (False, erased)
        assert codec.is_erased(frame) is erased
        assert codec.frame_leaf(frame) == leaf
    assert codec.frame_leaf(full) == leaf
    assert not codec.is_erased(full)
    assert codec.is_erased(codec.erased_frame(leaf, audience))


def test_a_frame_made_by_hand_is_what_protobuf_writes() -> None:
    for size in (1, 127, 128, 16_383, 16_384, 65_535):
        leaf = bytes(size)
        for state, frame in (
            (pb.RECORD_STATE_NOT_FOR_YOU, codec.leaf_only_frame(leaf)),
            (pb.RECORD_STATE_ERASED, codec.erased_frame(leaf)),
        ):
            entry = pb.Entry(leaf=leaf, state=state)
            assert frame == feed_pb2.SubscribeResponse(entries=[entry]).SerializeToString(deterministic=True)


@given(st.lists(st.tuples(LEAVES, st.sampled_from(["full", "bare", "erased"])), max_size=6), data)
def test_frames_join_into_a_feed_message(entries: list[tuple[bytes, str]], checkpoint: bytes) -> None:
    make = {
        "full": lambda leaf: codec.full_frame(leaf, [b"record of " + leaf], b""),
        "bare": codec.leaf_only_frame,
        "erased": codec.erased_frame,
    }
    frames = [make[form](leaf) for leaf, form in entries]
    rest = feed_pb2.SubscribeResponse(checkpoint=checkpoint).SerializeToString()
    message = feed_pb2.SubscribeResponse.FromString(b"".join(frames) + rest)
    assert message.checkpoint == checkpoint
    assert [codec.delivered(entry) for entry in message.entries] == [codec.decode_frame(frame) for frame in frames]


def test_the_leaf_of_a_frame_is_the_field_called_leaf() -> None:
    frame = _field(1, _wire(pb.Entry(state=pb.RECORD_STATE_PRESENT, records=[b"an identifier"])))
    with pytest.raises(Rejected):
        codec.frame_leaf(_field(1, _wire(pb.Entry(records=[b"an identifier"]))))
    with pytest.raises(Rejected):
        codec.frame_leaf(frame)


def test_every_bit_of_a_record_is_bound_by_its_id() -> None:
    (id_,) = signal_ids("exchange/uk", "alpha", [RECORD])
    flipped = [
        RECORD[: bit // 8] + bytes([RECORD[bit // 8] ^ 1 << bit % 8]) + RECORD[bit // 8 + 1 :]
        for bit in range(8 * len(RECORD))
    ]
    found = signal_ids("exchange/uk", "alpha", flipped)
    assert id_ not in found
    assert len(set(found)) == len(flipped)


def test_an_id_binds_community_and_publisher() -> None:
    names = [("e/uk", "alpha"), ("e/uka", "lpha"), ("e/u", "kalpha"), ("e/uk", "beta"), ("e/fr", "alpha")]
    found = [signal_ids(origin, member, [RECORD])[0] for origin, member in names]
    assert len(set(found)) == len(names)


def test_an_id_as_the_wire_contract_spells_it() -> None:
    text = b"signal-exchange/v1/signal\0" + b"\x00\x04e/uk" + b"\x00\x05alpha" + RECORD
    assert signal_ids("e/uk", "alpha", [RECORD]) == [sha256(text).digest()]
    assert statement_id(b"payload") == sha256(b"payload").digest()

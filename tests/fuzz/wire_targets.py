"""The codec's readers: headers, records, leaves, frames and statements, each in its strict and its lenient way."""

from __future__ import annotations

from typing import Any

from exchange import codec
from exchange.api.offering import MAX_STATEMENTS
from exchange.domain.bodies import SignalHeader
from exchange.domain.directory import Directory
from exchange.domain.key_epochs import KeyEpochs
from exchange.domain.plain_records import Sifted, sift
from exchange.domain.statement import HEADER_TYPE, RECORD_PREFIX, Header, Leaf, Signature, Statement
from exchange.domain.validation import MAX_LEAF_BYTES, Findings, _check_record
from exchange.errors import Reason, Rejected, Unavailable
from exchange.publish.intake import Intake
from exchange.publish.quota import Limits, Quotas
from exchange.v1 import publish_pb2
from exchange.v1 import statement_pb2 as pb
from exchange_client.records import Indicator, Record, VideoFrame
from tests.fuzz.target import Target
from tests.unit.builders import (
    ALPHA,
    DIRECTORY,
    NOW_MS,
    OPERATOR,
    Actor,
    community,
    directory_header,
    directory_statement,
    genesis,
    make_directory,
    no_life,
    pdq_record,
    signal_statement,
)

RESTRICTED = signal_statement(audience=["beta"]).statement
PLAIN = signal_statement(records=[pdq_record("one"), pdq_record("two")]).statement
VIDEO = Record(bytes(16), (Indicator(2, frames=(VideoFrame(40, 90, bytes(32)), VideoFrame(80, 91, bytes(32)))),))
DIRECTORY_STATEMENTS = tuple(
    directory_statement(body)
    for body in (Actor("alpha", ALPHA.role, 7).key_body(), community(f"{DIRECTORY.partition('/')[0]}/new"))
)
LEAF = codec.encode_leaf(Leaf(7, NOW_MS, True, 3, PLAIN.payload, PLAIN.signatures))
_UNBOUNDED = Limits(2**40, 2**40, 2**40)


def _message(statement: Statement) -> bytes:
    return codec.encode_statement(statement)


def read_header(data: bytes) -> object:
    """Nothing can hide in a header that the hub takes, and a receiver reads in it what the hub read."""
    try:
        lenient = codec.decode_header(data, strict=False)
    except Rejected as error:
        assert error.reason is Reason.MALFORMED
        _refused_strictly(data)
        raise
    assert codec.decode_header(codec.encode_header(lenient), strict=False) == lenient
    strict = codec.decode_header(data, strict=True)
    assert strict == lenient
    assert codec.encode_header(strict) == data
    return strict


def _refused_strictly(data: bytes) -> None:
    try:
        codec.decode_header(data, strict=True)
    except Rejected:
        return
    raise AssertionError("the hub takes a header that receivers refuse")


def value_of(view: Any) -> Record:
    """Return a typed view of a record as a value."""
    return Record(
        view.salt,
        tuple(
            Indicator(i.type, i.value, i.profile, tuple(VideoFrame(f.frame_ms, f.quality, f.pdq) for f in i.frames))
            for i in view.indicators
        ),
        view.case_ref,
        view.quality,
    )


def read_records(data: bytes) -> object:
    """The typed views of records say what their bytes say, one by one and in order; plain ones have no fault."""
    raw = codec.decode_statement(data).records if data[:1] == b"\x22" else (data,)
    lenient = codec.decode_records(raw, strict=False)
    assert len(lenient) == len(raw)
    for each, view in zip(raw, lenient, strict=True):
        assert value_of(codec.decode_records([each], strict=False)[0]) == value_of(view)
    sifted = sift(raw)
    plain = [each for position, each in enumerate(raw) if position not in sifted.others]
    findings, seen = Findings(), Sifted()
    for each, view in zip(plain, codec.decode_records(plain, strict=True), strict=True):
        _check_record(findings, "record", each, view, seen)
    assert not findings.total
    assert (seen.types, seen.key_epochs) == (sifted.types, sifted.key_epochs) or sifted.others
    strict = codec.decode_records(raw, strict=True)
    assert [codec.encode_record(value_of(view)) for view in strict] == list(raw)
    assert list(map(value_of, strict)) == list(map(value_of, lenient))
    return strict


def read_audience(data: bytes) -> object:
    """Who may read is the same for the hub and for receivers."""
    lenient = codec.decode_audience(data, strict=False)
    strict = codec.decode_audience(data, strict=True)
    assert strict == lenient
    if data[:2] == RECORD_PREFIX:
        assert codec.encode_audience(data[2:18], strict) == data
    return strict


def read_statement(data: bytes) -> object:
    found = codec.decode_statement(data)
    assert codec.decode_statement(codec.encode_statement(found)) == found
    return found


def read_leaf(data: bytes) -> object:
    """What decides who is shown an entry is what its header says."""
    found = codec.decode_leaf(data)
    assert codec.decode_leaf(codec.encode_leaf(found)) == found
    routing, header = codec.decode_routing(data), codec.decode_header(found.payload, strict=False)
    assert (routing.kind, routing.publisher) == (header.kind, header.publisher)
    body = header.body
    assert (routing.audience is None) == (not isinstance(body, SignalHeader))
    if isinstance(body, SignalHeader):
        said = (body.audience, body.label, body.indicator_types, body.election)
        assert (routing.audience, routing.label, routing.indicator_types, routing.election) == said
    return found


def read_frame(data: bytes) -> object:
    """The quick reading of a frame and the whole one find the same leaf."""
    whole = codec.decode_frame(data)
    assert codec.frame_leaf(data) == whole.leaf
    assert not (whole.present and whole.erased)
    return whole


def read_leaf_of_frame(data: bytes) -> object:
    leaf = codec.frame_leaf(data)
    assert leaf in data[: 22 + len(leaf)], "two tags and two lengths stand before it, of ten bytes at most"
    assert codec.frame_leaf(codec.leaf_only_frame(leaf)) == leaf
    return leaf


def _intake() -> Intake:
    directory: Directory = make_directory()
    return Intake(lambda: directory, lambda _: KeyEpochs(), no_life, Quotas(_UNBOUNDED, lambda: 0), lambda: NOW_MS)


INTAKE = _intake()


def check_statement(data: bytes) -> object:
    """What the hub would sequence fits into a leaf, and reads back as what was judged. Signed again, to get so far."""
    statement = codec.decode_statement(data)
    by = OPERATOR if _origin(statement) == DIRECTORY else ALPHA
    statement = Statement(
        statement.payload,
        (by.sign(statement.payload),) if statement.payload_type == HEADER_TYPE else statement.signatures,
        statement.records,
        statement.audience_record,
        statement.resubmission,
        statement.payload_type,
    )
    admitted = INTAKE.admit(by.workload, statement)
    candidate = INTAKE.check(by.workload, admitted, INTAKE.identify(by.workload, admitted))
    signatures = tuple(Signature(bytes(32), bytes(64)) for _ in range(16))
    leaf = codec.encode_leaf(Leaf(2**63 - 1, 2**63 - 1, True, 2**63 - 1, statement.payload, signatures))
    assert len(leaf) <= MAX_LEAF_BYTES
    assert codec.decode_header(codec.decode_leaf(leaf).payload, strict=False) == candidate.header
    return candidate


def _origin(statement: Statement) -> str:
    try:
        return codec.decode_header(statement.payload, strict=False).origin
    except Rejected:
        return ""


def read_publish_message(data: bytes) -> object:
    """As the hub reads what a publish stream brings."""
    message = codec.parse(publish_pb2.PublishStreamRequest(), data, "request")
    if len(message.statements) > MAX_STATEMENTS:
        raise Rejected(Reason.TOO_LARGE, "refused before any of them is looked at")
    return [codec.statement_from_wire(each) for each in message.statements]


def _header(header: Header) -> bytes:
    return codec.encode_header(header)


TARGETS = (
    Target(
        "header",
        read_header,
        (
            PLAIN.payload,
            RESTRICTED.payload,
            *(s.payload for s in DIRECTORY_STATEMENTS),
            _header(directory_header(genesis())),
        ),
        message=True,
        examples=150,
    ),
    Target(
        "records",
        read_records,
        (
            codec.encode_record(pdq_record()),
            codec.encode_record(VIDEO),
            pb.Statement(records=PLAIN.records).SerializeToString(),
        ),
        message=True,
        examples=150,
    ),
    Target("audience", read_audience, (b"", codec.encode_audience(bytes(16), ["alpha", "beta"])), message=True),
    Target("statement", read_statement, tuple(map(_message, (PLAIN, RESTRICTED))), message=True),
    Target("leaf", read_leaf, (LEAF,), message=True),
    Target(
        "frame",
        read_frame,
        (
            codec.full_frame(LEAF, PLAIN.records, b""),
            codec.full_frame(b"leaf", [b"record"], RESTRICTED.audience_record),
            codec.leaf_only_frame(LEAF),
            codec.erased_frame(b"leaf", b"audience"),
        ),
        message=True,
    ),
    Target("frame-leaf", read_leaf_of_frame, (codec.leaf_only_frame(LEAF), codec.full_frame(b"x", [], b""))),
    Target(
        "published-statement",
        check_statement,
        tuple(map(_message, (PLAIN, RESTRICTED, *DIRECTORY_STATEMENTS))),
        refuses=(Rejected, Unavailable),
        message=True,
        examples=150,
        max_bytes=16_384,
    ),
    Target(
        "publish-message",
        read_publish_message,
        (publish_pb2.PublishStreamRequest(statements=[codec.statement_to_wire(PLAIN)]).SerializeToString(),),
        message=True,
    ),
)

"""Bytes to values and back: the only place, beside the servicers, that knows the generated messages.

Two readings of a header exist. The hub's is *strict*: the bytes must be exactly what a protobuf library writes for
the fields this release knows, in order, each once, so nothing can hide in them. A receiver's is *lenient*: unknown
fields and kinds are kept in the leaf and ignored. Records are read in one pass, as a typed view of the same bytes.

A *frame* is one delivered entry, ready for the wire: tag and length of ``SubscribeResponse.entries`` and the entry.
Frames are made once; a feed message is a join of frames, because protobuf messages concatenate.
Untrusted bytes raise `Rejected` and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError, Message

from exchange import codec_bodies
from exchange.domain.kinds import RESTRICTED
from exchange.domain.statement import HEADER_TYPE, ID_BYTES, LEAF_FORMAT, Header, Leaf, RecordView, Signature, Statement
from exchange.errors import Reason, Rejected
from exchange.v1 import statement_pb2 as pb

if TYPE_CHECKING:
    from typing import TypeVar

    M = TypeVar("M", bound=Message)

_ENTRY_TAG = b"\x0a"
_LEAF_TAG = b"\x0a"
_NOT_FOR_YOU = b"\x10\x02"
_ERASED = b"\x10\x03"


kind_of = codec_bodies.kind_of


def malformed(what: str) -> Rejected:
    """Return the error for bytes that are not what they should be."""
    return Rejected(Reason.MALFORMED, what)


def parse(message: M, data: bytes, what: str) -> M:
    """Fill a message from bytes and return it. Raises `Rejected` (MALFORMED)."""
    try:
        message.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise malformed(f"{what}: not a valid message") from error
    return message


def parse_strict(message: M, data: bytes, what: str) -> M:
    """Fill a message from bytes that are exactly what this release would write. Raises `Rejected` (MALFORMED)."""
    parse(message, data, what)
    message.DiscardUnknownFields()
    if message.SerializeToString(deterministic=True) != data:
        raise malformed(f"{what}: unknown, repeated or out-of-order fields")
    return message


def encode_header(header: Header) -> bytes:
    """Return the bytes to sign for a header."""
    message = pb.Header(
        origin=header.origin,
        kind=header.kind,  # type: ignore[arg-type]
        publisher=header.publisher,
        created_at_ms=header.created_at_ms,
        nonce=header.nonce,
        signal_ids=b"".join(header.signal_ids),
    )
    if header.body is not None:
        codec_bodies.write(message, header.body)
    return message.SerializeToString(deterministic=True)


def decode_header(payload: bytes, *, strict: bool) -> Header:
    """Return what a signed payload says. Raises `Rejected` (MALFORMED)."""
    message = pb.Header()
    (parse_strict if strict else parse)(message, payload, "header")
    return _header(message, strict=strict)


def _header(message: pb.Header, *, strict: bool) -> Header:
    ids = message.signal_ids
    if len(ids) % ID_BYTES:
        raise malformed("header: signal_ids is not a multiple of 32 bytes")
    if strict and codec_bodies.present(message) not in ([], [message.kind]):
        raise malformed("header: its body is not that of its kind")
    return Header(
        origin=message.origin,
        kind=message.kind,
        publisher=message.publisher,
        created_at_ms=message.created_at_ms,
        nonce=message.nonce,
        signal_ids=tuple([ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]),
        body=codec_bodies.read(message, message.kind),
    )


def encode_record(record: RecordView) -> bytes:
    """Return the bytes of a record; they begin with the salt."""
    return pb.SignalRecord(
        salt=record.salt,
        indicators=[
            pb.Indicator(
                type=indicator.type,  # type: ignore[arg-type]
                profile=indicator.profile,
                value=indicator.value,
                frames=[pb.VideoFrame(frame_ms=f.frame_ms, quality=f.quality, pdq=f.pdq) for f in indicator.frames],
            )
            for indicator in record.indicators
        ],
        case_ref=record.case_ref,
        quality=record.quality,
    ).SerializeToString(deterministic=True)


def decode_records(records: Sequence[bytes], *, strict: bool) -> Sequence[RecordView]:
    """Return the typed views of raw records, in one parse of all of them. Raises `Rejected` (MALFORMED)."""
    section = pb.Statement(records=records).SerializeToString()
    view = pb.SignalSection()
    (parse_strict if strict else parse)(view, section, "records")
    return view.records


def decode_strict_records(records: Sequence[bytes]) -> Sequence[RecordView]:
    """Return the typed views of records as the hub reads them, and an SDK that is about to send them."""
    return decode_records(records, strict=True)


def encode_audience(salt: bytes, members: Sequence[str]) -> bytes:
    """Return the bytes of an audience record."""
    return pb.AudienceRecord(salt=salt, members=members).SerializeToString(deterministic=True)


def decode_audience(data: bytes, *, strict: bool) -> tuple[str, ...]:
    """Return the member list of an audience record; empty for empty bytes. Raises `Rejected` (MALFORMED)."""
    if not data:
        return ()
    message = pb.AudienceRecord()
    (parse_strict if strict else parse)(message, data, "audience_record")
    return tuple(message.members)


def statement_from_wire(message: pb.Statement) -> Statement:
    """Return a statement as it was sent, its bytes untouched."""
    return Statement(
        payload=message.payload,
        signatures=_signatures(message.signatures),
        records=tuple(message.records),
        audience_record=message.audience_record,
        resubmission=message.resubmission,
        payload_type=message.payload_type,
    )


def statement_to_wire(statement: Statement) -> pb.Statement:
    """Return the message that sends a statement."""
    return pb.Statement(
        payload_type=statement.payload_type,
        payload=statement.payload,
        signatures=[pb.Signature(key_id=s.key_id, signature=s.signature) for s in statement.signatures],
        records=statement.records,
        audience_record=statement.audience_record,
        resubmission=statement.resubmission,
    )


def encode_statement(statement: Statement) -> bytes:
    """Return a statement as bytes, for an outbox or a file."""
    return statement_to_wire(statement).SerializeToString(deterministic=True)


def decode_statement(data: bytes) -> Statement:
    """Return a statement from its bytes. Raises `Rejected` (MALFORMED)."""
    return statement_from_wire(parse(pb.Statement(), data, "statement"))


def _signatures(messages: Sequence[pb.Signature]) -> tuple[Signature, ...]:
    return tuple([Signature(message.key_id, message.signature) for message in messages[:]])


def encode_leaf(leaf: Leaf) -> bytes:
    """Return the exact bytes that the tree hashes. Called once per statement, by the sequencer."""
    return pb.Leaf(
        format=leaf.format,
        index=leaf.index,
        received_at_ms=leaf.received_at_ms,
        late=leaf.late,
        directory_size=leaf.directory_size,
        payload_type=leaf.payload_type,
        payload=leaf.payload,
        signatures=[pb.Signature(key_id=s.key_id, signature=s.signature) for s in leaf.signatures],
    ).SerializeToString(deterministic=True)


def decode_leaf(data: bytes) -> Leaf:
    """Return what a leaf says. Raises `Rejected` (MALFORMED), also for a format this release does not know."""
    message = _leaf(data)
    return Leaf(
        index=message.index,
        received_at_ms=message.received_at_ms,
        late=message.late,
        directory_size=message.directory_size,
        payload=message.payload,
        signatures=_signatures(message.signatures),
    )


def _leaf(data: bytes) -> pb.Leaf:
    message = parse(pb.Leaf(), data, "leaf")
    if message.format != LEAF_FORMAT or message.payload_type != HEADER_TYPE:
        raise malformed(f"leaf: format {message.format} ({message.payload_type[:80]!r}) is not known to this release")
    return message


@dataclass(frozen=True, slots=True)
class Routing:
    """The few facts in a leaf that decide who is shown its records, and whether they are wanted."""

    kind: int
    publisher: str
    #: None where there are no records.
    audience: int | None = None
    label: int = 0
    indicator_types: tuple[int, ...] = ()
    election: bytes = b""


def decode_routing(leaf: bytes) -> Routing:
    """Return a leaf's routing, without making values of the rest. Raises `Rejected` (MALFORMED)."""
    header = parse(pb.Header(), parse(pb.Leaf(), leaf, "leaf").payload, "header")
    if header.kind != pb.KIND_SIGNAL or not header.HasField("signal"):
        addressed = pb.AUDIENCE_RESTRICTED if header.kind in RESTRICTED else None
        return Routing(header.kind, header.publisher, addressed)
    body = header.signal
    return Routing(header.kind, header.publisher, body.audience, body.label, tuple(body.indicator_types), body.election)


@dataclass(frozen=True, slots=True)
class SequencedHeader:
    """A header, and what the hub added to it in the leaf."""

    header: Header
    received_at_ms: int
    late: bool
    directory_size: int


def decode_sequenced(data: bytes) -> SequencedHeader:
    """Return what a leaf says but for its signatures. Raises `Rejected` (MALFORMED)."""
    leaf = _leaf(data)
    header = _header(parse(pb.Header(), leaf.payload, "header"), strict=False)
    return SequencedHeader(header, leaf.received_at_ms, leaf.late, leaf.directory_size)


def varint(value: int) -> bytes:
    """Return a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise malformed("frame: a number of more than ten bytes")


def _frame(entry: bytes) -> bytes:
    return b"".join((_ENTRY_TAG, varint(len(entry)), entry))


def full_frame(leaf: bytes, records: Sequence[bytes], audience_record: bytes) -> bytes:
    """Return the frame of an entry with its records."""
    entry = pb.Entry(
        leaf=leaf,
        state=pb.RECORD_STATE_PRESENT,
        records=records,
        audience_record=audience_record,
    )
    return _frame(entry.SerializeToString(deterministic=True))


def leaf_only_frame(leaf: bytes) -> bytes:
    """Return the frame of an entry whose records this receiver does not get."""
    return _frame(b"".join((_LEAF_TAG, varint(len(leaf)), leaf, _NOT_FOR_YOU)))


def erased_frame(leaf: bytes, audience_record: bytes = b"") -> bytes:
    """Return the frame of an entry whose records are gone. Who might have read them is kept with the leaf."""
    entry = pb.Entry(leaf=leaf, state=pb.RECORD_STATE_ERASED, audience_record=audience_record)
    return _frame(entry.SerializeToString(deterministic=True))


def frame_without(frame: bytes, positions: Collection[int]) -> bytes:
    """Return a frame with the records at these positions erased; where none is left, as of an entry erased whole."""
    entry = decode_frame(frame)
    records = [b"" if position in positions else record for position, record in enumerate(entry.records)]
    if entry.present and any(records):
        return full_frame(entry.leaf, records, entry.audience_record)
    return erased_frame(entry.leaf, entry.audience_record)


def frames_in(data: bytes) -> Iterator[bytes]:
    """Yield the frames that were joined. Raises `Rejected` (MALFORMED) where they are not just that."""
    at = 0
    while at < len(data):
        try:
            size, inside = _read_varint(data, at + 1)
        except IndexError as error:
            raise malformed("frames: cut short") from error
        if data[at : at + 1] != _ENTRY_TAG or inside + size > len(data):
            raise malformed("frames: not those of entries, or cut short")
        yield data[at : inside + size]
        at = inside + size


def frame_leaf(frame: bytes) -> bytes:
    """Return the leaf inside a frame, without parsing the rest. Raises `Rejected` (MALFORMED)."""
    try:
        _, inside = _read_varint(frame, 1)
        size, at = _read_varint(frame, inside + 1)
        leaf = frame[at : at + size]
    except IndexError as error:
        raise malformed("frame: truncated") from error
    if frame[:1] != _ENTRY_TAG or frame[inside : inside + 1] != _LEAF_TAG or len(leaf) != size:
        raise malformed("frame: not an entry")
    return leaf


def is_erased(frame: bytes) -> bool:
    """Whether a frame of ours is that of an entry whose records are gone, without parsing it."""
    _, inside = _read_varint(frame, 1)
    size, at = _read_varint(frame, inside + 1)
    return frame.startswith(_ERASED, at + size)


@dataclass(frozen=True, slots=True)
class Delivered:
    """One entry of a feed message, as bytes. ``state`` is a ``RecordState`` number."""

    leaf: bytes
    state: int
    records: tuple[bytes, ...]
    audience_record: bytes

    @classmethod
    def bare(cls, leaf: bytes) -> Delivered:
        """Return an entry of which there is only the leaf."""
        return cls(leaf, pb.RECORD_STATE_NOT_FOR_YOU, (), b"")

    @property
    def present(self) -> bool:
        """Whether the records came with it."""
        return self.state == pb.RECORD_STATE_PRESENT

    @property
    def erased(self) -> bool:
        """Whether the records are gone everywhere."""
        return self.state == pb.RECORD_STATE_ERASED


def delivered(message: pb.Entry) -> Delivered:
    """Return an entry of a feed message as values."""
    return Delivered(message.leaf, message.state, tuple(message.records), message.audience_record)


def decode_frame(frame: bytes) -> Delivered:
    """Return the entry in a frame; its leaf is that of `frame_leaf`. Raises `Rejected` (MALFORMED)."""
    leaf = frame_leaf(frame)
    size, at = _read_varint(frame, 1)
    if len(frame) != at + size:
        raise malformed("frame: not an entry")
    entry = delivered(parse(pb.Entry(), frame[at:], "entry"))
    if entry.leaf != leaf:
        raise malformed("frame: more than one leaf")
    return entry

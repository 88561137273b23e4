"""The records of referrals, updates and notes: bytes to values and back. Bytes that are no record raise `Rejected`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from exchange.codec import malformed, parse, parse_strict
from exchange.codec_bodies import plain
from exchange.domain.addressed import AddressedRecord, NoteRecord, ReferralRecord, UpdateRecord
from exchange.domain.kinds import Kind
from exchange.v1 import statement_pb2 as pb

Message = pb.ReferralRecord | pb.ReferralUpdateRecord | pb.NoteRecord


@dataclass(frozen=True, slots=True)
class _Row:
    record: type[AddressedRecord]
    message: type[Message]
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]

    @classmethod
    def of(cls, record: type[AddressedRecord], message: type[Message]) -> _Row:
        return cls(record, message, *plain(message, record))


_ROWS: dict[int, _Row] = {
    Kind.REFERRAL: _Row.of(ReferralRecord, pb.ReferralRecord),
    Kind.REFERRAL_UPDATE: _Row.of(UpdateRecord, pb.ReferralUpdateRecord),
    Kind.NOTE: _Row.of(NoteRecord, pb.NoteRecord),
}
_WRITERS = {row.record: row.write for row in _ROWS.values()}


def encode_addressed(record: AddressedRecord) -> bytes:
    """Return the bytes of a record; they begin with the salt."""
    return message_of(record).SerializeToString(deterministic=True)


def message_of(record: AddressedRecord) -> Message:
    """Return the message of a record."""
    message: Message = _WRITERS[type(record)](record)
    return message


def decode_addressed(kind: int, records: Sequence[bytes], *, strict: bool) -> AddressedRecord:
    """Return what the one record of a statement of this kind says. Raises `Rejected` (MALFORMED)."""
    if len(records) != 1:
        raise malformed(f"records: must be exactly one, not {len(records)}")
    row = _ROWS.get(kind)
    if row is None:
        raise malformed("records: of a kind that has none for named members")
    record: AddressedRecord = row.read((parse_strict if strict else parse)(row.message(), records[0], "record"))
    return record


def referral_of(message: pb.ReferralRecord) -> ReferralRecord:
    """Return what a message says."""
    record: ReferralRecord = _ROWS[Kind.REFERRAL].read(message)
    return record


def update_of(message: pb.ReferralUpdateRecord) -> UpdateRecord:
    """Return what a message says."""
    record: UpdateRecord = _ROWS[Kind.REFERRAL_UPDATE].read(message)
    return record

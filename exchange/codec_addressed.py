"""The records of referrals, updates and notes: bytes to values and back. Bytes that are no record raise `Rejected`."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.codec import malformed, parse, parse_strict
from exchange.domain.addressed import AddressedRecord, NoteRecord, ReferralRecord, UpdateRecord
from exchange.domain.kinds import Kind
from exchange.v1 import statement_pb2 as pb


def encode_addressed(record: AddressedRecord) -> bytes:
    """Return the bytes of a record; they begin with the salt."""
    return message_of(record).SerializeToString(deterministic=True)


def message_of(record: AddressedRecord) -> pb.ReferralRecord | pb.ReferralUpdateRecord | pb.NoteRecord:
    """Return the message of a record."""
    match record:
        case ReferralRecord():
            return pb.ReferralRecord(
                salt=record.salt,
                authority=record.authority,
                label=record.label,  # type: ignore[arg-type]
                election=record.election,
                target_class=record.target_class,  # type: ignore[arg-type]
                urgency=record.urgency,  # type: ignore[arg-type]
                respond_by_ms=record.respond_by_ms,
                case_ref=record.case_ref,
                signal_ids=record.signal_ids,
                contact=record.contact,
                handover=record.handover,
            )
        case UpdateRecord():
            return pb.ReferralUpdateRecord(
                salt=record.salt,
                referral=record.referral,
                state=record.state,  # type: ignore[arg-type]
                outcome=record.outcome,  # type: ignore[arg-type]
                at_ms=record.at_ms,
                reference=record.reference,
                respond_by_ms=record.respond_by_ms,
            )
        case NoteRecord():
            return pb.NoteRecord(salt=record.salt, target=record.target, text=record.text)


def decode_addressed(kind: int, records: Sequence[bytes], *, strict: bool) -> AddressedRecord:
    """Return what the one record of a statement of this kind says. Raises `Rejected` (MALFORMED)."""
    if len(records) != 1:
        raise malformed(f"records: must be exactly one, not {len(records)}")
    read = parse_strict if strict else parse
    raw = records[0]
    match kind:
        case Kind.REFERRAL:
            return referral_of(read(pb.ReferralRecord(), raw, "record"))
        case Kind.REFERRAL_UPDATE:
            return update_of(read(pb.ReferralUpdateRecord(), raw, "record"))
        case Kind.NOTE:
            note = read(pb.NoteRecord(), raw, "record")
            return NoteRecord(note.salt, note.target, note.text)
        case _:
            raise malformed("records: of a kind that has none for named members")


def referral_of(message: pb.ReferralRecord) -> ReferralRecord:
    """Return what a message says."""
    return ReferralRecord(
        salt=message.salt,
        authority=message.authority,
        label=message.label,
        urgency=message.urgency,
        respond_by_ms=message.respond_by_ms,
        case_ref=message.case_ref,
        election=message.election,
        target_class=message.target_class,
        signal_ids=tuple(message.signal_ids),
        contact=message.contact,
        handover=message.handover,
    )


def update_of(message: pb.ReferralUpdateRecord) -> UpdateRecord:
    """Return what a message says."""
    return UpdateRecord(
        salt=message.salt,
        referral=message.referral,
        state=message.state,
        at_ms=message.at_ms,
        outcome=message.outcome,
        reference=message.reference,
        respond_by_ms=message.respond_by_ms,
    )

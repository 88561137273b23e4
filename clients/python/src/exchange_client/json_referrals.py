"""Referrals, what becomes of them, and notes as JSON: lines that say them, and what a hub or a feed tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exchange.domain.addressed import (
    AddressedRecord,
    NoteRecord,
    ReferralOutcome,
    ReferralRecord,
    ReferralState,
    ReferralUrgency,
    UpdateRecord,
)
from exchange.domain.bodies import TargetClass
from exchange.domain.contacts import ContactPurpose
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange_client.in_flight import Said
from exchange_client.json_words import (
    id_of,
    ids_of,
    invalid,
    known_keys,
    name_of,
    optional_word,
    text_of,
    time_of,
    word_of,
)
from exchange_client.referrals import MemberContacts, NoteReport, ReferralReport, ReferralStep
from exchange_client.referring import UNSALTED

HOUR_MS = 3_600_000
_WHEN = frozenset({"respond_by", "respond_within_hours"})
#: What a line may hold, beside its ``kind``, by what it says.
KEYS: dict[str, frozenset[str]] = {
    "refer": _WHEN
    | {"authority", "label", "urgency", "case_ref", "contact", "handover", "election", "target_class", "signal_ids"},
    "acknowledge": frozenset({"referral", "at", "reference"}),
    "ask": _WHEN | {"referral", "at", "reference", "text"},
    "answer": frozenset({"referral", "at", "reference", "text", "authority"}),
    "close": frozenset({"referral", "at", "reference", "outcome", "text"}),
    "note": frozenset({"target", "text", "audience"}),
}
_STATES = {
    "acknowledge": ReferralState.ACKNOWLEDGED,
    "ask": ReferralState.ASKED,
    "answer": ReferralState.ANSWERED,
    "close": ReferralState.CLOSED,
}
_KINDS: dict[type[AddressedRecord], Kind] = {
    ReferralRecord: Kind.REFERRAL,
    UpdateRecord: Kind.REFERRAL_UPDATE,
    NoteRecord: Kind.NOTE,
}


@dataclass(frozen=True, slots=True)
class AddressedLine:
    """What a line says."""

    record: AddressedRecord
    #: Of a note that goes before it: a question or an answer in words.
    text: str = ""
    #: To whom else; empty where it is to the parties of the referral, which is to be asked for.
    audience: tuple[str, ...] = ()


def addressed_from_json(data: Mapping[str, Any], what: str, *, now_ms: int) -> AddressedLine:
    """Return what a JSON object says; ``what`` is a key of `KEYS`. Unknown keys are errors. Raises `Rejected`."""
    known_keys(data, KEYS[what], f" of what is said by {what}")
    if what == "refer":
        return AddressedLine(_referral(data, now_ms))
    if what == "note":
        audience = data.get("audience", [])
        if not isinstance(audience, list):
            raise invalid("`audience` must be a list of members")
        members = tuple(text_of(each, "audience") for each in audience)
        target = id_of(data.get("target"), "target")
        return AddressedLine(NoteRecord(UNSALTED, target, text_of(data.get("text"), "text")), audience=members)
    closed = what == "close"
    record = UpdateRecord(
        UNSALTED,
        id_of(data.get("referral"), "referral"),
        _STATES[what],
        time_of(data.get("at", now_ms), "at"),
        word_of(ReferralOutcome, data.get("outcome"), "outcome") if closed else 0,
        text_of(data.get("reference", ""), "reference"),
        _by_when(data, now_ms) if what == "ask" else 0,
    )
    authority = text_of(data.get("authority", ""), "authority")
    return AddressedLine(record, text_of(data.get("text", ""), "text"), (authority,) if authority else ())


def _referral(data: Mapping[str, Any], now_ms: int) -> ReferralRecord:
    election = data.get("election", "")
    return ReferralRecord(
        UNSALTED,
        text_of(data.get("authority"), "authority"),
        word_of(Label, data.get("label"), "label"),
        word_of(ReferralUrgency, data.get("urgency", "routine"), "urgency"),
        _by_when(data, now_ms),
        text_of(data.get("case_ref"), "case_ref"),
        id_of(election, "election") if election else b"",
        optional_word(TargetClass, data.get("target_class"), "target class"),
        ids_of(data.get("signal_ids"), "signal_ids"),
        text_of(data.get("contact"), "contact"),
        text_of(data.get("handover", ""), "handover"),
    )


def _by_when(data: Mapping[str, Any], now_ms: int) -> int:
    hours = data.get("respond_within_hours")
    if (hours is None) is (data.get("respond_by") is None):
        raise invalid("say by when: either `respond_by`, a time, or `respond_within_hours`")
    if hours is None:
        return time_of(data["respond_by"], "respond_by")
    if not isinstance(hours, int) or isinstance(hours, bool) or not 0 < hours <= 24 * 90:
        raise invalid("`respond_within_hours` must be 1 to 2160")
    return now_ms + hours * HOUR_MS


def record_to_json(record: AddressedRecord) -> dict[str, object]:
    """Return what a record says: what was not said is left out."""
    match record:
        case ReferralRecord():
            said: dict[str, object] = {
                "authority": record.authority,
                "label": name_of(Label, record.label),
                "urgency": name_of(ReferralUrgency, record.urgency),
                "respond_by": record.respond_by_ms,
                "case_ref": record.case_ref,
                "election": record.election.hex(),
                "target_class": name_of(TargetClass, record.target_class),
                "signal_ids": [id_.hex() for id_ in record.signal_ids],
                "contact": record.contact,
                "handover": record.handover,
            }
        case UpdateRecord():
            said = {
                "referral": record.referral.hex(),
                "state": name_of(ReferralState, record.state),
                "outcome": name_of(ReferralOutcome, record.outcome),
                "at": record.at_ms,
                "reference": record.reference,
                "respond_by": record.respond_by_ms,
            }
        case _:
            said = {"target": record.target.hex(), "text": record.text}
    return {key: value for key, value in said.items() if value}


def addressed_to_json(said: Said) -> dict[str, object]:
    """Return what was said to named members, with its id, and its index where the ledger has it."""
    data: dict[str, object] = {}
    if said.record is not None:
        data = {"kind": _KINDS[type(said.record)].name.lower(), **record_to_json(said.record)}
    if said.id is not None:
        data |= {"id": said.id.hex(), "audience": list(said.audience)}
    if said.receipt is not None:
        data |= {"index": said.receipt.index, "repeated": said.receipt.repeated}
    return data


def report_to_json(report: ReferralReport) -> dict[str, object]:
    """Return a referral, and what has become of it."""
    return {
        "id": report.id.hex(),
        "index": report.index,
        "publisher": report.publisher,
        "received_at": report.received_at_ms,
        **record_to_json(report.record),
        "state": name_of(ReferralState, report.state),
        "outcome": name_of(ReferralOutcome, report.outcome),
        "waits_for": report.waits_for or None,
        "due": report.due_ms or None,
        "overdue": report.overdue,
        "ends_at": report.ends_at_ms,
        "steps": [_step(each) for each in report.steps],
        "notes": [note_to_json(each) for each in report.notes],
    }


def _step(step: ReferralStep) -> dict[str, object]:
    said = record_to_json(step.record)
    said.pop("referral", None)
    place = {"index": step.index, "publisher": step.publisher, "received_at": step.received_at_ms}
    return {"id": step.id.hex(), **place, **said}


def note_to_json(note: NoteReport) -> dict[str, object]:
    """Return a note."""
    return {
        "id": note.id.hex(),
        "index": note.index,
        "publisher": note.publisher,
        "received_at": note.received_at_ms,
        "text": note.text,
        "audience": list(note.audience),
    }


def contacts_to_json(member: MemberContacts) -> dict[str, object]:
    """Return a member's desks."""
    return {
        "member": member.member,
        "name": member.display_name,
        "class": member.member_class,
        "contacts": [
            {
                "purpose": name_of(ContactPurpose, each.purpose),
                "address": each.address,
                "hours": each.hours,
                "languages": list(each.languages),
            }
            for each in member.contacts
        ],
    }

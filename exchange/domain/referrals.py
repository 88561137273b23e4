"""Who may refer what to whom, say what of a referral, and write notes to whom: each rule, and no state. Pure.

Content never passes through the hub: a referral holds words, references, times and addresses of desks, and no free
text. A note is short, and plain. Whoever is no party to a referral or dispute is told the same as where there is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from exchange.domain.addressed import (
    Addressed,
    AddressedRecord,
    NoteRecord,
    ReferralOutcome,
    ReferralRecord,
    ReferralState,
    ReferralUrgency,
    UpdateRecord,
)
from exchange.domain.bodies import OpinionCategory, TargetClass
from exchange.domain.contacts import is_desk, is_https
from exchange.domain.directory import Directory
from exchange.domain.identifiers import is_name
from exchange.domain.kinds import KINDS, MemberClass, Role
from exchange.domain.labels import ROUTED_ELSEWHERE, Label
from exchange.domain.life import LifeFacts, SignalFacts, could_see
from exchange.domain.referral_facts import MAX_NOTES, ends_at_ms, problem_of
from exchange.domain.statement import ID_BYTES, RECORD_PREFIX, SALT_BYTES, Header, audience_id, signal_ids
from exchange.domain.validation import DAY_MS, MAX_RECORD_BYTES, SKEW_MS, Findings, check_envelope
from exchange.errors import Reason

MAX_SIGNALS = 16
MAX_NOTE_CHARACTERS = 1_000
MAX_RESPONSE_DAYS = 90
#: No space, and no room for a sentence.
REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}", re.ASCII)
_NO_REFERENCE = "must be a reference: at most 64 letters, digits and . _ : / -, without spaces"
_UNKNOWN = "is no referral that is known to you"
#: Joiners that some scripts cannot be written without; all else of their class steers, and nobody sees it.
_JOINERS = frozenset("\u200c\u200d")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def validate_addressed(
    header: Header,
    body: Addressed,
    raw_records: Sequence[bytes],
    record: AddressedRecord,
    audience_record: bytes,
    audience: Sequence[str],
    role: Role,
    facts: LifeFacts,
    directory: Directory,
    *,
    now_ms: int,
) -> None:
    """Check a referral, an update or a note whole. Raises `InvalidStatement`."""
    findings = Findings()
    check_envelope(findings, header)
    _check_binding(findings, header, body, raw_records, audience_record, audience)
    check_record(findings, record, now_ms=now_ms)
    findings.raise_if_any()
    ids = header.signal_ids
    findings.check(not (facts.addressed.said(ids) or facts.addressed.erased(ids)), "records", "has been said already")
    match record:
        case ReferralRecord():
            _check_referral(findings, header, record, audience, facts, directory, now_ms)
        case UpdateRecord():
            _check_update(findings, header, record, audience, facts, directory, now_ms)
        case NoteRecord():
            _check_note(findings, header, record, audience, role, facts, directory)
    findings.raise_if_any()


def check_record(findings: Findings, record: AddressedRecord, *, now_ms: int) -> None:
    """Check what needs no facts of the log: what a publisher can tell before it signs."""
    findings.check(len(record.salt) == SALT_BYTES, "record.salt", f"must be {SALT_BYTES} bytes")
    match record:
        case ReferralRecord():
            _check_referral_words(findings, record, now_ms)
        case UpdateRecord():
            _check_update_words(findings, record, now_ms)
        case NoteRecord():
            findings.check(len(record.target) == ID_BYTES, "note.target", "is no id of a referral or signal")
            long = not 0 < len(record.text.strip()) <= len(record.text) <= MAX_NOTE_CHARACTERS
            findings.check(not long, "note.text", f"must be 1 to {MAX_NOTE_CHARACTERS:,} characters")
            plain = all(each in _JOINERS or unicodedata.category(each) not in _UNSEEN for each in record.text)
            findings.check(plain, "note.text", "holds characters that are not seen, or turn the direction of text")


def _check_binding(
    findings: Findings,
    header: Header,
    body: Addressed,
    raw_records: Sequence[bytes],
    audience_record: bytes,
    audience: Sequence[str],
) -> None:
    name = KINDS[header.kind].name
    computed = tuple(signal_ids(header.origin, header.publisher, raw_records))
    findings.check(computed == header.signal_ids, "records[0]", "does not hash to its id")
    findings.check(all(raw[:2] == RECORD_PREFIX for raw in raw_records), "records[0].salt", "must come first")
    fits = all(len(raw) <= MAX_RECORD_BYTES for raw in raw_records)
    findings.check(fits, "records[0]", f"is over {MAX_RECORD_BYTES} bytes")
    findings.check(bool(audience), "audience_record", "must name its members: an empty audience is an error")
    findings.check(all(map(is_name, audience)), "audience_record", "names something that is not a member id")
    findings.check(list(audience) == sorted(set(audience)), "audience_record", "must be sorted, without repeats")
    findings.check(audience_record[:2] == RECORD_PREFIX, "audience_record.salt", f"must come first, {SALT_BYTES} bytes")
    committed = audience_id(header.origin, header.publisher, audience_record)
    findings.check(body.audience_id == committed, f"{name}.audience_id", "is not the id of the audience record")


def _word(findings: Findings, where: str, value: int, known: bool, *, mandatory: bool = True) -> None:  # noqa: FBT001
    if not known and (value or mandatory):
        findings.add(where, f"{value} is not known" if value else "is mandatory")


def _check_by_when(findings: Findings, where: str, at_ms: int, now_ms: int) -> None:
    latest_ms = now_ms + MAX_RESPONSE_DAYS * DAY_MS
    findings.check(now_ms < at_ms <= latest_ms, where, f"must lie within the next {MAX_RESPONSE_DAYS} days")


def _check_referral_words(findings: Findings, record: ReferralRecord, now_ms: int) -> None:
    if record.label in ROUTED_ELSEWHERE:
        pointer = ROUTED_ELSEWHERE[Label(record.label)]
        findings.add("referral.label", "is routed elsewhere", reason=Reason.ROUTED_ELSEWHERE, hint=pointer)
    _word(findings, "referral.label", record.label, record.label in frozenset(Label))
    _word(findings, "referral.urgency", record.urgency, record.urgency in frozenset(ReferralUrgency))
    about = record.target_class
    _word(findings, "referral.target_class", about, about in frozenset(TargetClass), mandatory=False)
    findings.check(is_name(record.authority), "referral.authority", "is not a member id")
    findings.check(len(record.election) in (0, ID_BYTES), "referral.election", "is no id of an election")
    _check_by_when(findings, "referral.respond_by_ms", record.respond_by_ms, now_ms)
    findings.check(REFERENCE.fullmatch(record.case_ref) is not None, "referral.case_ref", _NO_REFERENCE)
    ids = record.signal_ids
    right = len(ids) <= MAX_SIGNALS and all(len(id_) == ID_BYTES for id_ in ids) and len(set(ids)) == len(ids)
    findings.check(right, "referral.signal_ids", f"must be at most {MAX_SIGNALS} signal ids, without repeats")
    desk = "must be mailto:, https: or tel: of a desk, and nothing more"
    findings.check(is_desk(record.contact), "referral.contact", desk)
    portal = not record.handover or is_https(record.handover)
    findings.check(portal, "referral.handover", "must be an https address of your own, without a query or fragment")


def _check_update_words(findings: Findings, record: UpdateRecord, now_ms: int) -> None:
    findings.check(len(record.referral) == ID_BYTES, "referral_update.referral", "is no id of a referral")
    _word(findings, "referral_update.state", record.state, record.state in frozenset(ReferralState))
    if record.state == ReferralState.CLOSED:
        known = record.outcome in frozenset(ReferralOutcome)
        _word(findings, "referral_update.outcome", record.outcome, known)
    else:
        findings.check(not record.outcome, "referral_update.outcome", "has a place only with closed")
    if record.state == ReferralState.ASKED:
        _check_by_when(findings, "referral_update.respond_by_ms", record.respond_by_ms, now_ms)
    else:
        findings.check(not record.respond_by_ms, "referral_update.respond_by_ms", "has a place only with asked")
    findings.check(record.at_ms > 0, "referral_update.at_ms", "is mandatory")
    findings.check(record.at_ms <= now_ms + SKEW_MS, "referral_update.at_ms", "lies in the future")
    named = not record.reference or REFERENCE.fullmatch(record.reference) is not None
    findings.check(named, "referral_update.reference", _NO_REFERENCE)


def _check_referral(
    findings: Findings,
    header: Header,
    record: ReferralRecord,
    audience: Sequence[str],
    facts: LifeFacts,
    directory: Directory,
    now_ms: int,
) -> None:
    _check_kept(findings, "referral.respond_by_ms", record.respond_by_ms, now_ms, directory, header)
    entry = directory.members.get(record.authority)
    right = entry is not None and entry.member_class is MemberClass.AUTHORITY and not entry.suspended
    here = right and directory.in_community(record.authority, header.origin)
    findings.check(here, "referral.authority", "is no authority that can be referred to in this community")
    parties = {header.publisher, record.authority}
    findings.check(set(audience) == parties, "audience_record", "must be you and the authority, and nobody else")
    if record.election:
        election = facts.elections.get(record.election)
        findings.check(election is not None, "referral.election", "names no election of this community")
        about = election is None or record.target_class in (0, *election.election.target_classes)
        findings.check(about, "referral.target_class", "is none that this election is about")
    known = facts.signals(record.signal_ids)
    for position, id_ in enumerate(record.signal_ids):
        seen = _was_given(directory, header, known.get(id_))
        findings.check(seen, f"referral.signal_ids[{position}]", "is no signal that is known to you")


def _was_given(directory: Directory, header: Header, signal: SignalFacts | None) -> bool:
    if signal is None:
        return False
    own = signal.publisher == header.publisher
    return own or could_see(directory, header.origin, header.publisher, signal)


def _check_kept(
    findings: Findings, where: str, at_ms: int, referred_ms: int, directory: Directory, header: Header
) -> None:
    """Check that a referral is still there when somebody should have said something of it."""
    ends_ms = ends_at_ms(referred_ms, directory.communities[header.origin].retention_days)
    findings.check(at_ms <= ends_ms, where, "lies behind the community's retention: the referral would be gone by then")


def _check_update(
    findings: Findings,
    header: Header,
    record: UpdateRecord,
    audience: Sequence[str],
    facts: LifeFacts,
    directory: Directory,
    now_ms: int,
) -> None:
    referral = facts.addressed.referral(record.referral)
    if referral is None or header.publisher not in referral.parties:
        findings.add("referral_update.referral", _UNKNOWN)
        return
    problem = problem_of(referral, header.publisher, record.state)
    findings.check(not problem, "referral_update.referral", problem)
    findings.check(set(audience) == referral.parties, "audience_record", "must be the two parties of the referral")
    early = record.at_ms < min(referral.received_at_ms, now_ms) - SKEW_MS
    findings.check(not early, "referral_update.at_ms", "lies before the referral")
    received_at_ms = referral.received_at_ms
    _check_kept(findings, "referral_update.respond_by_ms", record.respond_by_ms, received_at_ms, directory, header)


def _check_note(
    findings: Findings,
    header: Header,
    record: NoteRecord,
    audience: Sequence[str],
    role: Role,
    facts: LifeFacts,
    directory: Directory,
) -> None:
    referral = facts.addressed.referral(record.target)
    if referral is not None and header.publisher in referral.parties:
        findings.check(set(audience) == referral.parties, "audience_record", "must be the two parties of the referral")
    else:
        parties = _parties_of_dispute(header, record.target, role, facts, directory)
        if header.publisher not in parties:
            findings.add("note.target", "is no referral and no dispute that is known to you")
            return
        right = header.publisher in audience and set(audience) <= parties and len(audience) > 1
        who = "must be you and others of: the signal's publisher, those who published an opinion of it, operators"
        findings.check(right, "audience_record", who)
    full = facts.addressed.notes(record.target) >= MAX_NOTES
    findings.check(not full, "note.target", f"has {MAX_NOTES} notes, the most it may have")


def _parties_of_dispute(
    header: Header, signal_id: bytes, role: Role, facts: LifeFacts, directory: Directory
) -> frozenset[str]:
    """Return who may write and read notes on a signal: nobody where it is not disputed."""
    signal = facts.signals((signal_id,)).get(signal_id)
    opinions = facts.addressed.opinions(signal_id) if signal is not None else {}
    if signal is None or OpinionCategory.NEGATIVE_CLASS not in opinions.values():
        return frozenset()
    operators = {
        entry.id
        for entry in directory.members.values()
        if entry.member_class is MemberClass.OPERATOR and Role.OPERATOR in entry.roles and not entry.suspended
    }
    if role is not Role.OPERATOR and header.publisher not in {signal.publisher, *opinions}:
        return frozenset()
    return frozenset({signal.publisher, *opinions, *operators})

"""Referrals, updates and notes: each rule, broken once; and who is told what of something that is not theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from exchange import codec
from exchange.codec_addressed import encode_addressed
from exchange.domain.addressed import (
    AddressedRecord,
    Note,
    NoteRecord,
    Referral,
    ReferralOutcome,
    ReferralRecord,
    ReferralState,
    ReferralUpdate,
    ReferralUrgency,
    UpdateRecord,
)
from exchange.domain.bodies import Erasure, ErasureReason, OpinionCategory, State, Suspension
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.life import LifeFacts, MemberFacts, SignalFacts, validate_life
from exchange.domain.referral_facts import MAX_NOTES, MAX_UPDATES, AddressedFacts, ReferralFacts, SaidBy, after
from exchange.domain.referrals import MAX_NOTE_CHARACTERS, validate_addressed
from exchange.domain.statement import audience_id, signal_ids
from exchange.domain.validation import DAY_MS
from exchange.errors import InvalidStatement, Reason
from tests.unit.builders import (
    ALPHA,
    ALPHA_LIAISON,
    BETA_LIAISON,
    NOW_MS,
    OPERATOR,
    POLICE,
    UK,
    Actor,
    community_header,
    digest,
    make_directory,
    tell,
)

SALT = bytes(16)
SIGNAL = digest("a signal")
ID = digest("a referral")
GOOD = ReferralRecord(
    SALT,
    "police",
    Label.VIOLENCE_THREATS,
    ReferralUrgency.PRIORITY,
    NOW_MS + DAY_MS,
    "T-1042",
    signal_ids=(SIGNAL,),
    contact="mailto:referrals@alpha.example",
    handover="https://alpha.example/requests",
)
OPEN = ReferralFacts(ID, 7, "alpha", "police", NOW_MS - 1_000, NOW_MS + DAY_MS)
ACKNOWLEDGED = UpdateRecord(SALT, ID, ReferralState.ACKNOWLEDGED, NOW_MS)
ASKED = UpdateRecord(SALT, ID, ReferralState.ASKED, NOW_MS, respond_by_ms=NOW_MS + DAY_MS)
ANSWERED = UpdateRecord(SALT, ID, ReferralState.ANSWERED, NOW_MS)
LATER = replace(ASKED, respond_by_ms=NOW_MS + 2 * DAY_MS)
CLOSED = UpdateRecord(SALT, ID, ReferralState.CLOSED, NOW_MS, ReferralOutcome.TAKEN_UP)
NOTE = NoteRecord(SALT, ID, "Which time zone?")
BODIES: Mapping[type[AddressedRecord], type[Referral | ReferralUpdate | Note]] = {
    ReferralRecord: Referral,
    UpdateRecord: ReferralUpdate,
    NoteRecord: Note,
}


class Court:
    """Judges one statement at a time."""

    def __init__(
        self, *referrals: ReferralFacts, opinions: Mapping[str, int] | None = None, notes: int = 0, said: bool = False
    ) -> None:
        self.directory = make_directory()
        signal = SignalFacts(
            SIGNAL, 3, "alpha", Label.VIOLENCE_THREATS, NOW_MS + DAY_MS, NOW_MS - 1_000, self.directory.size
        )
        known = {each.id: each for each in referrals}
        self.facts = LifeFacts(
            100,
            lambda ids: {id_: signal for id_ in ids if id_ == SIGNAL},
            lambda _: MemberFacts(),
            {},
            AddressedFacts(
                lambda ids: {id_: SaidBy("alpha", Kind.REFERRAL) for id_ in ids} if said else {},
                known.get,
                lambda _: opinions or {},
                lambda _: notes,
            ),
        )

    def judge(
        self,
        record: AddressedRecord,
        by: Actor,
        audience: tuple[str, ...] = ("alpha", "police"),
        *,
        committed: bytes = b"",
        **changes: Any,
    ) -> None:
        raw, audience_record = encode_addressed(record), codec.encode_audience(SALT, audience)
        body = BODIES[type(record)](committed or audience_id(UK, by.member, audience_record))
        ids = tuple(signal_ids(UK, by.member, (raw,)))
        header = replace(community_header(body, by), **({"signal_ids": ids} | changes))
        said = (raw,), record, audience_record, audience
        validate_addressed(header, body, *said, by.role, self.facts, self.directory, now_ms=NOW_MS)

    def refusal(self, record: AddressedRecord, by: Actor, audience: tuple[str, ...] = ("alpha", "police")) -> str:
        with pytest.raises(InvalidStatement) as caught:
            self.judge(record, by, audience)
        return str(caught.value)


@pytest.mark.parametrize("by", [ALPHA, ALPHA_LIAISON], ids=lambda actor: actor.role.word)
def test_a_pipeline_or_liaison_refers(by: Actor) -> None:
    Court().judge(GOOD, by)
    Court().judge(replace(GOOD, signal_ids=(), handover=""), by)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"authority": "beta"}, "is no authority"),
        ({"authority": "nobody"}, "is no authority"),
        ({"label": 0}, "label: is mandatory"),
        ({"label": 9999}, "9999 is not known"),
        ({"urgency": 9}, "9 is not known"),
        ({"target_class": 9}, "9 is not known"),
        ({"election": digest("no election")}, "names no election"),
        ({"election": b"x"}, "no id of an election"),
        ({"respond_by_ms": NOW_MS}, "within the next 90 days"),
        ({"respond_by_ms": NOW_MS + 91 * DAY_MS}, "within the next 90 days"),
        ({"case_ref": ""}, "must be a reference"),
        ({"case_ref": "he lives at number 4"}, "must be a reference"),
        ({"signal_ids": (digest("unknown"),)}, "no signal that is known to you"),
        ({"signal_ids": (SIGNAL, SIGNAL)}, "without repeats"),
        ({"contact": ""}, "of a desk"),
        ({"contact": "0207 946 0000"}, "of a desk"),
        ({"contact": "mailto:desk@alpha.example?body=what+he+wrote"}, "of a desk"),
        ({"handover": "http://alpha.example/"}, "must be an https address"),
        ({"handover": "https://alpha.example/?text=what+he+wrote"}, "must be an https address"),
        ({"handover": "https://user:word@alpha.example/"}, "must be an https address"),
    ],
)
def test_what_a_referral_may_not_say(changes: dict[str, Any], what: str) -> None:
    assert what in Court().refusal(replace(GOOD, **changes), ALPHA)


def test_child_sexual_abuse_is_routed_elsewhere() -> None:
    with pytest.raises(InvalidStatement) as caught:
        Court().judge(replace(GOOD, label=Label.CHILD_SAFETY_CSAM), ALPHA)
    assert caught.value.reason is Reason.ROUTED_ELSEWHERE


@pytest.mark.parametrize("audience", [(), ("police",), ("alpha",), ("alpha", "beta", "police"), ("police", "alpha")])
def test_a_referral_is_for_its_two_parties_and_nobody_else(audience: tuple[str, ...]) -> None:
    assert "audience_record" in Court().refusal(GOOD, ALPHA, audience)


def test_the_record_and_its_audience_are_bound_to_the_header() -> None:
    with pytest.raises(InvalidStatement, match="does not hash"):
        Court().judge(GOOD, ALPHA, signal_ids=(digest("another"),))
    with pytest.raises(InvalidStatement, match="does not hash"):
        Court().judge(GOOD, ALPHA, signal_ids=())
    with pytest.raises(InvalidStatement, match="is not the id of the audience"):
        Court().judge(GOOD, ALPHA, committed=digest("another"))
    assert "said already" in Court(said=True).refusal(GOOD, ALPHA)
    court = Court()
    court.facts = replace(court.facts, addressed=replace(court.facts.addressed, erased=lambda ids: len(ids) == 1))
    assert "said already" in court.refusal(GOOD, ALPHA)


def test_a_suspended_authority_gets_no_new_referral() -> None:
    court = Court()
    tell(court.directory, Suspension("police", 0, State.ACTIVE, "a test"))
    assert "is no authority" in court.refusal(GOOD, ALPHA)


STEPS = [
    (ReferralState.ACKNOWLEDGED, ACKNOWLEDGED, POLICE),
    (ReferralState.ASKED, ASKED, POLICE),
    (ReferralState.ANSWERED, ANSWERED, ALPHA_LIAISON),
    (ReferralState.CLOSED, CLOSED, POLICE),
]


def test_a_referral_goes_its_way() -> None:
    facts = OPEN
    due = []
    for state, record, by in STEPS:
        Court(facts).judge(record, by)
        moved = after(facts, by.member, record)
        assert moved is not None
        facts = moved
        due.append((facts.due_ms, facts.waits_for))
        assert facts.state == state
    assert due == [(0, "police"), (NOW_MS + DAY_MS, "alpha"), (0, "police"), (0, "")]
    assert facts.outcome == ReferralOutcome.TAKEN_UP
    assert (facts.updates, facts.acknowledged) == (4, True)


@pytest.mark.parametrize(
    ("facts", "record", "by", "what"),
    [
        (replace(OPEN, state=4), ACKNOWLEDGED, POLICE, "closed already"),
        (replace(OPEN, state=4), ANSWERED, ALPHA_LIAISON, "closed already"),
        (replace(OPEN, acknowledged=True), ACKNOWLEDGED, POLICE, "acknowledged already"),
        (OPEN, ANSWERED, ALPHA_LIAISON, "no question"),
        (replace(OPEN, state=2), ANSWERED, POLICE, "not yours to say"),
        (OPEN, CLOSED, ALPHA_LIAISON, "not yours to say"),
        (replace(OPEN, state=2), ACKNOWLEDGED, POLICE, "asked about already"),
        (replace(OPEN, updates=MAX_UPDATES), ASKED, POLICE, f"{MAX_UPDATES} updates"),
        (replace(OPEN, received_at_ms=NOW_MS - 399 * DAY_MS), LATER, POLICE, "behind the community's retention"),
        (OPEN, replace(CLOSED, outcome=0), POLICE, "outcome: is mandatory"),
        (OPEN, replace(CLOSED, outcome=9), POLICE, "9 is not known"),
        (OPEN, replace(ACKNOWLEDGED, outcome=1), POLICE, "only with closed"),
        (OPEN, replace(ACKNOWLEDGED, respond_by_ms=NOW_MS + 1), POLICE, "only with asked"),
        (OPEN, replace(ASKED, respond_by_ms=0), POLICE, "within the next 90 days"),
        (OPEN, replace(ACKNOWLEDGED, at_ms=0), POLICE, "at_ms: is mandatory"),
        (OPEN, replace(ACKNOWLEDGED, at_ms=NOW_MS + DAY_MS), POLICE, "lies in the future"),
        (OPEN, replace(ACKNOWLEDGED, at_ms=NOW_MS - DAY_MS), POLICE, "before the referral"),
        (OPEN, replace(ACKNOWLEDGED, state=9), POLICE, "9 is not known"),
        (OPEN, replace(ACKNOWLEDGED, reference="see the file"), POLICE, "must be a reference"),
        (OPEN, replace(ACKNOWLEDGED, referral=b""), POLICE, "no id of a referral"),
    ],
)
def test_what_may_not_be_said_of_a_referral(facts: ReferralFacts, record: UpdateRecord, by: Actor, what: str) -> None:
    assert what in Court(facts).refusal(record, by)


def test_a_referral_can_always_be_closed() -> None:
    full = replace(OPEN, state=2, updates=MAX_UPDATES)
    Court(full).judge(CLOSED, POLICE)
    closed = after(full, "police", CLOSED)
    assert closed is not None
    assert (closed.waits_for, closed.due_ms) == ("", 0)


def test_nothing_is_asked_for_by_a_time_when_it_will_be_gone() -> None:
    court = Court()
    kept = court.directory.communities[UK]
    court.directory.communities[UK] = replace(kept, retention_days=7)
    court.judge(replace(GOOD, respond_by_ms=NOW_MS + 7 * DAY_MS), ALPHA)
    late = court.refusal(replace(GOOD, respond_by_ms=NOW_MS + 7 * DAY_MS + 1), ALPHA)
    assert "respond_by_ms: lies behind the community's retention" in late


def test_who_is_no_party_is_told_the_same_as_where_there_is_none() -> None:
    theirs = ("beta", "police")
    there = [
        Court(OPEN).refusal(ANSWERED, BETA_LIAISON, theirs),
        Court(OPEN).refusal(replace(NOTE, target=ID), BETA_LIAISON, theirs),
        Court(OPEN).refusal(replace(NOTE, target=ID), OPERATOR, ("operator", "police")),
    ]
    none = [
        Court().refusal(ANSWERED, BETA_LIAISON, theirs),
        Court().refusal(replace(NOTE, target=ID), BETA_LIAISON, theirs),
        Court().refusal(replace(NOTE, target=ID), OPERATOR, ("operator", "police")),
    ]
    assert there == none


def test_updates_and_notes_are_for_the_two_parties_too() -> None:
    for record in (ACKNOWLEDGED, NOTE):
        for audience in (("police",), ("alpha", "beta", "police"), ("beta", "police")):
            assert "two parties" in Court(OPEN).refusal(record, POLICE, audience)


@pytest.mark.parametrize(
    "text", ["", " ", "a\nb", "a\x00b", "a\u202eb", "a\u2066b", "a\u200eb", "\ufeff", "a\u2028b", "x" * 1001]
)
def test_a_note_is_short_and_plain(text: str) -> None:
    assert "note.text" in Court(OPEN).refusal(replace(NOTE, text=text), POLICE)


@pytest.mark.parametrize(
    "text",
    ["x" * MAX_NOTE_CHARACTERS, "Dyma'r ateb: ŵ, ŷ.", "\u0645\u06cc\u200c\u062e", "\U0001f468\u200d\U0001f467" * 333],
)
def test_a_note_may_be_in_any_script(text: str) -> None:
    Court(OPEN).judge(replace(NOTE, text=text), POLICE)


DISPUTED = {"beta": OpinionCategory.NEGATIVE_CLASS}
ON_SIGNAL = replace(NOTE, target=SIGNAL)


def test_a_note_on_a_dispute() -> None:
    court = Court(opinions=DISPUTED)
    for by in (ALPHA_LIAISON, BETA_LIAISON):
        court.judge(ON_SIGNAL, by, ("alpha", "beta"))
        court.judge(ON_SIGNAL, by, ("alpha", "beta", "operator"))
    court.judge(ON_SIGNAL, OPERATOR, ("alpha", "operator"))
    assert "must be you and others" in court.refusal(ON_SIGNAL, ALPHA_LIAISON, ("alpha", "police"))
    assert "must be you and others" in court.refusal(ON_SIGNAL, ALPHA_LIAISON, ("alpha",))
    assert "must be you and others" in court.refusal(ON_SIGNAL, ALPHA_LIAISON, ("beta", "operator"))
    unknown = "is no referral and no dispute that is known to you"
    assert unknown in court.refusal(ON_SIGNAL, POLICE, ("alpha", "police"))
    assert unknown in Court().refusal(ON_SIGNAL, ALPHA_LIAISON, ("alpha", "beta"))
    agreed = Court(opinions={"beta": OpinionCategory.POSITIVE_CLASS})
    assert unknown in agreed.refusal(ON_SIGNAL, ALPHA_LIAISON, ("alpha", "beta"))
    assert f"{MAX_NOTES} notes" in Court(opinions=DISPUTED, notes=MAX_NOTES).refusal(
        ON_SIGNAL, ALPHA_LIAISON, ("alpha", "beta")
    )


@pytest.mark.parametrize(
    ("said", "by", "allowed"),
    [
        (SaidBy("alpha", Kind.REFERRAL), ALPHA_LIAISON, True),
        (SaidBy("alpha", Kind.NOTE), ALPHA_LIAISON, True),
        (SaidBy("alpha", Kind.NOTE), OPERATOR, True),
        (SaidBy("beta", Kind.NOTE), ALPHA_LIAISON, False),
        (SaidBy("alpha", Kind.REFERRAL_UPDATE), ALPHA_LIAISON, False),
        (SaidBy("alpha", Kind.REFERRAL_UPDATE), OPERATOR, False),
    ],
)
def test_who_may_have_what_erased(said: SaidBy, by: Actor, allowed: bool) -> None:
    court = Court()
    facts = replace(court.facts, addressed=AddressedFacts(lambda ids: dict.fromkeys(ids, said)))
    body = Erasure((ID,), ErasureReason.ON_REQUEST)

    def judge() -> None:
        validate_life(community_header(body, by), body, by.role, facts, court.directory, now_ms=NOW_MS)

    if allowed:
        judge()
    else:
        with pytest.raises(InvalidStatement, match="is no signal that is known to you"):
            judge()


def test_overdue_is_what_should_have_been_answered_by_now() -> None:
    assert not OPEN.overdue(NOW_MS)
    assert OPEN.overdue(NOW_MS + 2 * DAY_MS)
    acknowledged = after(OPEN, "police", ACKNOWLEDGED)
    assert acknowledged is not None
    assert not acknowledged.overdue(NOW_MS + 2 * DAY_MS)
    assert after(OPEN, "beta", ACKNOWLEDGED) is None

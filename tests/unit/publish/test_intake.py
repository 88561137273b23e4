"""Intake: what a caller can get wrong, and the reason it is told."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from exchange import codec
from exchange.domain.bodies import Key, State, Suspension
from exchange.domain.directory import Directory
from exchange.domain.guidance import Guidances, guidance_of
from exchange.domain.key_epochs import KeyEpochs
from exchange.domain.kinds import Kind, Role
from exchange.domain.labels import Label
from exchange.domain.policy import Workload
from exchange.domain.statement import Signature, Statement, statement_id
from exchange.domain.validation import DAY_MS, SKEW_MS
from exchange.errors import Denied, ExchangeError, OverQuota, Reason, Rejected, Unavailable, VerificationFailed
from exchange.publish.intake import Candidate, Intake
from exchange.publish.quota import Limits, Quotas
from tests.unit.builders import (
    ALPHA,
    ALPHA_LIAISON,
    BETA,
    DIRECTORY,
    NOW_MS,
    OPERATOR,
    POLICE,
    SECOND_OPERATOR,
    SIDE,
    STRANGER,
    UK,
    Actor,
    Said,
    community,
    community_statement,
    digest,
    directory_header,
    directory_statement,
    make_directory,
    no_life,
    pdq_record,
    signal_statement,
    tell,
)
from tests.unit.publish.fakes import FakeClock

NEW_KEY = Actor("alpha", Role.PIPELINE, 1)


class Desk:
    """An intake, its directory and its clock."""

    def __init__(self, *, threshold: int = 1, limits: Limits | None = None) -> None:
        self.directory: Directory = make_directory(threshold=threshold)
        self.clock = FakeClock()
        quotas = Quotas(limits or Limits(), lambda: self.clock.monotonic)
        self.epochs = KeyEpochs()
        self.guidance = Guidances()
        self.life = no_life(UK)
        self.intake = Intake(
            lambda: self.directory,
            lambda _: self.epochs,
            lambda _: self.life,
            quotas,
            lambda: self.clock.wall,
            guidance=lambda _: self.guidance,
        )

    def candidate(self, statement: Statement, workload: Workload = ALPHA.workload) -> Candidate:
        admitted = self.intake.admit(workload, statement)
        return self.intake.check(workload, admitted, self.intake.identify(workload, admitted))

    def refusal(self, statement: Statement, workload: Workload = ALPHA.workload) -> ExchangeError:
        with pytest.raises(ExchangeError) as caught:
            self.candidate(statement, workload)
        return caught.value


def altered(said: Said, **changes: Any) -> Statement:
    return replace(said.statement, **changes)


def test_a_good_statement_becomes_a_candidate() -> None:
    said = signal_statement(audience=["beta"])
    found = Desk().candidate(said.statement)
    assert found.statement_id == statement_id(said.statement.payload)
    assert (found.statement, found.header, found.workload) == (said.statement, said.header, ALPHA.workload)
    assert [key.member for key in found.keys] == ["alpha"]
    assert not found.late
    parts = (said.statement.payload, said.statement.audience_record, *said.statement.records)
    assert found.size == sum(map(len, parts))


GOOD = signal_statement()
FLIPPED = Signature(
    ALPHA.key.key_id,
    bytes([GOOD.statement.signatures[0].signature[0] ^ 1]) + GOOD.statement.signatures[0].signature[1:],
)

REFUSED: dict[str, tuple[Callable[[], Statement], Reason]] = {
    "another payload type": (lambda: altered(GOOD, payload_type="text/plain"), Reason.MALFORMED),
    "no payload": (lambda: altered(GOOD, payload=b""), Reason.MALFORMED),
    "no header": (lambda: altered(GOOD, payload=b"\xff"), Reason.MALFORMED),
    "a hidden field": (lambda: altered(GOOD, payload=GOOD.statement.payload + b"\xc2\x0c\x00"), Reason.MALFORMED),
    "a header too long for a leaf": (lambda: altered(GOOD, payload=bytes(65_535 - 2_048 + 1)), Reason.TOO_LARGE),
    "a long statement": (lambda: altered(GOOD, records=(bytes(768 * 1024),)), Reason.TOO_LARGE),
    "a long audience": (lambda: altered(GOOD, audience_record=bytes(768 * 1024)), Reason.TOO_LARGE),
    "no signature": (lambda: altered(GOOD, signatures=()), Reason.BAD_SIGNATURE),
    "seventeen signatures": (lambda: GOOD.signed_by(*[ALPHA] * 17).statement, Reason.BAD_SIGNATURE),
    "a flipped bit": (lambda: altered(GOOD, signatures=(FLIPPED,)), Reason.BAD_SIGNATURE),
    "an empty signature": (lambda: altered(GOOD, signatures=(Signature(ALPHA.key.key_id, b""),)), Reason.BAD_SIGNATURE),
    "the signature of another statement": (
        lambda: altered(GOOD, signatures=signal_statement(seed="x").statement.signatures),
        Reason.BAD_SIGNATURE,
    ),
    "a further signature that fails": (
        lambda: altered(GOOD, signatures=(*GOOD.statement.signatures, Signature(OPERATOR.key.key_id, bytes(64)))),
        Reason.BAD_SIGNATURE,
    ),
    "an unknown key": (lambda: GOOD.signed_by(STRANGER).statement, Reason.WRONG_KEY),
    "another member's key": (lambda: GOOD.signed_by(BETA).statement, Reason.WRONG_KEY),
    "a key of another role": (lambda: GOOD.signed_by(ALPHA_LIAISON).statement, Reason.WRONG_KEY),
    "a second key not an operator's": (lambda: GOOD.signed_by(ALPHA, BETA).statement, Reason.WRONG_KEY),
    "another publisher": (lambda: signal_statement(BETA, signers=(ALPHA,)).statement, Reason.WRONG_KEY),
    "an unknown kind": (lambda: signal_statement(header={"kind": 99, "body": None}).statement, Reason.UNKNOWN_KIND),
    "a referral without a body": (
        lambda: signal_statement(header={"kind": Kind.REFERRAL, "body": None}).statement,
        Reason.INVALID,
    ),
    "another exchange": (lambda: signal_statement(header={"origin": "other/uk"}).statement, Reason.WRONG_ORIGIN),
    "the directory": (lambda: signal_statement(header={"origin": DIRECTORY}).statement, Reason.WRONG_ORIGIN),
    "not its community": (lambda: signal_statement(header={"origin": SIDE}).statement, Reason.NOT_PERMITTED),
    "a clock ahead": (
        lambda: signal_statement(header={"created_at_ms": NOW_MS + SKEW_MS + 1}).statement,
        Reason.CLOCK_SKEW,
    ),
    "a clock behind": (
        lambda: signal_statement(header={"created_at_ms": NOW_MS - SKEW_MS - 1}).statement,
        Reason.CLOCK_SKEW,
    ),
    "a replay": (
        lambda: signal_statement(header={"created_at_ms": NOW_MS - 30 * DAY_MS - 1}, resubmission=True).statement,
        Reason.CLOCK_SKEW,
    ),
    "routed elsewhere": (lambda: signal_statement(label=Label.CHILD_SAFETY_CSAM).statement, Reason.ROUTED_ELSEWHERE),
    "no body": (lambda: signal_statement(header={"body": None}).statement, Reason.INVALID),
    "another record": (
        lambda: altered(GOOD, records=(codec.encode_record(pdq_record("another")),)),
        Reason.INVALID,
    ),
    "a record of another community": (
        lambda: altered(signal_statement(header={"signal_ids": signal_statement(BETA).header.signal_ids})),
        Reason.INVALID,
    ),
    "an unreadable record": (lambda: altered(GOOD, records=(b"\x0a\xff",)), Reason.MALFORMED),
    "a record with a hidden field": (
        lambda: altered(GOOD, records=(GOOD.statement.records[0] + b"\xc2\x0c\x00",)),
        Reason.MALFORMED,
    ),
    "an unreadable audience": (lambda: altered(GOOD, audience_record=b"\xff"), Reason.MALFORMED),
    "another audience": (
        lambda: altered(
            signal_statement(audience=["beta"]),
            audience_record=codec.encode_audience(bytes(16), ["beta", "mallory"]),
        ),
        Reason.INVALID,
    ),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_its_reason(make: Callable[[], Statement], reason: Reason) -> None:
    error = Desk().refusal(make())
    assert isinstance(error, Rejected)
    assert error.reason is reason
    assert isinstance(error, VerificationFailed) == (reason in {Reason.BAD_SIGNATURE, Reason.WRONG_KEY})


class Watched(Statement):
    """A statement whose end can be seen."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("make", [make for make, _ in REFUSED.values()], ids=REFUSED)
def test_a_refusal_that_is_kept_does_not_keep_the_statement(make: Callable[[], Statement]) -> None:
    desk, said = Desk(), make()

    def refused(statement: Statement) -> ExchangeError:
        try:
            desk.candidate(statement)
        except ExchangeError as error:
            return error.alone()
        raise AssertionError

    watched = Watched(*(getattr(said, each.name) for each in fields(said)))
    seen = weakref.ref(watched)
    kept = refused(watched)
    del watched
    assert seen() is None
    assert kept.message


def test_who_calls_must_be_who_signed() -> None:
    assert Desk().refusal(GOOD.statement, BETA.workload).reason is Reason.WRONG_KEY
    assert Desk().refusal(GOOD.statement, ALPHA_LIAISON.workload).reason is Reason.WRONG_KEY
    assert Desk().refusal(GOOD.statement, STRANGER.workload).reason is Reason.WRONG_KEY


def test_an_authority_says_nothing_about_content() -> None:
    error = Desk().refusal(signal_statement(POLICE).statement, POLICE.workload)
    assert isinstance(error, Denied)


def test_a_suspended_member_is_refused_and_a_revoked_key_too() -> None:
    desk = Desk()
    candidate = desk.candidate(GOOD.statement)
    assert desk.intake.judge(candidate) == desk.directory.size
    tell(desk.directory, Suspension("alpha", 0, State.ACTIVE, "flooding"))
    assert desk.refusal(GOOD.statement).reason is Reason.NOT_PERMITTED
    with pytest.raises(Denied):
        desk.intake.judge(candidate)
    tell(desk.directory, Suspension("alpha", 0, State.ENDED, "over"), ALPHA.key_body(State.ENDED))
    with pytest.raises(VerificationFailed):
        desk.intake.judge(candidate)


@pytest.mark.parametrize("age_ms", [SKEW_MS + 1, 30 * DAY_MS])
def test_an_outbox_may_send_again_and_is_marked_late(age_ms: int) -> None:
    said = signal_statement(header={"created_at_ms": NOW_MS - age_ms}, resubmission=True)
    assert Desk().candidate(said.statement).late


def test_a_resubmission_in_time_is_not_late() -> None:
    assert not Desk().candidate(altered(GOOD, resubmission=True)).late


def test_a_stale_directory_judges_nothing() -> None:
    def stale() -> Directory:
        raise Unavailable("stale")

    intake = Intake(stale, lambda _: KeyEpochs(), no_life, Quotas(Limits(), lambda: 0), lambda: NOW_MS)
    with pytest.raises(Unavailable):
        intake.admit(ALPHA.workload, GOOD.statement)


def test_a_budget_is_the_members_and_refusals_use_it_up_too() -> None:
    desk = Desk(limits=Limits(records_per_minute=1_000, statements_per_minute=3))
    forged = altered(GOOD, signatures=(FLIPPED,))
    assert desk.refusal(forged).reason is Reason.BAD_SIGNATURE
    for seed in ("1", "2"):
        desk.candidate(signal_statement(seed=seed).statement)
    error = desk.refusal(signal_statement(seed="3").statement)
    assert isinstance(error, OverQuota)
    assert error.retry_after_ms > 0
    said = signal_statement(ALPHA_LIAISON, seed="4")
    assert desk.refusal(said.statement, ALPHA_LIAISON.workload).reason is Reason.OVER_QUOTA
    desk.candidate(signal_statement(BETA).statement, BETA.workload)
    desk.clock.monotonic += 60_000
    desk.candidate(signal_statement(seed="3").statement)


def test_a_directory_statement() -> None:
    desk = Desk()
    found = desk.candidate(directory_statement(NEW_KEY.key_body()), OPERATOR.workload)
    assert desk.intake.judge(found) == desk.directory.size
    tell(desk.directory, NEW_KEY.key_body())
    with pytest.raises(Rejected):
        desk.intake.judge(found)


def test_a_directory_statement_of_two_operators() -> None:
    desk = Desk(threshold=2)
    alone = directory_statement(NEW_KEY.key_body())
    assert desk.refusal(alone, OPERATOR.workload).reason is Reason.NOT_PERMITTED
    both = directory_statement(NEW_KEY.key_body(), OPERATOR, SECOND_OPERATOR)
    assert len(desk.candidate(both, OPERATOR.workload).keys) == 2
    twice = directory_statement(NEW_KEY.key_body(), OPERATOR, OPERATOR)
    assert desk.refusal(twice, OPERATOR.workload).reason is Reason.WRONG_KEY


def test_what_the_directory_refuses() -> None:
    desk = Desk()
    statement = directory_statement(NEW_KEY.key_body())
    for changed in (
        replace(statement, records=GOOD.statement.records),
        replace(statement, audience_record=codec.encode_audience(bytes(16), ["beta"])),
        directory_statement(ALPHA.key_body()),
        directory_statement(NEW_KEY.key_body(), signal_ids=(digest("x"),)),
    ):
        assert desk.refusal(changed, OPERATOR.workload).reason is Reason.INVALID
    misplaced = directory_statement(NEW_KEY.key_body(), origin=UK)
    assert desk.refusal(misplaced, OPERATOR.workload).reason is Reason.WRONG_ORIGIN
    old = directory_statement(NEW_KEY.key_body(), created_at_ms=NOW_MS - 30 * DAY_MS - 1)
    assert desk.refusal(replace(old, resubmission=True), OPERATOR.workload).reason is Reason.CLOCK_SKEW
    by_alpha = codec.encode_header(directory_header(NEW_KEY.key_body(), publisher="alpha"))
    assert desk.refusal(Statement(by_alpha, (ALPHA.sign(by_alpha),))).reason is Reason.NOT_PERMITTED


SMALL_ORDER = {"order 4": bytes(32), "order 1": b"\x01" + bytes(31), "y above p": b"\xff" * 32}


@pytest.mark.parametrize("public_key", SMALL_ORDER.values(), ids=SMALL_ORDER)
def test_a_key_that_libraries_judge_differently_is_not_registered(public_key: bytes) -> None:
    for body in (
        Key("alpha", Role.PIPELINE, public_key, State.ACTIVE),
        community(f"{DIRECTORY.partition('/')[0]}/new", log_public_key=public_key),
    ):
        error = Desk().refusal(directory_statement(body), OPERATOR.workload)
        assert isinstance(error, Rejected)


def test_guidance_is_judged_by_what_there_is_already() -> None:
    desk = Desk()
    first = guidance_of({"platform": "chatter", "version": 1, "languages": ["en"]}, "alpha")
    said = community_statement(first, OPERATOR)
    found = desk.candidate(said, OPERATOR.workload)
    desk.guidance.apply(0, found.header, NOW_MS)
    own = guidance_of({"platform": "chatter", "version": 2, "languages": ["en"]}, "alpha")
    assert desk.candidate(community_statement(own, ALPHA_LIAISON), ALPHA_LIAISON.workload).header.body == own
    again = desk.refusal(community_statement(first, OPERATOR, created_at_ms=NOW_MS + 1), OPERATOR.workload)
    assert again.reason is Reason.INVALID
    assert isinstance(desk.refusal(community_statement(own, ALPHA), ALPHA.workload), Denied)
    recorded = replace(community_statement(own, ALPHA_LIAISON), records=(bytes(20),))
    assert desk.refusal(recorded, ALPHA_LIAISON.workload).reason is Reason.INVALID

"""What may be said about signals: each rule, broken once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exchange.domain.bodies import (
    Acknowledgement,
    Disposition,
    DispositionReason,
    DispositionState,
    Erasure,
    ErasureReason,
    LagCell,
    Life,
    Membership,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Quarantine,
    QuarantineReason,
    Release,
    Retraction,
    RetractionReason,
    SourceAction,
    State,
    Suspension,
)
from exchange.domain.directory import Directory
from exchange.domain.kinds import Role
from exchange.domain.labels import Label
from exchange.domain.life import (
    ACKNOWLEDGE_EVERY_MS,
    MAX_TARGETS,
    LifeFacts,
    MemberFacts,
    SignalFacts,
    could_see,
    may_come_back,
    validate_life,
)
from exchange.errors import InvalidStatement, OverQuota
from tests.unit.builders import (
    ALPHA,
    BETA,
    NOW_MS,
    OPERATOR,
    POLICE,
    UK,
    Actor,
    community_header,
    digest,
    make_directory,
    signal_body,
    tell,
)

SIZE = 100


def facts_of(name: str = "a signal", **changes: Any) -> SignalFacts:
    """Return what is known of a signal of alpha's, for everyone."""
    made = SignalFacts(
        digest(name), 7, "alpha", Label.HARASSMENT_TARGETED, NOW_MS + 1_000_000, NOW_MS - 1_000, make_directory().size
    )
    return replace(made, **changes)


ONE = digest("a signal")


class Court:
    """Judges one statement at a time."""

    def __init__(self, *signals: SignalFacts, **members: MemberFacts) -> None:
        self.directory: Directory = make_directory()
        known = {each.signal_id: each for each in signals or (facts_of(),)}
        self.facts = LifeFacts(
            SIZE,
            lambda ids: {id_: known[id_] for id_ in ids if id_ in known},
            lambda member: members.get(member, MemberFacts()),
            {},
        )

    def judge(self, body: Life, by: Actor = BETA, **header: Any) -> None:
        validate_life(community_header(body, by, **header), body, by.role, self.facts, self.directory, now_ms=NOW_MS)

    def refusal(self, body: Life, by: Actor = BETA, **header: Any) -> str:
        with pytest.raises(InvalidStatement) as caught:
            self.judge(body, by, **header)
        return str(caught.value)


RETRACTION = Retraction((ONE,), RetractionReason.ERROR)
OPINION = Opinion((ONE,), OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE)
ACTED = Disposition(
    (ONE,), DispositionState.ACTIONED, SourceAction.REMOVED, matched_at_ms=NOW_MS - 20, actioned_at_ms=NOW_MS - 10
)
ERASURE = Erasure((ONE,), ErasureReason.ON_REQUEST)
CELL = LagCell("alpha", Label.HARASSMENT_TARGETED, b"", retraction=False, counts=(0, 3))
ACKNOWLEDGEMENT = Acknowledgement(SIZE - 1, 12, 3, (CELL,))
QUARANTINE = Quarantine("alpha", 7, QuarantineReason.OPERATOR)
FLAGGED = {"alpha": MemberFacts(quarantined_from=3)}


def test_what_is_right_passes() -> None:
    court = Court()
    court.judge(RETRACTION, ALPHA)
    court.judge(RETRACTION, OPERATOR)
    court.judge(OPINION)
    court.judge(ACTED)
    court.judge(Disposition((ONE,), DispositionState.NOT_ACTIONED, reason=DispositionReason.NO_MATCH))
    court.judge(Disposition((ONE,), DispositionState.REVERSED, actioned_at_ms=NOW_MS))
    upheld = Disposition((ONE,), DispositionState.UPHELD, SourceAction.REMOVED, DispositionReason.OWN_TERMS)
    court.judge(upheld)
    court.judge(ERASURE, ALPHA)
    court.judge(ACKNOWLEDGEMENT)
    court.judge(QUARANTINE, OPERATOR)
    Court(**FLAGGED).judge(Release("alpha"), OPERATOR)


@pytest.mark.parametrize(
    ("body", "by", "what"),
    [
        (RETRACTION, BETA, "another member's signal"),
        (ERASURE, BETA, "another member's signal"),
        (replace(RETRACTION, targets=(digest("unknown"),)), ALPHA, "no signal that is known to you"),
        (replace(RETRACTION, targets=()), ALPHA, f"must be 1 to {MAX_TARGETS}"),
        (replace(RETRACTION, targets=(ONE, ONE)), ALPHA, "without repeats"),
        (replace(RETRACTION, targets=(b"short",)), ALPHA, "32 bytes"),
        (replace(RETRACTION, targets=tuple(digest(str(n)) for n in range(MAX_TARGETS + 1))), ALPHA, "must be 1 to"),
        (replace(RETRACTION, reason=0), ALPHA, "is mandatory"),
        (replace(RETRACTION, reason=77), ALPHA, "77 is not known"),
        (replace(RETRACTION, decided_at_ms=NOW_MS + 600_000), ALPHA, "lies in the future"),
        (replace(ERASURE, reason=0), ALPHA, "is mandatory"),
        (OPINION, ALPHA, "is your own signal"),
        (ACTED, ALPHA, "is your own signal"),
        (OPINION, POLICE, "no signal that is known to you"),
        (replace(OPINION, category=0), BETA, "is mandatory"),
        (replace(OPINION, reason=99), BETA, "99 is not known"),
        (replace(ACTED, state=0), BETA, "is mandatory"),
        (replace(ACTED, action=0), BETA, "disposition.action: is mandatory"),
        (replace(ACTED, matched_at_ms=NOW_MS), BETA, "lies before matched_at_ms"),
        (replace(ACTED, actioned_at_ms=NOW_MS + 600_000), BETA, "lies in the future"),
        (Disposition((ONE,), DispositionState.PENDING_REVIEW, action=1), BETA, "has a place only with"),
        (Disposition((ONE,), DispositionState.NOT_ACTIONED), BETA, "disposition.reason: is mandatory"),
        (
            Disposition((ONE,), DispositionState.PENDING_REVIEW, actioned_at_ms=NOW_MS),
            BETA,
            "has no place where nothing was done",
        ),
        (
            Disposition((ONE,), DispositionState.UPHELD, SourceAction.REMOVED, DispositionReason.NO_BREACH),
            BETA,
            "no ground of one's own",
        ),
        (replace(ACKNOWLEDGEMENT, processed_through=SIZE), BETA, "lies beyond the log"),
        (replace(ACKNOWLEDGEMENT, clock_error_ms=0), BETA, "is mandatory with an offset"),
        (replace(ACKNOWLEDGEMENT, cells=(CELL, CELL)), BETA, "must be sorted, without repeats"),
        (replace(ACKNOWLEDGEMENT, cells=(replace(CELL, publisher="nobody"),)), BETA, "name no publisher"),
        (replace(ACKNOWLEDGEMENT, cells=(replace(CELL, counts=(1, 0)),)), BETA, "the last not 0"),
        (replace(ACKNOWLEDGEMENT, cells=(replace(CELL, counts=(1,) * 33),)), BETA, "1 to 32 counts"),
        (
            replace(ACKNOWLEDGEMENT, cells=(replace(CELL, election=b"short"),)),
            BETA,
            "name no election of this community",
        ),
        (replace(QUARANTINE, member="nobody"), OPERATOR, "no member of this community"),
        (replace(QUARANTINE, from_index=SIZE + 1), OPERATOR, "lies beyond the log"),
        (replace(QUARANTINE, reason=0), OPERATOR, "is mandatory"),
        (Release("alpha"), OPERATOR, "is not in quarantine"),
    ],
)
def test_what_is_wrong_is_told(body: Life, by: Actor, what: str) -> None:
    assert what in Court().refusal(body, by)


def test_a_statement_without_records_has_no_signal_ids() -> None:
    assert "signal_ids" in Court().refusal(OPINION, signal_ids=(ONE,))


def test_nothing_ends_twice() -> None:
    assert "taken back already" in Court(facts_of(retracted_at=9)).refusal(RETRACTION, ALPHA)
    assert "erased already" in Court(facts_of(erased_at=9)).refusal(ERASURE, ALPHA)
    assert "does not lie below" in Court(**FLAGGED).refusal(QUARANTINE, OPERATOR)
    Court(**FLAGGED).judge(replace(QUARANTINE, from_index=2), OPERATOR)  # wider than an automatic one
    Court(facts_of(replaced_at=9)).judge(RETRACTION, ALPHA)  # for who acted on what was replaced


def test_who_acted_on_what_was_taken_back_says_so_afterwards() -> None:
    Court(facts_of(retracted_at=9)).judge(Disposition((ONE,), DispositionState.REVERSED))


def test_a_signal_that_one_could_not_see_looks_like_none() -> None:
    for hidden in (facts_of(audience=frozenset({"gamma"})), facts_of(audience=frozenset())):
        assert Court(hidden).refusal(OPINION) == Court(facts_of("another")).refusal(OPINION)
    gone = Court(facts_of(directory_size=999))
    tell(gone.directory, Membership("beta", UK, State.ENDED))  # before it was said
    assert gone.refusal(OPINION) == Court(facts_of("another")).refusal(OPINION)


def test_who_joins_later_is_given_it_and_who_left_before_is_not() -> None:
    directory = make_directory()
    before = directory.size
    tell(directory, Membership("beta", UK, State.ENDED))
    between = directory.size
    tell(directory, Membership("beta", UK, State.ACTIVE))
    seen = [could_see(directory, UK, "beta", facts_of(directory_size=at)) for at in (before, between, directory.size)]
    assert seen == [True, True, True]  # who comes gets what the feed still holds
    ended = [
        could_see(directory, UK, "beta", facts_of(directory_size=between), until_size=until)
        for until in (between, directory.size)
    ]
    assert ended == [False, True]  # and not what was over before
    tell(directory, Membership("beta", UK, State.ENDED))
    assert not could_see(directory, UK, "beta", facts_of(directory_size=directory.size))


def test_acknowledgements_move_on_and_come_once_a_minute() -> None:
    early = MemberFacts(processed_through=5, acknowledged_at_ms=NOW_MS - ACKNOWLEDGE_EVERY_MS + 1)
    with pytest.raises(OverQuota) as caught:
        Court(beta=early).judge(ACKNOWLEDGEMENT)
    assert caught.value.retry_after_ms == 1
    ready = replace(early, acknowledged_at_ms=NOW_MS - ACKNOWLEDGE_EVERY_MS)
    Court(beta=ready).judge(ACKNOWLEDGEMENT)
    same = replace(ready, processed_through=SIZE - 1)
    assert "must lie above the last one" in Court(beta=same).refusal(ACKNOWLEDGEMENT)


def test_too_many_cells_do_not_fit() -> None:
    cells = (
        tuple(
            replace(CELL, label=label, retraction=retraction, publisher=publisher, counts=(1,) * 32)
            for publisher in ("alpha", "beta", "operator")
            for label in Label
            for retraction in (False, True)
        )
        * 2
    )
    assert "(and 1 more)" in Court().refusal(replace(ACKNOWLEDGEMENT, cells=cells))


def test_who_is_suspended_or_has_left_answers_for_what_was_taken_back_and_says_nothing_else() -> None:
    for standing in (Suspension("beta", 0, State.ACTIVE, ""), Membership("beta", UK, State.ENDED)):
        court = Court()
        tell(court.directory, standing)
        assert "says only what became of" in court.refusal(ACTED)
        ended = Court(facts_of(retracted_at=9))
        tell(ended.directory, standing)
        ended.judge(Disposition((ONE,), DispositionState.REVERSED))


def test_an_operator_ends_what_only_some_may_see() -> None:
    Court(facts_of(audience=frozenset({"gamma"}))).judge(RETRACTION, OPERATOR)
    assert OPERATOR.role is Role.OPERATOR


@pytest.mark.parametrize(
    ("ends", "facts", "may"),
    [
        (NOW_MS + 1, facts_of(), True),
        (NOW_MS + 1, facts_of(retracted_at=8), True),
        (NOW_MS + 1, facts_of(replaced_at=8), True),
        (NOW_MS + 1, facts_of(erased_at=8), False),
        (NOW_MS, facts_of(), False),
        (NOW_MS + 1, facts_of(expires_at_ms=NOW_MS), False),
        (NOW_MS + 1, None, False),
    ],
    ids=["lives", "taken back", "replaced", "erased", "over", "over where it was said first", "not known"],
)
def test_only_what_nothing_took_may_come_back(ends: int, facts: SignalFacts | None, may: bool) -> None:
    assert may_come_back(signal_body(expires_at_ms=ends), facts, now_ms=NOW_MS) is may

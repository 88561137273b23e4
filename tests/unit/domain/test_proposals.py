"""Proposals: their ids, whose signatures count, when they are complete, how many may wait, and what they change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange import codec
from exchange.codec import encode_header
from exchange.domain.bodies import (
    Body,
    Community,
    Key,
    Member,
    Membership,
    Quota,
    Retraction,
    State,
    Suspension,
)
from exchange.domain.changes import Change, changes
from exchange.domain.contacts import Contact, ContactPurpose
from exchange.domain.directory import Directory
from exchange.domain.directory_rows import directory_rows
from exchange.domain.kinds import MemberClass, Role
from exchange.domain.policy import may_administer
from exchange.domain.proposals import (
    MAX_PROPOSALS,
    MAX_PROPOSALS_OF_MEMBER,
    MAX_PROPOSED_BYTES_OF_MEMBER,
    MAX_STATEMENTS,
    Proposal,
    Signer,
    expires_at_ms,
    missing,
    needed,
    require_room,
    signer_of,
    to_say,
)
from exchange.domain.statement import Header, Signature
from exchange.domain.validation import DAY_MS
from exchange.errors import Denied, OverQuota, Reason, Rejected
from tests.unit.builders import (
    ALPHA,
    NOW_MS,
    OPERATOR,
    SECOND_OPERATOR,
    SIDE,
    STRANGER,
    UK,
    Actor,
    community,
    community_header,
    digest,
    directory_header,
    make_directory,
    tell,
)
from tests.unit.domain.test_policy import EVERY_ROLE, full_directory

OTHER = Actor("other", Role.OPERATOR)
JOINS = Membership("alpha", SIDE, State.ACTIVE)
BRAKE, LIFT = (Suspension("alpha", 0, state, "a test") for state in State)


def directory_of_three() -> Directory:
    """Return a directory that asks for two operator keys, where a second operator has one too."""
    other = Member("other", "Another operator", MemberClass.OPERATOR, (Role.OPERATOR,))
    return tell(make_directory(threshold=2), other, OTHER.key_body())


def proposal_of(*said: Body | Header, signers: tuple[Actor, ...] = ()) -> Proposal:
    headers = tuple([each if isinstance(each, Header) else directory_header(each) for each in said])
    payloads = tuple(map(encode_header, headers))
    made = tuple(
        Signer(each.key.key_id, tuple(each.sign(payload).signature for payload in payloads)) for each in signers
    )
    return Proposal(payloads, headers, made)


def test_an_id_binds_every_byte_and_their_order() -> None:
    one, two = directory_header(JOINS), directory_header(BRAKE)
    ids = {
        proposal_of(one, two).id,
        proposal_of(two, one).id,
        proposal_of(one).id,
        proposal_of(replace(one, nonce=bytes(16)), two).id,
    }
    assert len(ids) == 4
    assert proposal_of(one, two, signers=(OPERATOR,)).id in ids, "who has signed is no part of it"


@pytest.mark.parametrize(
    ("said", "signers", "lacks"),
    [
        ((JOINS,), (), "2 more operator keys must sign it"),
        ((JOINS,), (OPERATOR,), "1 more operator key must sign it"),
        ((JOINS,), (OPERATOR, SECOND_OPERATOR), ""),
        ((JOINS,), (OTHER, OPERATOR), ""),
        ((JOINS,), (OTHER,), "1 more operator key must sign it"),
        ((BRAKE,), (OTHER,), "operator, in whose name it is said, must sign it too"),
        ((BRAKE,), (OPERATOR,), ""),
        ((LIFT,), (OPERATOR,), "1 more operator key must sign it"),
        ((BRAKE, JOINS), (OPERATOR,), "1 more operator key must sign it"),
    ],
)
def test_what_it_lacks(said: tuple[Body, ...], signers: tuple[Actor, ...], lacks: str) -> None:
    assert missing(directory_of_three(), proposal_of(*said, signers=signers)) == lacks


def test_what_is_said_in_a_community_needs_the_threshold_where_a_directory_change_would() -> None:
    retraction = community_header(Retraction((digest("signal"),), 5), OPERATOR)
    assert needed(directory_of_three(), proposal_of(retraction)) == 2
    assert needed(make_directory(), proposal_of(retraction)) == 1


@pytest.mark.parametrize(
    "gone",
    [
        OTHER.key_body(State.ENDED),
        Suspension("other", 0, State.ACTIVE, "a test"),
        Suspension("other", Role.OPERATOR, State.ACTIVE, "a test"),
    ],
)
def test_a_key_that_is_not_in_force_any_more_does_not_count(gone: Body) -> None:
    directory, proposal = directory_of_three(), proposal_of(JOINS, signers=(OPERATOR, OTHER))
    assert not missing(directory, proposal)
    assert missing(tell(directory, gone), proposal) == "1 more operator key must sign it"


def test_whoever_of_the_publisher_says_it_says_the_same() -> None:
    directory, proposal = directory_of_three(), proposal_of(JOINS, BRAKE, signers=(OTHER, SECOND_OPERATOR, OPERATOR))
    said = to_say(directory, proposal)
    assert [each.payload for each in said] == list(proposal.payloads)
    for statement in said:
        assert statement.resubmission
        assert statement.signatures == tuple(
            each.sign(statement.payload) for each in (SECOND_OPERATOR, OTHER, OPERATOR)
        )
    left = tell(directory, SECOND_OPERATOR.key_body(State.ENDED))
    assert [each.key_id for each in to_say(left, proposal)[0].signatures] == [OPERATOR.key.key_id, OTHER.key.key_id]


def test_it_can_be_said_for_as_long_as_the_log_that_forgets_first() -> None:
    directory = tell(make_directory(), community(UK, replay_window_days=7))
    old = directory_header(JOINS, created_at_ms=NOW_MS - DAY_MS)
    retraction = community_header(Retraction((digest("signal"),), 5), OPERATOR)
    assert expires_at_ms(directory, proposal_of(old)) == NOW_MS + 29 * DAY_MS
    assert expires_at_ms(directory, proposal_of(old, retraction)) == NOW_MS + 7 * DAY_MS
    assert expires_at_ms(directory, proposal_of(replace(retraction, origin="test.exchange/none"))) <= NOW_MS


def test_how_much_may_wait() -> None:
    def room(held: list[Proposal], publisher: str = "operator", payloads: tuple[bytes, ...] = (b"x",)) -> str:
        try:
            require_room(held, publisher, payloads)
        except OverQuota as error:
            assert error.retry_after_ms
            return error.message
        return ""

    one, others = proposal_of(JOINS), proposal_of(directory_header(JOINS, publisher="other"))
    assert room([one] * (MAX_PROPOSALS_OF_MEMBER - 1)) == ""
    assert "of yours" in room([one] * MAX_PROPOSALS_OF_MEMBER)
    assert room([one] * MAX_PROPOSALS_OF_MEMBER, "other") == ""
    assert "in all" in room([others] * MAX_PROPOSALS)
    large = (bytes(MAX_PROPOSED_BYTES_OF_MEMBER - one.size),)
    assert room([one], payloads=large) == ""
    assert "of yours" in room([one, one], payloads=large)
    for payloads, reason in (
        ((), Reason.INVALID),
        ((b"x",) * (MAX_STATEMENTS + 1), Reason.TOO_LARGE),
        ((bytes(MAX_PROPOSED_BYTES_OF_MEMBER + 1),), Reason.TOO_LARGE),
    ):
        with pytest.raises(Rejected) as caught:
            require_room([], "operator", payloads)
        assert caught.value.reason is reason


def test_one_key_signs_all_of_it() -> None:
    proposal = proposal_of(JOINS, BRAKE)
    good = [OPERATOR.sign(payload) for payload in proposal.payloads]
    assert signer_of(proposal, good) == Signer(OPERATOR.key.key_id, tuple(each.signature for each in good))
    for bad in ([], good[:1], [*good, good[0]], [good[0], Signature(ALPHA.key.key_id, good[1].signature)]):
        with pytest.raises(Rejected, match="one for each statement, by one key"):
            signer_of(proposal, bad)


ADDED = Actor("alpha", Role.PIPELINE, 1)
DESK = Contact(ContactPurpose.REQUESTS, "mailto:desk@alpha.example", "Mon-Fri", ("en",))
SAID: list[tuple[Body, list[Change]]] = [
    (JOINS, [Change("alpha: communities", UK, f"{SIDE}, {UK}")]),
    (BRAKE, [Change("alpha: suspended", "no", "yes")]),
    (Suspension("alpha", Role.LIAISON, State.ACTIVE, "lost"), [Change("alpha: suspended roles", "", "liaison")]),
    (ADDED.key_body(), [Change(f"alpha: key {ADDED.key.public_key.hex()} (pipeline)", "", "in force")]),
    (
        ALPHA.key_body(State.ENDED),
        [Change(f"alpha: key {ALPHA.key.public_key.hex()} (pipeline)", "in force", "revoked")],
    ),
    (
        Member("alpha", "Alpha Social", MemberClass.PLATFORM, (Role.PIPELINE,), (DESK,)),
        [
            Change("alpha: name", "Alpha", "Alpha Social"),
            Change("alpha: roles", "liaison, pipeline", "pipeline"),
            Change("alpha: desk for requests mailto:desk@alpha.example", "", "Mon-Fri, en"),
        ],
    ),
    (
        Quota("alpha", 1, 2, 3),
        [Change("alpha: quota", "", "1 records and 2 statements a minute, 3 streams")],
    ),
    (community(UK, retention_days=500), [Change(f"{UK}: retention_days", "400", "500")]),
    (Membership("nobody", UK, State.ACTIVE), []),
    (Key("police", Role.AUTHORITY, ALPHA.key.public_key, State.ENDED), []),
]


@pytest.mark.parametrize(("body", "expected"), SAID, ids=range(len(SAID)))
def test_what_it_changes_is_what_the_fold_will_make_of_it(body: Body, expected: list[Change]) -> None:
    directory = make_directory()
    before = list(directory_rows(directory))
    header = directory_header(body)
    assert list(changes(directory, header)) == expected
    foreseen = directory.foreseen(header, NOW_MS)
    assert list(directory_rows(directory)) == before, "it stays as it is"
    assert list(directory_rows(foreseen)) == list(directory_rows(tell(directory, body)))


def test_a_new_community_is_told_whole_and_what_is_said_in_one_changes_nothing_here() -> None:
    new = community("test.exchange/new", succeeds=UK, succeeds_size=7, succeeds_root=digest("root"))
    found = {each.what: (each.before, each.after) for each in changes(make_directory(), directory_header(new))}
    assert len(found) == len(Community.__slots__) + 1
    assert found["test.exchange/new: succeeds_root"] == ("", digest("root").hex())
    assert found[f"{UK}: successor"] == ("", "test.exchange/new")
    said = community_header(Retraction((digest("signal"),), 5), OPERATOR)
    assert changes(make_directory(), said) == ()
    assert codec.encode_header(said)


def test_only_operators_in_force_may_ask_for_proposals() -> None:
    directory = full_directory()

    def refusals(*actors: Actor) -> set[str]:
        found = set()
        for each in actors:
            with pytest.raises(Denied) as caught:
                may_administer(directory, each.workload)
            found.add(f"{caught.value.message} {caught.value.hint}")
        return found

    others = [each for each in EVERY_ROLE if each.role is not Role.OPERATOR]
    assert len(refusals(*others, STRANGER, Actor("nobody", Role.OPERATOR), Actor("alpha", Role.OPERATOR))) == 1
    may_administer(directory, OPERATOR.workload)
    tell(directory, Suspension("operator", 0, State.ACTIVE, "a test"))
    assert refusals(OPERATOR) == refusals(STRANGER)

"""What waits for signatures, without a hub: judged, kept, over; and a file that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from exchange.codec import encode_header
from exchange.domain.bodies import Body, Member, Membership, Retraction, State, Suspension
from exchange.domain.directory_rules import DIRECTORY_REPLAY_DAYS
from exchange.domain.kinds import MemberClass, Role
from exchange.domain.proposals import MAX_SIGNERS, Proposal
from exchange.domain.statement import statement_id
from exchange.domain.validation import DAY_MS
from exchange.errors import Denied, ExchangeError, Fatal, Reason, Unavailable
from exchange.publish.proposals import Proposals
from exchange.publish.turns import Turns
from tests.unit.builders import (
    DIRECTORY,
    NOW_MS,
    OPERATOR,
    SECOND_OPERATOR,
    UK,
    Actor,
    community_header,
    digest,
    directory_header,
    tell,
)
from tests.unit.publish.test_intake import Desk

OTHER = Actor("other", Role.OPERATOR)
JOINS = Membership("police", "test.exchange/side", State.ACTIVE)


class Book:
    """A file, in memory; it can fail before or after it has taken what is saved."""

    def __init__(self) -> None:
        self.saved: list[Proposal] = []
        self.fails: list[tuple[bool, ExchangeError]] = []

    async def load(self) -> Sequence[Proposal]:
        return list(self.saved)

    async def save(self, proposals: Sequence[Proposal]) -> None:
        applied, error = self.fails.pop() if self.fails else (True, None)
        if applied:
            self.saved = list(proposals)
        if error is not None:
            raise error


class Office:
    """Proposals over an intake, its directory, and what is in the ledger."""

    def __init__(self) -> None:
        self.desk = Desk(threshold=2)
        other = Member("other", "Another", MemberClass.OPERATOR, (Role.OPERATOR,))
        tell(self.desk.directory, other, OTHER.key_body())
        self.book, self.said, self.counted = Book(), set[bytes](), list[str]()
        self.asked: list[str] = []
        self.proposals = self.opened()

    def opened(self) -> Proposals:
        turns = Turns(lambda: 0.0)
        return Proposals(
            self.book,
            self.desk.intake,
            lambda: self.desk.directory,
            self,
            turns,
            count=self.counted.append,
        )

    async def up_to_date(self, origin: str) -> None:
        self.asked.append(origin)

    async def holds(self, origin: str, statement_id: bytes) -> bool:
        assert origin == DIRECTORY
        return statement_id in self.said

    async def prepare(self, *bodies: Body, by: Actor = OPERATOR) -> Proposal:
        headers = [directory_header(body, publisher=by.member, created_at_ms=self.desk.clock.wall) for body in bodies]
        return await self.proposals.prepare(by.workload, list(map(encode_header, headers)))

    async def sign(self, proposal: Proposal, by: Actor = OPERATOR) -> Proposal:
        return await self.proposals.sign(by.workload, proposal.id, [by.sign(each) for each in proposal.payloads])


@pytest.fixture
def office() -> Office:
    return Office()


async def reason_of(job: object) -> Reason:
    with pytest.raises(ExchangeError) as caught:
        await job  # type: ignore[misc]
    return caught.value.reason


async def test_what_is_kept_is_there_after_a_restart_with_its_signatures(office: Office) -> None:
    made = await office.prepare(JOINS)
    signed = await office.sign(made)
    office.proposals = office.opened()
    assert await office.proposals.all() == [signed] == office.book.saved
    assert (await office.sign(signed, OTHER)).signers[0] == signed.signers[0]
    assert office.counted == ["prepared", "signed", "signed"]


async def test_it_is_there_until_the_directory_would_not_take_it_any_more(office: Office) -> None:
    made = await office.prepare(JOINS)
    office.desk.clock.pass_ms(DIRECTORY_REPLAY_DAYS * DAY_MS)
    assert await office.proposals.get(made.id) == made
    office.desk.clock.pass_ms(1)
    assert await reason_of(office.proposals.get(made.id)) is Reason.NOT_FOUND
    assert await reason_of(office.sign(made)) is Reason.NOT_FOUND
    assert office.counted == ["prepared", "expired"]


async def test_what_is_in_the_ledger_whole_is_gone_and_half_of_it_keeps_its_signatures(office: Office) -> None:
    delta = Actor("delta", Role.PIPELINE)
    new = Member("delta", "Delta", MemberClass.PLATFORM, (Role.PIPELINE,))
    bodies = (new, delta.key_body(), Membership("delta", UK, State.ACTIVE))
    made = await office.sign(await office.prepare(*bodies))
    tell(office.desk.directory, *bodies[:2])
    office.said |= set(map(statement_id, made.payloads[:2]))
    assert await reason_of(office.sign(made, OTHER)) is Reason.CONFLICT
    assert await office.proposals.all() == [made]
    office.said.add(statement_id(made.payloads[2]))
    assert await office.proposals.all() == []
    assert office.counted[-1] == "published"


async def test_a_clock_that_cannot_be_trusted_ends_nothing(office: Office) -> None:
    made = await office.prepare(JOINS)
    office.desk.clock.pass_ms(2 * DIRECTORY_REPLAY_DAYS * DAY_MS)
    trusted = office.desk.intake._now_ms

    def jumped() -> int:
        raise Unavailable("the clock has jumped")

    office.desk.intake._now_ms = jumped
    assert await reason_of(office.proposals.all()) is Reason.UNAVAILABLE
    office.desk.clock.pass_ms(-2 * DIRECTORY_REPLAY_DAYS * DAY_MS)
    office.desk.intake._now_ms = trusted
    assert await office.proposals.all() == [made]


async def test_each_signature_is_judged_by_the_directory_as_it_is_then(office: Office) -> None:
    made = await office.sign(await office.prepare(JOINS))
    tell(office.desk.directory, Suspension("operator", 0, State.ACTIVE, "a test"))
    assert await reason_of(office.sign(made, OTHER)) is Reason.NOT_PERMITTED
    assert await reason_of(office.sign(made, SECOND_OPERATOR)) is Reason.NOT_PERMITTED
    assert await office.proposals.all() == [made]
    tell(office.desk.directory, Suspension("operator", 0, State.ENDED, "over"))
    tell(office.desk.directory, OTHER.key_body(State.ENDED))
    assert await reason_of(office.sign(made, OTHER)) is Reason.WRONG_KEY
    assert await office.proposals.all() == [made]


async def test_a_key_that_was_revoked_leaves_its_place_to_the_next(office: Office) -> None:
    keys = [Actor("operator", Role.OPERATOR, number) for number in range(2, MAX_SIGNERS + 1)]
    tell(office.desk.directory, *(each.key_body() for each in keys))
    made = await office.prepare(JOINS)
    for each in [OPERATOR, *keys]:
        made = await office.sign(made, each)
    assert len(made.signers) == MAX_SIGNERS
    assert await reason_of(office.sign(made, OTHER)) is Reason.TOO_LARGE
    tell(office.desk.directory, keys[0].key_body(State.ENDED))
    assert (await office.sign(made, OTHER)).signers[-1].key_id == OTHER.key.key_id


async def test_what_is_said_in_a_community_is_judged_by_all_that_is_in_it(office: Office) -> None:
    header = community_header(Retraction((digest("signal"),), 5), OPERATOR)
    assert await reason_of(office.proposals.prepare(OPERATOR.workload, [encode_header(header)])) is Reason.INVALID
    assert office.asked == [UK]


async def test_a_save_that_fails_is_told_and_what_the_file_has_is_what_counts(office: Office) -> None:
    made = await office.prepare(JOINS)
    for applied in (False, True):
        office.book.fails.append((applied, Unavailable("the disk is full")))
        assert await reason_of(office.sign(made)) is Reason.UNAVAILABLE
        (found,) = await office.proposals.all()
        assert len(found.signers) == applied
    office.book.fails.append((False, Fatal("the disk is gone")))
    assert await reason_of(office.proposals.withdraw(OPERATOR.workload, made.id)) is Reason.CORRUPT
    assert len(await office.proposals.all()) == 1


async def test_two_who_sign_at_once_both_have(office: Office) -> None:
    made = await office.prepare(JOINS)
    await asyncio.gather(*(office.sign(made, each) for each in (OPERATOR, SECOND_OPERATOR, OTHER)))
    (found,) = await office.proposals.all()
    assert {each.key_id for each in found.signers} == {e.key.key_id for e in (OPERATOR, SECOND_OPERATOR, OTHER)}


async def test_only_whose_it_is_withdraws_it(office: Office) -> None:
    made = await office.prepare(JOINS)
    assert await reason_of(office.proposals.withdraw(OTHER.workload, made.id)) is Reason.NOT_PERMITTED
    await office.proposals.withdraw(SECOND_OPERATOR.workload, made.id)
    assert await office.proposals.all() == [] == office.book.saved
    assert made.created_at_ms == NOW_MS


async def test_nobody_prepares_in_another_name(office: Office) -> None:
    payload = encode_header(directory_header(JOINS, publisher="other"))
    with pytest.raises(ExchangeError) as caught:
        await office.proposals.prepare(OPERATOR.workload, [payload])
    assert caught.value.reason is Reason.WRONG_KEY
    assert not isinstance(caught.value, Denied)

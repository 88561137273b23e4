"""The fold of referrals and notes over a store and a real file: what counts, what goes, and that it can be made again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
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
    UpdateRecord,
)
from exchange.domain.bodies import Erasure, ErasureReason
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.referral_facts import ReferralFacts
from exchange.domain.statement import Statement, audience_id, signal_ids
from exchange.stores.facts import FactsFile
from exchange.stores.facts_referrals import FactsReferrals
from exchange.views.erasing import Eraser
from tests.contract.followed_log import Community, caught_up
from tests.unit.builders import ALPHA_LIAISON, NOW_MS, POLICE, UK, Actor, community_header, community_statement, digest

HOUR_MS = 3_600_000
BODIES: dict[type[AddressedRecord], type[Referral | ReferralUpdate | Note]] = {
    ReferralRecord: Referral,
    UpdateRecord: ReferralUpdate,
    NoteRecord: Note,
}


def said(record: AddressedRecord, by: Actor, audience: tuple[str, ...] = ("alpha", "police")) -> Statement:
    """Return a statement for named members, signed."""
    raw, audience_record = encode_addressed(record), codec.encode_audience(bytes(16), audience)
    body = BODIES[type(record)](audience_id(UK, by.member, audience_record))
    header = community_header(
        body, by, signal_ids=tuple(signal_ids(UK, by.member, (raw,))), nonce=digest(str(record), 16)
    )
    payload = codec.encode_header(header)
    return Statement(payload, (by.sign(payload),), (raw,), audience_record)


def a_referral(case: str, by: Actor = ALPHA_LIAISON) -> Statement:
    salt, due = digest(case, 16), NOW_MS + HOUR_MS
    return said(ReferralRecord(salt, "police", Label.VIOLENCE_THREATS, 1, due, case, contact="tel:101"), by)


def id_of(statement: Statement) -> bytes:
    (id_,) = codec.decode_header(statement.payload, strict=True).signal_ids
    return id_


def an_update(referral: Statement, state: int, by: Actor = POLICE, **changes: Any) -> Statement:
    return said(UpdateRecord(digest(f"{state}", 16), id_of(referral), state, NOW_MS, **changes), by)


def a_note(target: Statement, text: str, by: Actor = POLICE) -> Statement:
    return said(NoteRecord(digest(text, 16), id_of(target), text), by)


@dataclass
class Fold:
    """The fold of a community, caught up, and its eraser."""

    referrals: FactsReferrals
    eraser: Eraser

    def state(self, referral: Statement) -> tuple[int, int] | None:
        found = self.referrals.facts.referral(id_of(referral))
        return None if found is None else (found.state, found.updates)

    async def words(self, referral: Statement) -> list[int]:
        return [each.index for each in await self.referrals.said_of(id_of(referral))]

    async def of(self, member: str) -> list[ReferralFacts]:
        return list(await self.referrals.of(member, 1 << 40, 100))


@asynccontextmanager
async def fold(community: Community) -> AsyncIterator[Fold]:
    async with community.following() as view:
        await caught_up(view, community.chain.size)

        async def erased(indices: object) -> None:
            pass

        eraser = Eraser(UK, community.store, view.facts, erased, lambda: NOW_MS, ready=view.placed, moving=view.moving)
        assert isinstance(view.facts, FactsFile)
        yield Fold(FactsReferrals(view.facts), eraser)


@pytest.fixture
def community(tmp_path: Path) -> Community:
    return Community(tmp_path)


ONE, TWO = a_referral("T-1"), a_referral("T-2")
ACKNOWLEDGED = an_update(ONE, ReferralState.ACKNOWLEDGED)
CLOSED = an_update(ONE, ReferralState.CLOSED, outcome=ReferralOutcome.PASSED_ON)
LATE = an_update(ONE, ReferralState.ASKED, respond_by_ms=NOW_MS + HOUR_MS)
QUESTION = a_note(ONE, "Which time zone?")


async def test_the_first_word_counts(community: Community) -> None:
    await community.say(ONE, TWO, ACKNOWLEDGED, CLOSED, LATE, QUESTION)
    async with fold(community) as found:
        assert found.state(ONE) == (ReferralState.CLOSED, 2)
        assert found.state(TWO) == (0, 0)
        assert await found.words(ONE) == [2, 3, 5]
        assert [each.index for each in await found.of("alpha")] == [1, 0]
        assert [each.index for each in await found.of("police")] == [1, 0]
        assert await found.of("beta") == []
        assert found.referrals.counts(NOW_MS) == (1, 0)
        assert found.referrals.counts(NOW_MS + 2 * HOUR_MS) == (1, 1)
        assert found.referrals.facts.notes(id_of(ONE)) == 1
        assert found.referrals.facts.said([id_of(ONE), id_of(QUESTION)])[id_of(QUESTION)].kind == Kind.NOTE


async def test_pages_of_referrals_leave_none_out(community: Community) -> None:
    await community.say(*(a_referral(f"T-{number}") for number in range(20)))
    async with fold(community) as found:
        seen: list[int] = []
        before = 1 << 40
        while page := await found.referrals.of("police", before, 7):
            seen += [each.index for each in page]
            before = seen[-1]
        assert seen == list(reversed(range(20)))


async def test_an_erased_referral_takes_all_that_was_said_of_it(community: Community) -> None:
    await community.say(ONE, TWO, ACKNOWLEDGED, QUESTION)
    erasure = community_statement(Erasure((id_of(ONE),), ErasureReason.ON_REQUEST), ALPHA_LIAISON)
    await community.say(erasure)
    async with fold(community) as found:
        assert found.state(ONE) is None
        assert await found.words(ONE) == []
        assert [each.index for each in await found.of("police")] == [1]
        while await found.eraser.erase():
            pass
    for entry in await community.store.read(0, 10):
        records = codec.decode_frame(entry.frame).records
        assert bool(records) is (entry.index == 1), entry.index
    assert b"T-1" not in b"".join(entry.frame for entry in await community.store.read(0, 10))
    # Made again of what is left, it says the same.
    (community.folder / "life").unlink()
    async with fold(community) as found:
        assert found.state(ONE) is None
        assert found.state(TWO) == (0, 0)
        assert await found.words(ONE) == []


async def test_a_note_is_erased_alone(community: Community) -> None:
    await community.say(ONE, QUESTION, a_note(ONE, "UTC.", ALPHA_LIAISON))
    await community.say(community_statement(Erasure((id_of(QUESTION),), ErasureReason.ERROR), ALPHA_LIAISON))
    async with fold(community) as found:
        while await found.eraser.erase():
            pass
        assert await found.words(ONE) == [2]
        assert found.state(ONE) == (0, 0)
    frames = [entry.frame for entry in await community.store.read(0, 10)]
    assert not codec.decode_frame(frames[1]).present
    assert codec.decode_frame(frames[2]).present


async def test_a_copy_that_came_again_is_erased_too(community: Community) -> None:
    header = codec.decode_header(ONE.payload, strict=True)
    again = codec.encode_header(type(header)(**{**_values(header), "nonce": bytes(16)}))
    await community.say(ONE)
    await community.say(Statement(again, (ALPHA_LIAISON.sign(again),), ONE.records, ONE.audience_record))
    await community.say(community_statement(Erasure((id_of(ONE),), ErasureReason.ON_REQUEST), ALPHA_LIAISON))
    async with fold(community) as found:
        assert found.state(ONE) is None
        while await found.eraser.erase():
            pass
    assert [codec.decode_frame(each.frame).present for each in await community.store.read(0, 2)] == [False, False]


def _values(header: Any) -> dict[str, Any]:
    return {name: getattr(header, name) for name in header.__slots__}


async def test_what_lies_below_the_floor_is_forgotten(community: Community) -> None:
    await community.say(ONE, QUESTION, TWO)
    async with community.following() as view:
        await caught_up(view, 3)
        assert isinstance(view.facts, FactsFile)
        referrals = FactsReferrals(view.facts)
        await view.facts.forget(2)
        assert referrals.facts.referral(id_of(ONE)) is None
        assert await referrals.said_of(id_of(ONE)) == []
        assert referrals.facts.referral(id_of(TWO)) is not None
        assert referrals.counts(NOW_MS) == (1, 0)

"""What was said to named members, and has come back: in any order it comes to the same, and what was erased stays away."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from exchange import codec
from exchange.domain.addressed import ReferralState
from exchange.domain.key_epochs import KeyEpochs
from exchange.domain.statement import Statement
from exchange.errors import InvalidStatement
from exchange.publish.intake import Intake
from exchange.publish.quota import Limits, Quotas
from tests.contract.followed_log import Community, ids_of
from tests.contract.returning_hub import Hub, header_of, serving
from tests.contract.test_life_view import about, erasure
from tests.contract.test_referral_facts import CLOSED, ONE, QUESTION, TWO, a_note, an_update, id_of
from tests.unit.builders import (
    ALPHA,
    ALPHA_LIAISON,
    BETA_LIAISON,
    NOW_MS,
    POLICE,
    Actor,
    community_statement,
    make_directory,
)

PLAIN = about("plain")


@pytest.fixture
def community(tmp_path: Path) -> Community:
    return Community(tmp_path)


ANSWERED = [ONE, an_update(ONE, ReferralState.ACKNOWLEDGED), QUESTION, CLOSED]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
async def test_what_was_said_of_a_referral_comes_to_the_same_in_whatever_order_it_comes_back(
    community: Community, order: tuple[int, ...]
) -> None:
    await community.say(*ANSWERED, TWO)
    async with serving(community) as hub:
        before, notes = hub.referral(ONE), hub.view.current().addressed.notes(id_of(ONE))
    whole = community.frames()
    community.lose(0)
    async with serving(community) as hub:
        assert await hub.lost() == [0, 4]
        assert await hub.lost("police") == [1, 2, 3]
        assert hub.referral(ONE) is None
        for index in order:
            await hub.again(index, ANSWERED[index])
        assert (hub.referral(ONE), hub.view.current().addressed.notes(id_of(ONE))) == (before, notes)
        assert hub.referral(TWO) is None
        await hub.again(4, TWO)
        assert community.frames() == whole
        assert hub.referral(TWO) is not None


async def test_what_an_erasure_named_while_it_was_lost_stays_away_with_all_that_was_said_of_it(
    community: Community,
) -> None:
    note = a_note(ONE, "ours", ALPHA_LIAISON)
    await community.say(*ANSWERED, note, community_statement(erasure(id_of(note)), ALPHA_LIAISON))
    community.lose(0)
    async with serving(community) as hub:
        assert await hub.lost() == [0]
        await hub.again(4, note)
        await hub.again(1, ANSWERED[1])
        await community.say(community_statement(erasure(id_of(ONE)), ALPHA_LIAISON))
        for index in (0, 2, 3):
            await hub.again(index, ANSWERED[index])
        assert [codec.is_erased(frame) for frame in community.frames()[:5]] == [True, False, True, True, True]
        await hub.view.reached(community.chain.size)
        await hub.erase()
        assert hub.referral(ONE) is None
    assert [codec.is_erased(frame) for frame in community.frames()[:5]] == [True] * 5


def judge(hub: Hub, statement: Statement, by: Actor) -> None:
    """Judge what somebody would say now, as the hub does."""
    directory = make_directory()
    quotas = Quotas(Limits(), lambda: 0)
    intake = Intake(lambda: directory, lambda _: KeyEpochs(), lambda _: hub.view.current(), quotas, lambda: NOW_MS)
    admitted = intake.admit(by.workload, statement)
    intake.check(by.workload, admitted, intake.identify(by.workload, admitted))


async def test_what_is_lost_can_be_erased_by_who_said_it_and_stays_away(community: Community) -> None:
    note = a_note(ONE, "ours", ALPHA_LIAISON)
    await community.say(ONE, ANSWERED[1], note)
    community.lose(0)
    async with serving(community) as hub:
        with pytest.raises(InvalidStatement, match="known to you"):
            judge(hub, community_statement(erasure(id_of(ONE)), BETA_LIAISON), BETA_LIAISON)
        with pytest.raises(InvalidStatement, match="known to you"):
            judge(hub, community_statement(erasure(id_of(ANSWERED[1])), ALPHA_LIAISON), ALPHA_LIAISON)
        for lost in (ONE, note):
            erased = community_statement(erasure(id_of(lost)), ALPHA_LIAISON)
            judge(hub, erased, ALPHA_LIAISON)
            await community.say(erased)
            await hub.view.reached(community.chain.size)
            with pytest.raises(InvalidStatement, match="known to you"):
                judge(hub, erased, ALPHA_LIAISON)
        assert await hub.lost() == []
        for index, statement in enumerate((ONE, ANSWERED[1], note)):
            await hub.again(index, statement)
        assert [codec.is_erased(frame) for frame in community.frames()[:3]] == [True] * 3


def anew(statement: Statement, by: Actor) -> Statement:
    """Return another statement with the same record."""
    payload = codec.encode_header(replace(header_of(statement), nonce=b"anew" * 4))
    return replace(statement, payload=payload, signatures=(by.sign(payload),))


async def test_what_was_erased_stays_so_in_a_new_statement(community: Community) -> None:
    note = a_note(TWO, "ours", ALPHA_LIAISON)
    erased = community_statement(erasure(id_of(ONE), id_of(note)), ALPHA_LIAISON)
    await community.say(ONE, ANSWERED[1], TWO, note, erased)
    async with serving(community) as hub:
        await hub.erase()
        for statement in (ONE, note):
            with pytest.raises(InvalidStatement, match="has been said already"):
                judge(hub, anew(statement, ALPHA_LIAISON), ALPHA_LIAISON)
        # Two hubs of one store may judge at the same time: it is in the ledger all the same.
        await community.say(anew(ONE, ALPHA_LIAISON), anew(ANSWERED[1], POLICE), anew(note, ALPHA_LIAISON))
        await hub.view.reached(community.chain.size)
        assert hub.referral(ONE) is None
        assert hub.referral(TWO) is not None
        assert hub.view.current().addressed.notes(id_of(TWO)) == 0
        await hub.erase()
    whole = [at for at, frame in enumerate(community.frames()) if not codec.is_erased(frame)]
    assert [at for at in whole if at != 4] == [2]


async def test_a_referral_that_is_erased_while_it_is_put_back_goes(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    await community.say(ONE)
    community.lose(0)
    async with serving(community) as hub:
        write = community.store.put_back

        async def slow(index: int, was: bytes, frame: bytes) -> None:
            await community.say(community_statement(erasure(id_of(ONE)), ALPHA_LIAISON))
            await hub.view.reached(2)
            await write(index, was, frame)

        monkeypatch.setattr(community.store, "put_back", slow)
        await hub.again(0, ONE)
        assert hub.referral(ONE) is None
        await hub.erase()
    assert codec.is_erased(community.frames()[0])


async def test_a_note_on_a_signal_that_was_erased_stays_away(community: Community) -> None:
    note = a_note(PLAIN, "wrong person", POLICE)
    await community.say(PLAIN, note, community_statement(erasure(*ids_of(PLAIN)), ALPHA))
    community.lose(0)
    async with serving(community) as hub:
        await hub.again(1, note)
    assert codec.is_erased(community.frames()[1])


async def test_what_is_said_of_a_referral_while_it_comes_back_counts(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    await community.say(ONE)
    community.lose(0)
    async with serving(community) as hub:
        said_of = community.lost.said_of

        async def slow(target: bytes) -> Sequence[int]:
            found = await said_of(target)
            if community.chain.size == 1:
                await community.say(ANSWERED[1])
                await hub.view.reached(2)
            return found

        monkeypatch.setattr(community.lost, "said_of", slow)
        await hub.again(0, ONE)
        found = hub.referral(ONE)
        assert found is not None
        assert (found.acknowledged, found.updates) == (True, 1)


async def test_what_came_back_before_the_fold_took_it_is_taken_once(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.views.life.BEHIND_S", 3_600.0)
    async with serving(community) as hub:
        await community.say(ONE)
        await hub.returning.returned_to((0,))  # told by another hub
        await community.say(ANSWERED[1])
        await hub.view.reached(2)
        found = hub.referral(ONE)
        assert found is not None
        assert found.acknowledged


async def test_a_fold_that_had_it_all_along_is_told_and_says_the_same(community: Community) -> None:
    """As at a hub whose store another one has mended before it looked."""
    secret = about("secret", audience=["beta"])
    await community.say(*ANSWERED, secret)
    async with serving(community) as hub:
        before, notes = hub.referral(ONE), hub.view.current().addressed.notes(id_of(ONE))
        await hub.returning.returned_to(range(5))
        assert (hub.referral(ONE), hub.view.current().addressed.notes(id_of(ONE))) == (before, notes)
        assert hub.audience(secret) == frozenset({"beta"})
        assert (await hub.lost(), await hub.lost("police")) == ([], [])

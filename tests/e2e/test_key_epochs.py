"""Key epochs and pseudonyms through a real hub: who may announce, what may be published under them, what is proven."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.domain.bodies import (
    Budget,
    BudgetTotal,
    DataVersion,
    KeyEpoch,
    State,
)
from exchange.domain.identifiers import IndicatorType, pseudonym_value
from exchange.domain.kinds import MemberClass, Role
from exchange.domain.validation import DAY_MS
from exchange.errors import Denied, InvalidStatement, Reason, Rejected
from exchange.ops.clocks import wall_ms
from exchange.privacy.voprf import EvaluationKey
from exchange_client import ExchangeClient, Indicator
from tests.e2e.exchange_fixture import DIRECTORY, SIDE, UK, World, open_world
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e

DEADLINE_S = 20.0
POINT = EvaluationKey.generate(os.urandom).public_key
SERVICE = "oprf"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path / "exchange")
    await opened.registrar.enrol(SERVICE, MemberClass.OPERATOR, roles=(Role.PSEUDONYMS,))
    yield opened
    await opened.aclose()


def client(world: World, folder: Path, member: str, role: Role = Role.PIPELINE) -> ExchangeClient:
    return ExchangeClient(client_config(world.exchange, world.app.port, member, folder / member / role.word, role))


def announced(number: int = 1, days: int = 300) -> KeyEpoch:
    now = wall_ms()
    return KeyEpoch(number, State.ACTIVE, POINT, now - 1, now + days * DAY_MS, (DataVersion("unicode", "14.0.0"),))


def a_pseudonym(number: int = 1) -> Indicator:
    return Indicator(IndicatorType.PSEUDONYM, pseudonym_value(number, os.urandom(32)))


async def known(client: ExchangeClient, number: int) -> None:
    """Return once the hub's view has taken an epoch."""
    async with asyncio.timeout(DEADLINE_S):
        while number not in (await client.key_epochs(UK)).entries:
            await asyncio.sleep(0.05)


async def test_an_epoch_is_announced_proven_and_published_under(world: World, tmp_path: Path) -> None:
    alpha, service = client(world, tmp_path, "alpha"), client(world, tmp_path, SERVICE, Role.PSEUDONYMS)
    async with service, alpha, alpha.publisher(UK) as publisher:
        (early,) = await publisher.publish([a_signal(indicators=(a_pseudonym(),))])
        assert early.error is not None
        assert "not live here" in str(early.error)

        epoch = announced()
        receipt = await service.say(UK, epoch)
        await known(alpha, 1)
        entry = (await alpha.key_epochs(UK)).entries[1]
        assert (entry.epoch, entry.publisher, entry.announced_at) == (epoch, SERVICE, receipt.index)

        late = a_signal(indicators=(a_pseudonym(),), expires_at_ms=epoch.ends_ms + 1)
        plain, under, other = (
            a_signal(),
            a_signal(indicators=(a_pseudonym(),)),
            a_signal(indicators=(a_pseudonym(2),)),
        )
        outcomes = await publisher.publish([plain, under, late, other])
        assert [outcome.error is None for outcome in outcomes] == [True, True, False, False]
        assert "behind the end of key epoch 1" in str(outcomes[2].error)


async def test_the_hub_judges_who_does_not_know(world: World, tmp_path: Path) -> None:
    """A publisher that has never asked for the epochs is told by the hub, and nothing has changed."""
    async with client(world, tmp_path, SERVICE, Role.PSEUDONYMS) as service, client(world, tmp_path, "alpha") as alpha:
        epoch = announced(days=10)
        await service.say(UK, epoch)
        await known(service, 1)
        before = (await world.heads())[UK]
        async with alpha.publisher(UK) as publisher:
            for bad in (
                a_signal(indicators=(a_pseudonym(7),)),
                a_signal(indicators=(a_pseudonym(),), expires_at_ms=epoch.ends_ms + 1),
                a_signal(indicators=(Indicator(IndicatorType.PSEUDONYM, bytes(32)),)),
            ):
                (outcome,) = await publisher.publish([bad])
                assert isinstance(outcome.error, InvalidStatement)
            assert (await world.heads())[UK] == before
            (good,) = await publisher.publish([a_signal(indicators=(a_pseudonym(),))])
            assert good.receipt is not None


async def test_who_knew_the_epochs_a_while_ago_lets_the_hub_judge(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch that was announced since must not be refused by a client that is open for long."""
    async with client(world, tmp_path, SERVICE, Role.PSEUDONYMS) as service, client(world, tmp_path, "alpha") as alpha:
        await alpha.key_epochs(UK)
        await service.say(UK, announced())
        await known(service, 1)
        signal = a_signal(indicators=(a_pseudonym(),))
        async with alpha.publisher(UK) as publisher:
            (refused,) = await publisher.publish([signal])
            assert refused.error is not None  # by what it has just read
            monkeypatch.setattr("exchange_client.client.EPOCHS_KNOWN_MS", 0)
            (outcome,) = await publisher.publish([signal])
            assert outcome.error is None


async def test_what_is_destroyed_is_published_under_no_more(world: World, tmp_path: Path) -> None:
    async with client(world, tmp_path, SERVICE, Role.PSEUDONYMS) as service, client(world, tmp_path, "alpha") as alpha:
        await service.say(UK, announced())
        await known(service, 1)
        end = await service.say(UK, KeyEpoch(1, State.ENDED, POINT))
        async with asyncio.timeout(DEADLINE_S):
            while (await alpha.key_epochs(UK)).entries[1].destroyed_at is None:
                await asyncio.sleep(0.05)
        assert (await alpha.key_epochs(UK)).entries[1].destroyed_at == end.index
        async with alpha.publisher(UK) as publisher:
            (outcome,) = await publisher.publish([a_signal(indicators=(a_pseudonym(),))])
        assert "not live here" in str(outcome.error)


async def test_only_the_service_says_it_and_only_where_it_belongs(world: World, tmp_path: Path) -> None:
    yesterday = wall_ms() // DAY_MS - 1
    budget = Budget(yesterday, (BudgetTotal("alpha", 1, 1_000),))
    for member, role in (("alpha", Role.PIPELINE), ("alpha", Role.LIAISON), ("operator", Role.OPERATOR)):
        async with client(world, tmp_path, member, role) as other:
            for body in (announced(), budget):
                with pytest.raises(Denied):
                    await other.say(UK, body)
    async with client(world, tmp_path, SERVICE, Role.PSEUDONYMS) as service:
        before = await world.heads()
        with pytest.raises(Denied):
            await service.say(SIDE, announced())
        with pytest.raises(Rejected) as caught:
            await service.say(DIRECTORY, announced())
        assert caught.value.reason is Reason.WRONG_ORIGIN
        no_point = replace(announced(), public_key=b"\x02" + b"\xff" * 32)
        for bad in (
            no_point,
            replace(announced(), state=0),
            Budget(yesterday + 1, budget.totals),
            Budget(yesterday, ()),
        ):
            with pytest.raises(InvalidStatement):
                await service.say(UK, bad)
        assert await world.heads() == before
        await service.say(UK, budget)
        await service.say(UK, announced())
        await known(service, 1)
        with pytest.raises(InvalidStatement):
            await service.say(UK, announced())

"""The life of key epochs in a running service, as its communities' ledgers tell it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from exchange.domain.bodies import Budget, BudgetTotal, State
from exchange.domain.kinds import Role
from exchange.domain.validation import DAY_MS
from exchange.errors import InvalidStatement, Rejected
from exchange.normal.accounts import AccountType, data_versions, normal_account
from exchange.ops.clocks import wall_ms
from exchange.pseudonyms.budget import Reserved
from exchange.stores.budget_book import BudgetFile
from exchange.stores.epoch_keys import EpochKeys
from exchange_client import ExchangeClient
from tests.e2e.exchange_fixture import SIDE, UK, World, open_world
from tests.e2e.pseudonym_place import SERVICE, Service, a_service
from tests.e2e.sdk_clients import a_signal

pytestmark = pytest.mark.e2e

DEADLINE_S = 30.0
SOMEONE = normal_account(AccountType.EMAIL, "someone@gmail.com")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path / "exchange")
    yield opened
    await opened.aclose()


@pytest.fixture
async def service(world: World, tmp_path: Path) -> AsyncIterator[Service]:
    async with a_service(world, tmp_path / "service", {"alpha": (1_000, 0)}) as found:
        yield found


async def size(world: World, origin: str = UK) -> int:
    return (await world.heads())[origin].sealed.size


async def until(client: ExchangeClient, holds: Callable[[dict[int, bool]], bool]) -> None:
    """Return once the ledger's epochs are so: numbers, and whether they are destroyed."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds(
            {number: entry.destroyed_at is not None for number, entry in (await client.key_epochs(UK)).entries.items()}
        ):
            await asyncio.sleep(0.1)


async def test_a_restart_announces_nothing_twice(world: World, service: Service) -> None:
    service.configure({}, communities=(UK, "side"))
    await world.registrar.join(SERVICE, SIDE)
    await service.run("epoch", "create")
    await service.start()
    async with asyncio.timeout(DEADLINE_S):
        while not (await size(world, UK) and await size(world, SIDE)):
            await asyncio.sleep(0.1)
    before = await size(world, UK), await size(world, SIDE)
    for number in (signal.SIGKILL, signal.SIGTERM):
        await service.stop(number)
        await service.start()
    assert (await size(world, UK), await size(world, SIDE)) == before == (1, 1)


async def test_in_an_overlap_an_account_is_named_under_both_epochs(world: World, service: Service) -> None:
    await service.run("epoch", "create", "--days", 20)
    await service.start()
    await service.run("epoch", "create")
    async with service.client("alpha") as alpha, alpha.publisher(UK) as publisher:
        await until(alpha, lambda epochs: epochs == {1: False, 2: False})
        first, second = (await alpha.key_epochs(UK)).live(wall_ms())
        assert first.epoch.ends_ms < second.epoch.ends_ms
        async with alpha.pseudonyms(UK) as pseudonyms:
            indicators = (await pseudonyms.indicators([SOMEONE]))[0]
        assert len(indicators) == 2
        (both,) = await publisher.publish([a_signal(indicators=indicators)])
        assert both.receipt is not None
        late = a_signal(indicators=indicators, expires_at_ms=first.epoch.ends_ms + 1)
        one = a_signal(indicators=indicators[1:], expires_at_ms=first.epoch.ends_ms + 1)
        refused, taken = await publisher.publish([late, one])
    assert isinstance(refused.error, InvalidStatement)
    assert "end of key epoch 1" in str(refused.error)
    assert taken.receipt is not None


async def test_a_destroyed_key_is_told_and_nothing_is_published_under_it(service: Service) -> None:
    await service.run("epoch", "create")
    await service.start()
    async with service.client("alpha") as alpha:
        async with alpha.pseudonyms(UK) as pseudonyms:
            (indicators,) = await pseudonyms.indicators([SOMEONE])
        assert "useless for good" in await service.run("epoch", "destroy", 1, code=1)
        await service.run("epoch", "destroy", 1, "--yes")
        await until(alpha, lambda epochs: epochs == {1: True})
        async with alpha.publisher(UK) as publisher:
            (outcome,) = await publisher.publish([a_signal(indicators=indicators)])
        assert outcome.receipt is None
        with pytest.raises(Rejected, match="no pseudonym key is live"):
            async with alpha.pseudonyms(UK):
                pass
    await service.waiting_for("keys", "no key epoch is live")


async def test_a_key_is_destroyed_when_its_epoch_ends(service: Service) -> None:
    await service.start(ready=False)
    keys = EpochKeys(service.keys)
    async with service.client("alpha") as alpha:
        keys.create(1, wall_ms(), wall_ms() + 6_000, data_versions())
        (path,) = service.keys.iterdir()
        held = keys.load()[1].key
        assert held is not None
        await until(alpha, lambda epochs: epochs == {1: True})
    assert held.secret().hex() not in path.read_text()
    assert "destroyed" in await service.run("epoch", "list")


async def test_an_epoch_that_the_ledger_has_with_another_key_is_not_served(world: World, service: Service) -> None:
    await service.run("epoch", "create")
    await service.start()
    await service.stop()
    (path,) = service.keys.iterdir()
    path.unlink()
    await service.start(ready=False)
    await service.waiting_for("keys", "its key is not here")
    before = await size(world)
    await service.run("epoch", "create")
    await service.waiting_for("keys", "another public key")
    assert await size(world) == before
    path.unlink()
    await service.run("epoch", "destroy", 1, "--lost", "--yes")
    await service.run("epoch", "create")
    async with service.client("alpha") as alpha:
        await until(alpha, lambda epochs: epochs == {1: True, 2: False})
        async with asyncio.timeout(DEADLINE_S):
            while (await service.readiness())[0] != 200:
                await asyncio.sleep(0.1)
        async with alpha.pseudonyms(UK) as pseudonyms:
            assert await pseudonyms.indicators([SOMEONE])


async def test_the_totals_of_a_day_are_told_once(world: World, service: Service) -> None:
    await service.run("epoch", "create")
    yesterday = wall_ms() // DAY_MS - 1
    book = await BudgetFile.open(service.folder / "data" / "budget.sqlite")
    for member, count in (("alpha", 1_001), ("gamma", 7), ("nobody", 5)):
        await book.write(1, member, Reserved(), day=yesterday, count=count)
    await book.aclose()
    for _ in range(2):
        await service.start()
        await service.stop()
    assert await size(world) == 2
    told = []
    async with service.client("alpha") as alpha:
        async for delivery in alpha.subscribe(UK, cursor=0):
            told.append(delivery.header.body)
            if len(told) == 2:
                break
    assert told[1] == Budget(yesterday, (BudgetTotal("alpha", 1, 2_000), BudgetTotal("gamma", 1, 1_000)))
    assert "alpha" in await service.run("totals")


async def test_a_key_that_others_may_read_is_not_served(service: Service) -> None:
    await service.run("epoch", "create")
    (path,) = service.keys.iterdir()
    path.chmod(0o644)
    said = await service.run("serve", code=3)
    assert f"chmod 600 {path}" in said
    assert "others on this machine" in await service.run("check-config", code=1)
    path.chmod(0o600)
    await service.start()
    path.chmod(0o644)
    await service.waiting_for("keys", "others on this machine")


async def test_a_service_that_has_no_business_there_is_refused_with_a_hint(world: World, service: Service) -> None:
    await service.run("epoch", "create")
    service.configure({}, communities=(SIDE,))
    said = await service.run("serve", code=1)
    assert f"exchange member join {SERVICE} {SIDE}" in said
    await world.registrar.enrol("hand", roles=(Role.PIPELINE,))
    service.configure({}, workload=("hand", Role.PIPELINE))
    said = await service.run("serve", code=1)
    assert "its role is pipeline" in said
    assert "--role pseudonyms" in said
    assert "its role is pipeline" in await service.run("check-config", code=1)
    service.configure({})
    await world.registrar.suspend(SERVICE, state=State.ACTIVE)
    assert "not in force" in await service.run("serve", code=1)

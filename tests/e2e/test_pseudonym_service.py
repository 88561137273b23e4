"""The pseudonym service as a process of its own, beside a real hub: announced, proven, evaluated, within budgets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.normal.accounts import Account, AccountType, normal_account
from tests.e2e.exchange_fixture import UK, World, open_world
from tests.e2e.pseudonym_place import Service, a_service

pytestmark = pytest.mark.e2e

DEADLINE_S = 30.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path / "exchange")
    yield opened
    await opened.aclose()


@pytest.fixture
async def service(world: World, tmp_path: Path) -> AsyncIterator[Service]:
    members = {"alpha": (2_000, 0), "beta": (1_000, 0)}
    async with a_service(world, tmp_path / "service", members) as found:
        yield found


def email(text: str) -> Account:
    return normal_account(AccountType.EMAIL, text)


async def test_two_members_make_one_pseudonym_of_one_mailbox(service: Service) -> None:
    await service.run("epoch", "create")
    await service.start()
    alpha, beta = service.member("alpha"), service.member("beta")
    async with alpha, beta, alpha.pseudonyms(UK) as ours, beta.pseudonyms(UK) as theirs:
        (one,) = await ours.indicators([email("Some.One+x@GoogleMail.com")])
        same, other = await theirs.indicators([email("someone@gmail.com"), email("another@gmail.com")])
    assert one == same != other

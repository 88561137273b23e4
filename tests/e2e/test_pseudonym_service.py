"""The pseudonym service as a process of its own, beside a real hub: announced, proven, evaluated, within budgets."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exchange.domain.bodies import State
from exchange.domain.identifiers import key_epoch_of
from exchange.domain.kinds import Role
from exchange.errors import Denied, ExchangeError, OverQuota, Reason, Unavailable, VerificationFailed
from exchange.normal.accounts import Account, AccountType, normal_account
from exchange.privacy.voprf import MAX_BATCH, blind
from exchange.pseudonyms.budget import BLOCK
from exchange.stores.budget_book import read_totals
from exchange_client.transport import Transport
from tests.e2e.exchange_fixture import SIDE, UK, World, open_world
from tests.e2e.pseudonym_place import SERVICE, Service, a_service

pytestmark = pytest.mark.e2e

DEADLINE_S = 30.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path / "exchange")
    yield opened
    await opened.aclose()


@pytest.fixture
async def service(world: World, tmp_path: Path) -> AsyncIterator[Service]:
    members = {"alpha": (2 * BLOCK, 0), "beta": (BLOCK, 0)}
    async with a_service(world, tmp_path / "service", members) as found:
        await found.run("epoch", "create")
        await found.start()
        yield found


def email(text: str) -> Account:
    return normal_account(AccountType.EMAIL, text)


def elements(count: int) -> list[bytes]:
    return [each.element for each in blind([b"someone"] * count, os.urandom)]


@asynccontextmanager
async def asking(service: Service, name: str, role: Role = Role.PIPELINE) -> AsyncIterator[Transport]:
    """Connect a workload to the service, without what the SDK does around the calls."""
    async with service.client(name, role) as client:
        transport = Transport(client._config.of_pseudonyms, client._identity)
        yield transport
        await transport.aclose()


def reserved(service: Service) -> int:
    """Return how many evaluations are reserved of all budgets, as it stands on disk."""
    return sum(count for *_, count in read_totals(service.folder / "data" / "budget.sqlite", 0))


async def used_up(asked: Transport, step: int, epoch: int = 1) -> int:
    """Ask until there is no more; return how many were evaluated."""
    evaluated, sent = 0, elements(step)
    while True:
        try:
            evaluated += len((await asked.evaluate(epoch, sent)).elements)
        except OverQuota as error:
            assert error.retry_after_ms > 0
            return evaluated


async def test_two_members_make_one_pseudonym_of_one_mailbox(service: Service) -> None:
    alpha, beta = service.client("alpha"), service.client("beta")
    async with alpha, beta, alpha.pseudonyms(UK) as ours, beta.pseudonyms(UK) as theirs:
        (one,) = await ours.indicators([email("Some.One+x@GoogleMail.com")])
        same, other = await theirs.indicators([email("someone@gmail.com"), email("another@gmail.com")])
        entry = (await alpha.key_epochs(UK)).entries[1]
    assert one == same != other
    assert [key_epoch_of(each.value) for each in one] == [1]
    assert entry.publisher == SERVICE
    assert entry.epoch.public_key.hex() in await service.run("epoch", "list")
    assert await service.stop() == 0


@pytest.mark.parametrize(
    ("name", "role"),
    [("alpha", Role.LIAISON), ("police", Role.AUTHORITY), (SERVICE, Role.PSEUDONYMS), ("watcher", Role.WITNESS)],
)
async def test_only_pipelines_of_platforms_are_answered(service: Service, name: str, role: Role) -> None:
    async with asking(service, name, role) as asked:
        with pytest.raises(Denied):
            await asked.evaluate(1, elements(1))
    assert reserved(service) == 0


async def test_members_outside_its_communities_and_suspended_ones_are_refused(world: World, service: Service) -> None:
    await world.registrar.enrol("outsider", communities=(SIDE,))
    async with asking(service, "outsider") as asked:
        await refused(asked, Denied)
    async with asking(service, "alpha") as asked:
        await asked.evaluate(1, elements(1))
        await world.registrar.suspend("alpha")
        await refused(asked, Denied)
        await world.registrar.suspend("alpha", state=State.ENDED)
        await answered(asked)


async def refused(asked: Transport, kind: type[ExchangeError], epoch: int = 1) -> None:
    """Return once asking is refused: the service follows the directory and its files a moment behind."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await asked.evaluate(epoch, elements(1))
            except ExchangeError as error:
                if isinstance(error, kind):
                    return
            await asyncio.sleep(0.1)


async def answered(asked: Transport, epoch: int = 1) -> None:
    """Return once asking is answered."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await asked.evaluate(epoch, elements(1))
            except ExchangeError:
                await asyncio.sleep(0.1)
            else:
                return


async def test_a_budget_ends_for_one_member_and_is_followed_when_it_is_raised(service: Service) -> None:
    async with asking(service, "alpha") as asked, asking(service, "beta") as other:
        assert await used_up(asked, 500) == 2 * BLOCK
        before = reserved(service)
        with pytest.raises(OverQuota):
            await asked.evaluate(1, elements(1))
        assert reserved(service) == before == 2 * BLOCK
        await other.evaluate(1, elements(1))
        service.configure({"alpha": (2 * BLOCK + 3, 0), "beta": (BLOCK, 0)})
        await answered(asked)
        assert await used_up(asked, 1) == 2


POINT = elements(1)[0]


@pytest.mark.parametrize(
    ("epoch", "sent", "reason"),
    [
        (1, [POINT] * (MAX_BATCH + 1), Reason.TOO_LARGE),
        (1, [], Reason.TOO_LARGE),
        (1, [POINT, b"\2" + b"\xff" * 32], Reason.MALFORMED),
        (1, [POINT[:-1]], Reason.MALFORMED),
        (1, [b"\0"], Reason.MALFORMED),
        (1, [b"\0" * 33], Reason.MALFORMED),
        (2, [POINT], Reason.NOT_FOUND),
        (3, [POINT], Reason.NOT_FOUND),
        (4, [POINT], Reason.NOT_FOUND),
    ],
    ids=["oversized", "empty", "no point", "short", "identity", "identity in full", "destroyed", "coming", "unknown"],
)
async def test_what_is_wrong_is_refused_and_not_charged(
    service: Service, epoch: int, sent: Sequence[bytes], reason: Reason
) -> None:
    if epoch > 1:
        await service.run("epoch", "create", "--days", 1)
        await service.run("epoch", "create")
        await service.run("epoch", "destroy", 2, "--yes")
    async with asking(service, "alpha") as asked:
        with pytest.raises(ExchangeError) as caught:
            await asked.evaluate(epoch, sent)
        assert caught.value.reason is reason
        assert reserved(service) == 0
        await asked.evaluate(1, elements(1))


async def test_a_budget_never_grows_back_when_the_service_is_killed(service: Service) -> None:
    evaluated = 0
    async with asking(service, "alpha") as asked:
        for _ in range(2):
            evaluated += len((await asked.evaluate(1, elements(300))).elements)
            under_way = asyncio.create_task(asked.evaluate(1, elements(300)))
            children = service.children()
            await service.stop(signal.SIGKILL)
            with pytest.raises(Unavailable):
                evaluated += len((await under_way).elements)
                raise Unavailable("it was answered in time")
            before = reserved(service)
            assert before >= evaluated
            await gone(children)  # else they would go on with the keys in their memory
            await service.start()
            assert reserved(service) == before
        evaluated += await used_up(asked, 50)
    assert 0 < evaluated <= reserved(service) <= 2 * BLOCK


async def gone(processes: Sequence[int]) -> None:
    assert processes
    async with asyncio.timeout(DEADLINE_S):
        while any(Path(f"/proc/{number}/stat").exists() for number in processes):
            await asyncio.sleep(0.05)


async def test_another_key_than_the_ledgers_is_found_out(world: World, service: Service, tmp_path: Path) -> None:
    """The key of another service, honest in a community of its own."""
    members = {"beta": (BLOCK, 0)}
    async with a_service(world, tmp_path / "other", members, name="another", communities=(SIDE,)) as other:
        await other.run("epoch", "create")
        await other.start()
        async with other.client("beta") as beta, beta.pseudonyms(SIDE) as theirs:
            assert await theirs.indicators([email("someone@gmail.com")])
        async with other.client("beta") as beta, beta.pseudonyms(UK) as ours:
            with pytest.raises(VerificationFailed) as caught:
                await ours.indicators([email("someone@gmail.com")])
    assert caught.value.reason is Reason.BAD_PROOF


async def test_a_second_process_on_the_same_book_is_refused(service: Service) -> None:
    assert "another process" in await service.run("serve", code=3)


async def test_ctrl_c_ends_it_as_sigterm_does(service: Service) -> None:
    async with asking(service, "alpha") as asked:
        await asked.evaluate(1, elements(1))
    assert await service.stop(signal.SIGINT) == 0
    assert service.log[-1]["event"] == "stopped"


def test_nothing_that_was_evaluated_is_logged(service: Service) -> None:
    text = (service.folder / "serve.log").read_text()
    assert POINT.hex() not in text

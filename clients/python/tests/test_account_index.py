"""A platform's index of its accounts, against the service's own evaluation in this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from clients.python.tests.fake_service import EPOCH, KEY, OTHER, Service, email
from exchange.errors import Fatal, OverQuota, Reason, Rejected, Unavailable, VerificationFailed
from exchange.privacy.voprf import Evaluation
from exchange_client import AccountIndex, Own, Progress
from exchange_client.account_index import IndexSize
from exchange_client.pseudonyms import BATCH, UNDER_WAY, EpochKey, Pseudonyms


async def owned(first: int, last: int) -> AsyncIterator[Own]:
    for number in range(first, last):
        yield Own(f"user-{number}", email(f"{number}@example.org"))


async def test_an_index_finds_its_accounts_and_holds_no_identifier(tmp_path: Path) -> None:
    service, told = Service(), list[Progress]()
    count = 2 * BATCH + 3
    async with Pseudonyms(service.evaluate, EPOCH, processes=2) as pseudonyms:
        index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
        assert await index.add(owned(0, count), told.append) == Progress(count, count)
        assert max(each.read for each in told) == count
        assert len(told) == 3
        (pseudonym,) = await pseudonyms.of([email("7@EXAMPLE.org")])
        assert await index.find(pseudonym) == ["user-7"]
        assert await index.find(bytes(32)) == []
        assert await index.find_all([bytes(32), pseudonym]) == {pseudonym: ["user-7"]}
        index.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"user-8" in kept
    assert b"example.org" not in kept
    assert {path.name for path in tmp_path.iterdir()} == {"index.sqlite", "index.key"}
    assert [path.stat().st_mode & 0o077 for path in tmp_path.iterdir()] == [0, 0]


async def test_without_the_key_beside_it_an_index_tells_nothing_but_answers(tmp_path: Path) -> None:
    """The digests of one account under two keys have nothing in common, so guesses cannot be tried without the key."""
    digests = []
    pseudonyms = Pseudonyms(Service().evaluate, EPOCH)
    (pseudonym,) = await pseudonyms.of([email("7@example.org")])
    for name in ("one", "two"):
        index = AccountIndex(tmp_path / f"{name}.sqlite", pseudonyms)
        await index.add(owned(7, 8))
        digests.append(index._digest(Own("user-7", email("7@example.org"))))
        index.close()
    assert digests[0] != digests[1]
    (tmp_path / "one.key").unlink()
    asked = AccountIndex(tmp_path / "one.sqlite")
    assert asked.epoch == EPOCH
    assert await asked.find(pseudonym) == ["user-7"]
    with pytest.raises(Rejected, match="opened to be asked"):
        await asked.insert([Own("user-9", email("9@example.org"))])
    asked.close()
    for broken in (b"", os.urandom(32)):
        if broken:
            (tmp_path / "one.key").write_bytes(broken)
        with pytest.raises(Fatal) as caught:
            AccountIndex(tmp_path / "one.sqlite", Pseudonyms(Service().evaluate, EPOCH))
        assert caught.value.reason is Reason.CONFIG
        assert "delete" in caught.value.hint


async def test_what_is_removed_is_gone_from_the_file(tmp_path: Path) -> None:
    pseudonyms = Pseudonyms(Service().evaluate, EPOCH)
    index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
    await index.add(owned(0, 40))
    await index.insert([Own("user-7", email("other@example.org"))])
    assert await index.size() == IndexSize(identifiers=41, accounts=40)
    kept = await pseudonyms.of([email("7@example.org"), email("other@example.org"), email("8@example.org")])
    assert await index.remove(["user-7", "user-99"]) == 2
    assert await index.find_all(kept) == {kept[2]: ["user-8"]}
    assert await index.size() == IndexSize(identifiers=39, accounts=39)
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert not any(gone in data for data in files for gone in (b"user-7", *kept[:2]))
    index.close()


async def test_indexing_goes_on_where_the_budget_ended(tmp_path: Path) -> None:
    """What is made is kept; what is left is counted; and nobody is evaluated twice."""
    count = 3 * BATCH + 10
    service, told = Service(budget=2 * BATCH), list[Progress]()
    pseudonyms = Pseudonyms(service.evaluate, EPOCH)
    index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
    with pytest.raises(OverQuota):
        await index.add(owned(0, count), told.append)
    # Which of the batches got the budget is not said, nor whether the last, small one did.
    left = max(told, key=lambda each: each.read)
    assert left.read == count
    assert left.evaluated + left.left == count
    assert (await index.size()).identifiers == left.evaluated >= BATCH
    index.close()
    service.budget = 1_000_000
    pseudonyms = Pseudonyms(service.evaluate, EPOCH)
    index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
    assert await index.add(owned(0, count)) == Progress(count, left.left)
    assert len(service.asked) == count
    assert await index.add(owned(0, count + 1)) == Progress(count + 1, 1)
    assert len(service.asked) == count + 1
    index.close()


@pytest.mark.parametrize("budget", [0, 1, 37, BATCH - 1, BATCH + 5])
async def test_a_budget_is_used_up_to_the_last(tmp_path: Path, budget: int) -> None:
    service, told = Service(budget=budget), list[Progress]()
    index = AccountIndex(tmp_path / "index.sqlite", Pseudonyms(service.evaluate, EPOCH))
    with pytest.raises(OverQuota):
        await index.add(owned(0, 2 * BATCH), told.append)
    assert max(told, key=lambda each: each.read) == Progress(2 * BATCH, budget, 2 * BATCH - budget)
    assert (await index.size()).identifiers == budget == len(service.asked)
    index.close()


async def test_what_goes_wrong_ends_it_and_keeps_what_was_sent(tmp_path: Path) -> None:
    service, failing = Service(), asyncio.Event()

    async def evaluate(epoch: int, elements: Sequence[bytes]) -> Evaluation:
        if len(elements) < BATCH:
            failing.set()
            raise Unavailable("away")
        await failing.wait()  # the failure comes first, and what was sent before it is answered after
        return await service.evaluate(epoch, elements)

    pseudonyms = Pseudonyms(evaluate, EPOCH)
    index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
    with pytest.raises(Unavailable, match="away"):
        await index.add(owned(0, 2 * BATCH + 1))
    assert (await index.size()).identifiers == len(service.asked) == 2 * BATCH
    index.close()


async def test_a_service_with_another_key_changes_nothing(tmp_path: Path) -> None:
    pseudonyms = Pseudonyms(Service(OTHER).evaluate, EPOCH)
    index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
    with pytest.raises(VerificationFailed):
        await index.add(owned(0, 10))
    assert await index.size() == IndexSize(0, 0)
    index.close()


async def test_cancelled_work_ends_and_the_next_run_goes_on(tmp_path: Path) -> None:
    service, begun, never = Service(), asyncio.Event(), asyncio.Event()

    async def evaluate(epoch: int, elements: Sequence[bytes]) -> Evaluation:
        if service.batches:
            begun.set()
            await never.wait()
        return await service.evaluate(epoch, elements)

    pseudonyms = Pseudonyms(evaluate, EPOCH)
    index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
    running = asyncio.create_task(index.add(owned(0, 8 * BATCH)))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await index.size()).identifiers <= BATCH
    never.set()
    done = await index.add(owned(0, 2 * BATCH))
    assert done.read == 2 * BATCH
    assert (await index.size()).identifiers == 2 * BATCH
    index.close()


async def test_no_more_is_held_than_is_under_way(tmp_path: Path) -> None:
    """However long the source is: nothing is drawn from it before there is room."""
    drawn, never = 0, asyncio.Event()

    async def endless() -> AsyncIterator[Own]:
        nonlocal drawn
        async for own in owned(0, 1_000_000):
            drawn += 1
            yield own

    async def evaluate(_: int, __: Sequence[bytes]) -> Evaluation:
        await never.wait()
        raise AssertionError

    pseudonyms = Pseudonyms(evaluate, EPOCH)
    index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
    running = asyncio.create_task(index.add(endless()))
    while drawn < BATCH * (UNDER_WAY + 1):
        await asyncio.sleep(0.01)
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert drawn == BATCH * (UNDER_WAY + 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    index.close()


async def test_an_index_is_one_epochs(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    AccountIndex(path, Pseudonyms(Service().evaluate, EPOCH)).close()
    before = path.read_bytes()
    for other in (EpochKey(2, KEY.public_key), EpochKey(1, OTHER.public_key)):
        with pytest.raises(Fatal, match="another key epoch"):
            AccountIndex(path, Pseudonyms(Service().evaluate, other))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 100])
def test_what_is_no_index_is_told_as_such(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "index.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Fatal) as caught:
        AccountIndex(path)
    assert caught.value.reason is Reason.CONFIG
    assert path.exists() == (content is not None)
    assert content is None or path.read_bytes() == content

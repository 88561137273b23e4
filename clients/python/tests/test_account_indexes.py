"""A platform's indices across key epochs: one made while the other serves, and nothing asked twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from clients.python.tests.fake_service import email
from clients.python.tests.test_account_pseudonyms import KEYS, Place, epoch
from exchange.domain.identifiers import pseudonym_value
from exchange.errors import Fatal, OverQuota, Rejected
from exchange.privacy.voprf import Evaluation
from exchange_client import AccountIndexes, Own, Progress, account_indexes
from exchange_client.account_indexes import file_name
from exchange_client.pseudonyms import BATCH, EpochKey, Pseudonyms

ONE, TWO = (EpochKey(number, key.public_key) for number, key in KEYS.items())


class Counting(Place):
    """Counts evaluations by epoch, and gives each a budget."""

    def __init__(self) -> None:
        super().__init__(epoch(1), epoch(2))
        self.evaluated = {1: 0, 2: 0}
        self.budget = {1: 1_000_000, 2: 1_000_000}

    async def evaluate(self, number: int, elements: Sequence[bytes]) -> Evaluation:
        if self.evaluated[number] + len(elements) > self.budget[number]:
            raise OverQuota("used up", retry_after_ms=1)
        self.evaluated[number] += len(elements)
        return await super().evaluate(number, elements)

    async def value(self, key: EpochKey, text: str) -> bytes:
        (output,) = await Pseudonyms(super().evaluate, key).of([email(text)])
        return pseudonym_value(key.number, output)


async def owned(count: int) -> AsyncIterator[Own]:
    for number in range(count):
        yield Own(f"user-{number}", email(f"{number}@example.org"))


@pytest.fixture
def place() -> Counting:
    return Counting()


@pytest.fixture
def indexes(tmp_path: Path) -> AccountIndexes:
    return AccountIndexes(tmp_path / "accounts")


async def test_in_an_overlap_both_epochs_are_indexed_in_one_pass(place: Counting, indexes: AccountIndexes) -> None:
    async with place.pseudonyms as making:
        assert await indexes.add(making, owned(5)) == Progress(5, 5)
        place.now_ms = epoch(2).begins_ms
        assert await indexes.add(making, owned(6)) == Progress(6, 7)
        assert place.evaluated == {1: 6, 2: 6}
        assert await indexes.add(making, owned(6)) == Progress(6, 0)
        values = [await place.value(key, "3@example.org") for key in (ONE, TWO)]
        assert await indexes.find([*values, bytes(36)]) == {value: ["user-3"] for value in values}
        assert await indexes.remove(["user-3"]) == 2
        assert await indexes.find(values) == {}
        assert [index.epoch for index in indexes.all] == [ONE, TWO]
        with pytest.raises(Rejected, match="not live"):
            await indexes.add(making, owned(1), epochs=[3])
    indexes.close()


async def test_one_epochs_budget_ends_without_ending_the_others(place: Counting, indexes: AccountIndexes) -> None:
    place.now_ms, place.budget[1] = epoch(2).begins_ms, BATCH
    told: list[Progress] = []
    async with place.pseudonyms as making:
        with pytest.raises(OverQuota):
            await indexes.add(making, owned(BATCH + 5), told.append)
        last = max(told, key=lambda each: each.read)
        assert last.read == BATCH + 5
        assert last.evaluated + last.left == 2 * (BATCH + 5)
        assert place.evaluated[2] == BATCH + 5
        assert place.evaluated[1] == BATCH + 5 - last.left
    indexes.close()


async def test_a_new_epoch_is_indexed_in_the_background_while_the_old_one_serves(
    place: Counting, indexes: AccountIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_indexes, "LOOK_EVERY_S", 0.001)
    passes, gate = 0, asyncio.Event()

    async def accounts() -> AsyncIterator[Own]:
        nonlocal passes
        passes += 1
        async for own in owned(3):
            if passes == 2:
                await gate.wait()  # the index of the new epoch has begun, and is not whole
            yield own

    old, new = await place.value(ONE, "1@example.org"), await place.value(TWO, "1@example.org")
    place.budget[2] = 2
    async with asyncio.timeout(30), place.pseudonyms as making:
        keeping = asyncio.create_task(indexes.keep(making, accounts))
        while not await indexes.find([old]):
            await asyncio.sleep(0.001)
        assert await indexes.find([old, new]) == {old: ["user-1"]}
        place.now_ms = epoch(2).begins_ms
        while passes < 2:
            await asyncio.sleep(0.001)
        assert await indexes.find([old, new]) == {old: ["user-1"]}
        gate.set()
        while passes < 3:  # over its budget: it comes again
            await asyncio.sleep(0.001)
        place.budget[2] = 100
        while len(await indexes.find([old, new])) < 2 or place.evaluated[2] < 3:
            await asyncio.sleep(0.001)
        passes_then = passes
        for _ in range(10):
            await asyncio.sleep(0.002)
        assert passes == passes_then  # all is there: the source is left alone
        assert place.evaluated == {1: 3, 2: 3}
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    indexes.close()


async def test_indices_are_opened_again_and_asked_without_a_service(
    place: Counting, indexes: AccountIndexes, tmp_path: Path
) -> None:
    async with place.pseudonyms as making:
        await indexes.add(making, owned(2))
        again = AccountIndexes(tmp_path / "accounts")
        assert await again.find([await place.value(ONE, "1@example.org")]) == {
            await place.value(ONE, "1@example.org"): ["user-1"]
        }
        again.close()
    indexes.close()


async def test_anothers_file_under_an_epochs_name_changes_nothing(tmp_path: Path, place: Counting) -> None:
    folder = tmp_path / "accounts"
    first = AccountIndexes(folder)
    first.under(Pseudonyms(place.evaluate, ONE))
    first.close()
    (folder / file_name(ONE)).rename(folder / file_name(TWO))
    (folder / file_name(ONE)).with_suffix(".key").rename((folder / file_name(TWO)).with_suffix(".key"))
    before = (folder / file_name(TWO)).read_bytes()
    indexes = AccountIndexes(folder)
    with pytest.raises(Fatal, match="another key epoch"):
        indexes.under(Pseudonyms(place.evaluate, TWO))
    assert (folder / file_name(TWO)).read_bytes() == before
    indexes.close()


def test_what_is_no_folder_of_indices_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fatal, match="is not a folder"):
        AccountIndexes(tmp_path / "file")
    (tmp_path / "epoch-1-00.sqlite").write_bytes(b"something else")
    with pytest.raises(Fatal):
        AccountIndexes(tmp_path)


def test_two_services_epochs_of_one_number_have_two_files() -> None:
    assert file_name(ONE) != file_name(EpochKey(1, TWO.public_key))

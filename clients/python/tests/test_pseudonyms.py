"""Pseudonyms and a platform's index of its accounts, against the service's own evaluation in this process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from exchange.errors import Fatal, OverQuota, VerificationFailed
from exchange.normal.accounts import Account, AccountType, normal_account
from exchange.privacy.voprf import Evaluation, EvaluationKey, blind_evaluate
from exchange_client.account_index import STEP, AccountIndex, Own, Progress
from exchange_client.pseudonyms import BATCH, EpochKey, Pseudonyms

KEY, OTHER = (EvaluationKey.derive(bytes(32), name) for name in (b"one", b"other"))
EPOCH = EpochKey(1, KEY.public_key)


class Service:
    """Evaluates with a key, until it has no more budget; notes what it is asked."""

    def __init__(self, key: EvaluationKey = KEY, budget: int = 1_000_000) -> None:
        self.key = key
        self.budget = budget
        self.asked: list[bytes] = []
        self.batches: list[int] = []

    async def evaluate(self, epoch: int, elements: Sequence[bytes]) -> Evaluation:
        assert epoch == EPOCH.number
        if len(elements) > self.budget:
            raise OverQuota("no more", retry_after_ms=1)
        self.budget -= len(elements)
        self.asked += elements
        self.batches.append(len(elements))
        return blind_evaluate(self.key, elements, os.urandom)


def email(text: str) -> Account:
    return normal_account(AccountType.EMAIL, text)


async def test_one_mailbox_has_one_pseudonym_however_it_is_written() -> None:
    service = Service()
    async with Pseudonyms(service.evaluate, EPOCH) as one, Pseudonyms(service.evaluate, EPOCH) as two:
        (first,) = await one.of([email("Some.One+x@GoogleMail.com")])
        again, other = await two.of([email("someone@gmail.com"), email("another@gmail.com")])
    assert first == again != other
    assert len(first) == 32
    assert len(set(service.asked)) == 3  # nothing that was sent tells that two are the same


async def test_what_is_known_is_not_asked_again_and_batches_are_cut() -> None:
    service = Service()
    accounts = [email(f"{number}@example.org") for number in range(BATCH + 5)]
    async with Pseudonyms(service.evaluate, EPOCH) as pseudonyms:
        made = await pseudonyms.of([*accounts, accounts[0]])
        assert await pseudonyms.of(accounts[:3]) == made[:3]
    assert sorted(service.batches) == [5, BATCH]
    assert made[0] == made[-1]


@pytest.mark.parametrize("what", ["key", "element", "order", "fewer"])
async def test_an_answer_that_does_not_hold_is_not_used(what: str) -> None:
    honest, other = Service(), Service(OTHER)

    async def evaluate(epoch: int, elements: Sequence[bytes]) -> Evaluation:
        found = await honest.evaluate(epoch, elements)
        if what == "key":
            return await other.evaluate(epoch, elements)
        if what == "element":
            return Evaluation((found.elements[1], *found.elements[1:]), found.proof)
        if what == "order":
            return Evaluation(found.elements[::-1], found.proof)
        return Evaluation(found.elements[:-1], found.proof)

    async with Pseudonyms(evaluate, EPOCH) as pseudonyms:
        with pytest.raises(VerificationFailed):
            await pseudonyms.of([email("a@example.org"), email("b@example.org")])


async def owned(first: int, last: int) -> AsyncIterator[Own]:
    for number in range(first, last):
        yield Own(f"user-{number}", email(f"{number}@example.org"))


async def test_an_index_finds_its_accounts_and_holds_no_identifier(tmp_path: Path) -> None:
    service, told = Service(), list[Progress]()
    async with Pseudonyms(service.evaluate, EPOCH, processes=2) as pseudonyms:
        index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
        assert await index.add(owned(0, STEP + 3), told.append) == Progress(STEP + 3, STEP + 3)
        assert [each.read for each in told] == [STEP, STEP + 3]
        (pseudonym,) = await pseudonyms.of([email("7@EXAMPLE.org")])
        assert await index.find(pseudonym) == ["user-7"]
        assert await index.find(bytes(32)) == []
        assert await index.remove("user-7") == 1
        assert await index.find(pseudonym) == []
        assert await index.size() == STEP + 2
        index.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"user-8" in kept
    assert b"example.org" not in kept
    assert (tmp_path / "index.sqlite").stat().st_mode & 0o077 == 0


async def test_indexing_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    service = Service(budget=STEP + BATCH)
    async with Pseudonyms(service.evaluate, EPOCH) as pseudonyms:
        index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
        with pytest.raises(OverQuota):
            await index.add(owned(0, 2 * STEP))
        assert await index.size() == STEP
        index.close()
    service.budget = 1_000_000
    before = len(service.asked)
    async with Pseudonyms(service.evaluate, EPOCH) as pseudonyms:
        index = AccountIndex(tmp_path / "index.sqlite", pseudonyms)
        assert await index.add(owned(0, 2 * STEP)) == Progress(2 * STEP, STEP)
        assert len(service.asked) - before == STEP
        assert await index.add(owned(0, 2 * STEP)) == Progress(2 * STEP, 0)
        index.close()


async def test_an_index_is_one_epochs(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    AccountIndex(path, Pseudonyms(Service().evaluate, EPOCH)).close()
    for other in (EpochKey(2, KEY.public_key), EpochKey(1, OTHER.public_key)):
        with pytest.raises(Fatal):
            AccountIndex(path, Pseudonyms(Service().evaluate, other))

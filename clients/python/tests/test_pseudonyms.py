"""Pseudonyms, against the service's own evaluation in this process."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pytest

from clients.python.tests.fake_service import EPOCH, OTHER, Service, email
from exchange.errors import Unavailable, VerificationFailed
from exchange.privacy.voprf import Evaluation
from exchange_client.pseudonyms import BATCH, Pseudonyms


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


async def test_a_process_that_is_killed_costs_one_call_and_is_replaced() -> None:
    async with Pseudonyms(Service().evaluate, EPOCH) as pseudonyms:
        (before,) = await pseudonyms.of([email("a@example.org")])
        assert pseudonyms._workers is not None
        pool = pseudonyms._workers._pool
        assert isinstance(pool, ProcessPoolExecutor)
        (worker,) = pool._processes.values()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGINT)
        await pseudonyms.of([email("b@example.org")])  # Ctrl-C is for whoever started it
        worker.kill()
        with pytest.raises(Unavailable):
            while True:  # until the pool has noticed
                await pseudonyms.of([email(f"{secrets.token_hex(4)}@example.org")])
        pseudonyms._known.clear()
        assert await pseudonyms.of([email("a@example.org")]) == [before]

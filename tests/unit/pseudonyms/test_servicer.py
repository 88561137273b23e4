"""The pseudonym service's RPCs, with its real budgets, keys and processes; the guard around them has tests of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from multiprocessing import active_children
from typing import Any, cast

import pytest

from exchange.api.guard import _CALLER
from exchange.api.pseudonyms import PseudonymServicer
from exchange.domain.kinds import Role
from exchange.domain.policy import Workload
from exchange.domain.validation import DAY_MS
from exchange.errors import Denied, ExchangeError, OverQuota, Reason, Rejected, Unavailable
from exchange.ops.metrics import create_metrics
from exchange.privacy.voprf import MAX_BATCH, Evaluation, EvaluationKey, blind, finalize
from exchange.pseudonyms.budget import Budgets, Terms
from exchange.pseudonyms.epochs import Epoch, live_epoch
from exchange.pseudonyms.evaluator import Evaluator
from exchange.v1 import pseudonyms_pb2 as pb
from tests.unit.pseudonyms.budget_book import MemoryBook

NOW = 1_800_000_000_000
KEYS = {number: EvaluationKey.derive(bytes(32), b"test %d" % number) for number in (1, 2, 3)}
EPOCHS = {
    1: Epoch(1, KEYS[1].public_key, NOW - 2 * DAY_MS, NOW - DAY_MS, {"unicode": "1"}, destroyed=True),
    2: Epoch(2, KEYS[2].public_key, NOW - DAY_MS, NOW + DAY_MS, {"unicode": "1"}),
    3: Epoch(3, KEYS[3].public_key, NOW, NOW + 2 * DAY_MS, {"unicode": "2"}),
}
CONTEXT = cast("Any", None)


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    found = Evaluator({number: KEYS[number].secret() for number in (2, 3)}, 1)
    yield found
    found.close()


@pytest.fixture
def book() -> MemoryBook:
    return MemoryBook()


def admit(workload: Workload, number: int) -> Epoch:
    if workload.role is not Role.PIPELINE:
        raise Denied("not this one")
    return live_epoch(EPOCHS, number, NOW)


@pytest.fixture
async def service(evaluator: Evaluator, book: MemoryBook) -> AsyncIterator[PseudonymServicer]:
    token = _CALLER.set(Workload("alpha", Role.PIPELINE))
    budgets = Budgets(book, lambda _: Terms(50, 0), lambda: NOW)
    yield PseudonymServicer(admit, lambda: EPOCHS, budgets, evaluator, create_metrics(), lambda: NOW, at_once=8)
    _CALLER.reset(token)


async def evaluated(service: PseudonymServicer, epoch: int, *inputs: bytes) -> list[bytes]:
    blinds = blind(inputs, os.urandom)
    _CALLER.set(Workload("alpha", Role.PIPELINE))
    answer = await service.Evaluate(
        pb.EvaluateRequest(epoch=epoch, elements=[each.element for each in blinds]), CONTEXT
    )
    found = Evaluation(tuple(answer.elements), answer.proof)
    return list(finalize(blinds, found, EPOCHS[epoch].public_key))


async def test_equal_inputs_have_equal_outputs_in_one_epoch_and_no_other(service: PseudonymServicer) -> None:
    first = await evaluated(service, 2, b"someone", b"another")
    assert await evaluated(service, 2, b"another", b"someone") == first[::-1]
    assert set(await evaluated(service, 3, b"someone", b"another")).isdisjoint(first)


async def test_epochs_are_listed_with_those_that_are_gone(service: PseudonymServicer) -> None:
    found = await service.ListKeyEpochs(pb.ListKeyEpochsRequest(), CONTEXT)
    assert [(each.number, each.destroyed) for each in found.epochs] == [(1, True), (2, False), (3, False)]
    assert found.epochs[1].public_key == KEYS[2].public_key
    assert dict(found.epochs[2].data_versions) == {"unicode": "2"}


def elements(count: int) -> list[bytes]:
    return [each.element for each in blind([b"x"] * count, os.urandom)]


@pytest.mark.parametrize(
    ("epoch", "sent", "reason"),
    [
        (1, elements(1), Reason.NOT_FOUND),
        (4, elements(1), Reason.NOT_FOUND),
        (2, [], Reason.TOO_LARGE),
        (2, elements(1) * (MAX_BATCH + 1), Reason.TOO_LARGE),
        (2, [b""], Reason.MALFORMED),
        (2, [b"\0" * 33], Reason.MALFORMED),
        (2, [b"\0"], Reason.MALFORMED),  # the identity
        (2, [b"\2" + b"\xff" * 32], Reason.MALFORMED),
        (2, [*elements(3), b"\5" + bytes(32)], Reason.MALFORMED),
    ],
)
async def test_what_is_refused_is_not_charged(
    service: PseudonymServicer, book: MemoryBook, epoch: int, sent: list[bytes], reason: Reason
) -> None:
    _CALLER.set(Workload("alpha", Role.PIPELINE))
    with pytest.raises(Rejected) as caught:
        await service.Evaluate(pb.EvaluateRequest(epoch=epoch, elements=sent), CONTEXT)
    assert caught.value.reason is reason
    assert book.writes == 0


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PIPELINE])
async def test_only_pipelines_evaluate(service: PseudonymServicer, book: MemoryBook, role: Role) -> None:
    _CALLER.set(Workload("alpha", role))
    with pytest.raises(Denied):
        await service.Evaluate(pb.EvaluateRequest(epoch=2, elements=elements(1)), CONTEXT)
    assert book.writes == 0


async def test_a_budget_ends_and_calls_at_once_share_it(service: PseudonymServicer, book: MemoryBook) -> None:
    answers = await asyncio.gather(*(evaluated(service, 2, *([b"x"] * 10)) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(answer, list) for answer in answers) == 5
    assert sum(isinstance(answer, OverQuota) for answer in answers) == 3
    assert sum((await book.totals(NOW // DAY_MS)).values()) == 50
    assert len(await evaluated(service, 3, b"x")) == 1  # another epoch's


async def test_a_process_that_dies_is_replaced(book: MemoryBook) -> None:
    others = {child.pid for child in active_children()}
    evaluator = Evaluator({2: KEYS[2].secret()}, 1)
    sent = elements(2)
    try:
        before = await evaluator.evaluate(2, sent)
        (child,) = {child.pid for child in active_children()} - others
        assert child is not None
        os.kill(child, signal.SIGKILL)
        with pytest.raises(Unavailable):
            for _ in range(100):
                await evaluator.evaluate(2, sent)
        assert (await evaluator.evaluate(2, sent)).elements == before.elements
    finally:
        evaluator.close()


async def test_new_keys_are_taken_up(book: MemoryBook) -> None:
    evaluator = Evaluator({2: KEYS[2].secret()}, 1)
    sent = elements(1)
    try:
        await evaluator.evaluate(2, sent)
        evaluator.take({3: KEYS[3].secret()})
        assert (await evaluator.evaluate(3, sent)).elements
        with pytest.raises(Rejected, match="no such key epoch is live"):
            await evaluator.evaluate(2, sent)
    finally:
        evaluator.close()


def test_an_epoch_shows_no_secret() -> None:
    assert KEYS[2].secret().hex() not in repr(replace(EPOCHS[2]))
    assert isinstance(OverQuota("", retry_after_ms=1), ExchangeError)

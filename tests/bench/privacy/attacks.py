"""The ways to share an identifier, and what is done against them: alone, with the service's key, as a member, by theft.

Whoever can make values alone tries all candidates against all shared values in one pass. A member must ask: through
the SDK's own pseudonyms and the pseudonym service's own calls, budgets, file and processes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import apsw

from exchange.api.guard import _CALLER
from exchange.api.pseudonyms import PseudonymServicer
from exchange.domain.policy import Workload, may_evaluate
from exchange.domain.validation import DAY_MS
from exchange.errors import Denied, OverQuota
from exchange.normal.accounts import Account
from exchange.ops.metrics import create_metrics
from exchange.privacy.p256 import encode_point
from exchange.privacy.suite import hash_to_group, prefixed
from exchange.privacy.voprf import Evaluation, EvaluationKey
from exchange.pseudonyms.budget import Budgets, Terms
from exchange.pseudonyms.epochs import Epoch, live_epoch, next_times
from exchange.pseudonyms.evaluator import Evaluator
from exchange.stores.budget_book import BudgetFile
from exchange.v1 import pseudonyms_pb2 as pb
from exchange_client.pseudonyms import BATCH, EpochKey, Pseudonyms
from tests.unit.builders import UK, make_directory

NOW_MS = 20_000 * DAY_MS + DAY_MS // 2
_BLOCK_BYTES = 64

#: What is shared of an input.
Value = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Attack:
    """What an attack came to."""

    tested: int
    found: frozenset[bytes]
    #: By the clock of the processor for who works alone, by that of the wall for who asks.
    seconds: float


def plain(said: bytes) -> bytes:
    """Return the plain hash."""
    return sha256(said).digest()


def keyed(key: bytes, before: bytes = b"") -> Value:
    """Return HMAC-SHA-256 under a key of at most 64 bytes, of the input behind ``before``: as fast as it can be had."""
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    inner, outer = (sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
    inner.update(before)

    def value(said: bytes) -> bytes:
        first, second = inner.copy(), outer.copy()
        first.update(said)
        second.update(first.digest())
        return second.digest()

    return value


def with_the_services_key(key: EvaluationKey) -> Value:
    """Return the pseudonym as who has the key makes it: nothing blinded, nothing proved."""

    def value(said: bytes) -> bytes:
        product = key.evaluate(hash_to_group(said))
        return sha256(prefixed(said) + prefixed(encode_point(product)) + b"Finalize").digest()

    return value


def alone(inputs: Iterable[bytes], value: Value, shared: Collection[bytes]) -> Attack:
    """Try all candidates against all shared values."""
    began, tested, found = time.process_time(), 0, set()
    for tested, said in enumerate(inputs, 1):  # noqa: B007 - their number is what is asked for
        if value(said) in shared:
            found.add(said)
    return Attack(tested, frozenset(found), time.process_time() - began)


async def asking(accounts: Sequence[Account], pseudonyms: Pseudonyms, shared: Collection[bytes]) -> Attack:
    """Try candidates as long as the service answers, to the last one that the budget gives."""
    began, tested, found, step = time.monotonic(), 0, set(), BATCH
    while step and tested < len(accounts):
        asked = accounts[tested : tested + step]
        try:
            made = await pseudonyms.of(asked)
        except OverQuota:
            step //= 2
        except Denied:
            break
        else:
            found |= {account.to_bytes() for account, each in zip(asked, made, strict=True) if each in shared}
            tested += len(asked)
    return Attack(tested, frozenset(found), time.monotonic() - began)


@asynccontextmanager
async def service(folder: Path, key: EvaluationKey, terms: Terms, workload: Workload) -> AsyncIterator[Pseudonyms]:
    """Run the pseudonym service's code with one epoch; give what a workload of the directory makes with it."""
    epochs = {1: Epoch(1, key.public_key, *next_times((), NOW_MS)[1:], data_versions={})}
    directory = make_directory()

    def admit(asking: Workload, number: int) -> Epoch:
        may_evaluate(directory, asking, (UK,))
        return live_epoch(epochs, number, NOW_MS)

    evaluator = Evaluator({1: key.secret()}, 1)
    try:
        async with aclosing(await BudgetFile.open(folder / "budget.sqlite")) as book:
            budgets = Budgets(book, lambda _: terms, lambda: NOW_MS)
            servicer = PseudonymServicer(admit, lambda: epochs, budgets, evaluator, create_metrics(), lambda: NOW_MS)

            async def evaluate(number: int, elements: Sequence[bytes]) -> Evaluation:
                _CALLER.set(workload)
                request = pb.EvaluateRequest(epoch=number, elements=elements)
                answer = await servicer.Evaluate(request, cast("Any", None))
                return Evaluation(tuple(answer.elements), answer.proof)

            async with Pseudonyms(evaluate, EpochKey(1, key.public_key)) as pseudonyms:
                yield pseudonyms
    finally:
        await asyncio.to_thread(evaluator.close)


async def in_an_epochs_life(folder: Path, terms: Terms) -> int:
    """Return how many evaluations a member gets in an epoch that takes all that it can, every day."""
    now_ms = begins_ms = NOW_MS
    ends_ms = next_times((), begins_ms)[2]
    taken = 0
    async with aclosing(await BudgetFile.open(folder / "life.sqlite")) as book:
        budgets = Budgets(book, lambda _: terms, lambda: now_ms)
        while now_ms < ends_ms:
            step = terms.users + terms.daily
            while step:
                try:
                    await budgets.take(1, "member", step)
                except OverQuota:
                    step //= 2
                else:
                    taken += step
            now_ms = (now_ms // DAY_MS + 1) * DAY_MS
    return taken


@dataclass(frozen=True, slots=True)
class StolenRow:
    """One row of a platform's index of its accounts, and the key that lies in a file beside it."""

    reference: str
    pseudonym: bytes
    digest: bytes
    digest_key: bytes

    def value(self) -> Value:
        """Return the digest of an input, for this row's account."""
        reference = self.reference.encode()
        value = keyed(self.digest_key, len(reference).to_bytes(4, "big") + reference)
        return lambda data: value(data)[: len(self.digest)]


def stolen(path: Path) -> list[StolenRow]:
    """Read an index of accounts as a thief of both its files does."""
    key = path.with_suffix(".key").read_bytes()
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        query = "SELECT reference, pseudonym, digest FROM accounts ORDER BY reference"
        return [StolenRow(*cast("Any", (*row, key))) for row in connection.execute(query)]

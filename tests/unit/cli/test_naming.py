"""Signals that name accounts: what is asked of the pseudonym service, and what becomes of each line."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from exchange.cli.naming import Naming
from exchange.domain.bodies import KeyEpoch, State
from exchange.domain.identifiers import IndicatorType, key_epoch_of
from exchange.domain.key_epochs import KeyEpochEntry, KeyEpochs
from exchange.errors import ExchangeError, OverQuota, Reason, Rejected, Unavailable
from exchange.normal.accounts import Account
from exchange.privacy.voprf import Evaluation, EvaluationKey, blind_evaluate
from exchange_client import AccountPseudonyms, ExchangeClient, Signal
from exchange_client.jsonl import signal_and_accounts

NOW_MS, DAY_MS = 1_800_000_000_000, 86_400_000
KEYS = {number: EvaluationKey.derive(bytes(32), b"%d" % number) for number in (1, 2)}
#: The first ends in ten days, the second in three hundred.
ENDS = {1: NOW_MS + 10 * DAY_MS, 2: NOW_MS + 300 * DAY_MS}


class Community:
    """Stands for the client: an overlap of two epochs, and a service with a fault or a budget."""

    def __init__(self) -> None:
        self.opened = 0
        self.evaluated = 0
        self.budget = 1_000_000
        self.fault: ExchangeError | None = None
        self.epochs = KeyEpochs()
        for number, key in KEYS.items():
            epoch = KeyEpoch(number, State.ACTIVE, key.public_key, NOW_MS - number, ENDS[number])
            self.epochs.entries[number] = KeyEpochEntry(epoch, "oprf", number)

    @asynccontextmanager
    async def pseudonyms(self, origin: str) -> AsyncIterator[AccountPseudonyms]:
        assert origin == "x/uk"
        self.opened += 1
        if self.fault is not None:
            raise self.fault
        async with AccountPseudonyms(self.evaluate, self.read, lambda: NOW_MS) as making:
            yield making

    async def read(self) -> KeyEpochs:
        return self.epochs

    async def evaluate(self, number: int, elements: Sequence[bytes]) -> Evaluation:
        if self.evaluated + len(elements) > self.budget:
            raise OverQuota("used up", retry_after_ms=1)
        self.evaluated += len(elements)
        return blind_evaluate(KEYS[number], elements, os.urandom)


def draft(*emails: str, days: float = 5, **fields: Any) -> tuple[Signal, tuple[Account, ...]]:
    line: dict[str, Any] = {"label": "misleading_scam", "expires_in_days": days, **fields}
    if emails:
        line["accounts"] = [{"type": "email", "value": text} for text in emails]
    return signal_and_accounts(line, now_ms=NOW_MS)


PLAIN = draft(indicators=[{"type": "pdq", "value": "00" * 32}])


async def named(
    community: Community, *drafts: tuple[Signal, tuple[Account, ...]], shorten: bool = False
) -> list[Signal | ExchangeError]:
    async with AsyncExitStack() as closing:
        naming = Naming(cast("ExchangeClient", community), "x/uk", closing, shorten=shorten)
        return await naming.named(drafts)


async def test_whoever_names_no_accounts_calls_no_service() -> None:
    community = Community()
    assert await named(community, PLAIN) == [PLAIN[0]]
    assert community.opened == 0


async def test_an_account_is_named_under_each_live_epoch_beside_what_else_there_is() -> None:
    community = Community()
    both = draft("a@example.org", "b@example.org", indicators=[{"type": "pdq", "value": "00" * 32}])
    plain, first, second = await named(community, PLAIN, both, draft("A@Example.org"))
    assert plain == PLAIN[0]
    assert isinstance(first, Signal)
    assert isinstance(second, Signal)
    assert [each.type for each in first.indicators] == [IndicatorType.PDQ] + [IndicatorType.PSEUDONYM] * 4
    assert [key_epoch_of(each.value) for each in first.indicators[1:]] == [1, 2, 1, 2]
    assert second.indicators == first.indicators[1:3]
    assert community.opened == 1
    assert community.evaluated == 4


async def test_what_outlives_its_epoch_is_refused_before_anything_is_asked_or_shortened() -> None:
    community = Community()
    late = draft("a@example.org", days=11)
    (refused,) = await named(community, late)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.INVALID
    assert "behind the end of key epoch 1, 2027-01-25T08:00:00+00:00" in refused.message
    assert "--shorten" in refused.hint
    assert "example" not in refused.diagnostics()
    assert community.evaluated == 0
    (shortened,) = await named(community, late, shorten=True)
    assert isinstance(shortened, Signal)
    assert shortened.expires_at_ms == ENDS[1]
    (kept,) = await named(community, draft("a@example.org"), shorten=True)
    assert isinstance(kept, Signal)
    assert kept.expires_at_ms == NOW_MS + 5 * DAY_MS


async def test_over_the_budget_the_lines_that_name_accounts_are_refused_and_the_rest_goes_on() -> None:
    community = Community()
    community.budget = 128
    drafts = [draft(f"{number}@example.org") for number in range(200)]
    found = await named(community, *drafts, PLAIN)
    assert [isinstance(each, Signal) for each in found] == [True] * 64 + [False] * 136 + [True]
    assert all(isinstance(each, OverQuota) and each.__traceback__ is None for each in found[64:200])
    assert community.evaluated == 128


@pytest.mark.parametrize("fault", [Rejected(Reason.CONFIG, "no service"), Unavailable("away")])
async def test_without_a_service_only_lines_that_name_accounts_are_refused(fault: ExchangeError) -> None:
    community = Community()
    community.fault = fault
    assert await named(community, draft("a@example.org"), PLAIN) == [fault, PLAIN[0]]

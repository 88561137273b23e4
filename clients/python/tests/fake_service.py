"""A pseudonym service in this process: its own evaluation, and a budget."""

from __future__ import annotations

import os
from collections.abc import Sequence

from exchange.errors import OverQuota
from exchange.normal.accounts import Account, AccountType, normal_account
from exchange.privacy.voprf import Evaluation, EvaluationKey, blind_evaluate
from exchange_client.pseudonyms import EpochKey

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

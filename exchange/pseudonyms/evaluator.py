"""Evaluates batches in processes beside the event loop: one batch of a thousand takes a third of a second.

Each process gets the keys when it starts. New keys, or destroyed ones, mean new processes; the old ones answer what
they were given, and end. None outlives the service, however that ends: they hold its keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool

from exchange.errors import Unavailable
from exchange.ops.worker_process import Workers
from exchange.privacy.voprf import Evaluation, EvaluationKey, blind_evaluate
from exchange.pseudonyms.epochs import not_live

_keys: dict[int, EvaluationKey] = {}


class Evaluator:
    """The processes that hold the keys of the live epochs."""

    def __init__(self, secrets: Mapping[int, bytes], processes: int) -> None:
        """Start with the secret scalars of these epochs; processes are started when they are needed."""
        self._processes = processes
        self._begin(secrets)

    def _begin(self, secrets: Mapping[int, bytes]) -> None:
        self._secrets = dict(secrets)
        self._workers = Workers(self._processes, _take_keys, self._secrets)

    async def evaluate(self, epoch: int, elements: Sequence[bytes]) -> Evaluation:
        """Evaluate a batch. Raises as `blind_evaluate`, `Unavailable` when a process ended in the middle of it.

        An epoch whose key is not here (any more) is `Rejected` (NOT_FOUND).
        """
        if epoch not in self._secrets:
            raise not_live()
        try:
            return await self._workers.run(_evaluate, epoch, list(elements))
        except BrokenProcessPool as error:
            raise Unavailable("the evaluation was interrupted", retry_after_ms=1_000) from error

    def take(self, secrets: Mapping[int, bytes]) -> None:
        """Use these epochs' keys from now on."""
        if secrets != self._secrets:
            old = self._workers
            self._begin(secrets)
            old.close(wait=False)

    def close(self) -> None:
        """End the processes; what they were given is not answered."""
        self._workers.close()


def _take_keys(secrets: Mapping[int, bytes]) -> None:
    _keys.update({epoch: EvaluationKey(secret) for epoch, secret in secrets.items()})


def _evaluate(epoch: int, elements: Sequence[bytes]) -> Evaluation:
    return blind_evaluate(_keys[epoch], elements, os.urandom)

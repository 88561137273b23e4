"""Evaluates batches in processes beside the event loop: one batch of a thousand takes a third of a second.

Each process gets the keys when it starts. New keys, or destroyed ones, mean new processes; the old ones answer what
they were given, and end. None outlives the service, however that ends: they hold its keys.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from exchange.errors import Unavailable
from exchange.ops import worker_process
from exchange.privacy.voprf import Evaluation, EvaluationKey, blind_evaluate
from exchange.pseudonyms.epochs import not_live

_keys: dict[int, EvaluationKey] = {}


class Evaluator:
    """The processes that hold the keys of the live epochs."""

    def __init__(self, secrets: Mapping[int, bytes], processes: int) -> None:
        """Start with the secret scalars of these epochs; processes are started when they are needed."""
        self._secrets = dict(secrets)
        self._processes = processes
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(self._secrets,)
        )

    async def evaluate(self, epoch: int, elements: Sequence[bytes]) -> Evaluation:
        """Evaluate a batch. Raises as `blind_evaluate`, `Unavailable` when a process ended in the middle of it.

        An epoch whose key is not here (any more) is `Rejected` (NOT_FOUND).
        """
        pool = self._pool
        if epoch not in self._secrets:
            raise not_live()
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, _evaluate, epoch, list(elements))
        except BrokenProcessPool as error:
            if pool is self._pool:
                self._pool = self._started()
            raise Unavailable("the evaluation was interrupted", retry_after_ms=1_000) from error

    def take(self, secrets: Mapping[int, bytes]) -> None:
        """Use these epochs' keys from now on."""
        if secrets != self._secrets:
            self._secrets, old = dict(secrets), self._pool
            self._pool = self._started()
            old.shutdown(wait=False)

    def close(self) -> None:
        """End the processes; what they were given is not answered."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin(secrets: Mapping[int, bytes]) -> None:
    worker_process.begin()
    _keys.update({epoch: EvaluationKey(secret) for epoch, secret in secrets.items()})


def _evaluate(epoch: int, elements: Sequence[bytes]) -> Evaluation:
    return blind_evaluate(_keys[epoch], elements, os.urandom)

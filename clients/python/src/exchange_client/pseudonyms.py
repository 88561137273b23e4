"""Pseudonyms of account identifiers: blinded here, evaluated by the pseudonym service, checked and unblinded here.

What is sent is a random point for each identifier; what comes back is used only after its proof holds against the key
that the ledger announced for the epoch. Blinding and unblinding cost about a millisecond an identifier, so they run in
processes beside the event loop, a batch at a time, and several batches are under way at once.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from exchange.errors import Unavailable
from exchange.normal.accounts import Account
from exchange.ops.worker_process import Workers
from exchange.privacy.voprf import Evaluation, blind, finalize

T = TypeVar("T")

#: Identifiers sent in one call.
BATCH = 256
#: Calls under way at once: one is blinded or unblinded while another is evaluated.
UNDER_WAY = 4
#: Pseudonyms kept in memory, newest first.
REMEMBERED = 100_000

#: Has a batch of blinded elements evaluated under an epoch.
Evaluate = Callable[[int, Sequence[bytes]], Awaitable[Evaluation]]


@dataclass(frozen=True, slots=True)
class EpochKey:
    """A key epoch's number and public key (33 bytes), as the ledger announced them."""

    number: int
    public_key: bytes


class Pseudonyms:
    """Makes pseudonyms under one key epoch. An async context manager: its processes end with it."""

    def __init__(self, evaluate: Evaluate, epoch: EpochKey, *, processes: int = 1) -> None:
        """Nothing is started or sent yet."""
        self.epoch = epoch
        self._evaluate = evaluate
        self._processes = processes
        self._workers: Workers | None = None
        self._under_way = asyncio.Semaphore(UNDER_WAY)
        self._known: OrderedDict[Account, bytes] = OrderedDict()

    async def __aenter__(self) -> Self:
        """Start the processes."""
        self._workers = Workers(self._processes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        if self._workers is not None:
            await asyncio.to_thread(self._workers.close)

    async def of(self, accounts: Sequence[Account]) -> list[bytes]:
        """Return the pseudonyms (32 bytes each) of these accounts, in their order.

        Raises `VerificationFailed` when the service answered with another key or not what was asked, `OverQuota` when
        the member's evaluations are used up, and whatever else the service refuses. What was made before that is kept.
        """
        found = {account: pseudonym for account in accounts if (pseudonym := self._recall(account)) is not None}
        missing = [account for account in dict.fromkeys(accounts) if account not in found]
        batches = [missing[at : at + BATCH] for at in range(0, len(missing), BATCH)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._batch(batch)) for batch in batches]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        for batch, task in zip(batches, tasks, strict=True):
            found.update(zip(batch, task.result(), strict=True))
        return [found[account] for account in accounts]

    async def _batch(self, accounts: Sequence[Account]) -> tuple[bytes, ...]:
        async with self._under_way:
            # Functions of the core, so that a process need not import the SDK.
            blinds = await self._beside(blind, [account.to_bytes() for account in accounts], os.urandom)
            evaluation = await self._evaluate(self.epoch.number, [each.element for each in blinds])
            outputs = await self._beside(finalize, blinds, evaluation, self.epoch.public_key)
        for account, output in zip(accounts, outputs, strict=True):
            self._known[account] = output
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return outputs

    async def _beside(self, work: Callable[..., T], *given: object) -> T:
        """Have a process do this, or a thread where none was started. Raises `Unavailable` when the process ended."""
        if self._workers is None:
            return await asyncio.to_thread(work, *given)
        try:
            return await self._workers.run(work, *given)
        except BrokenProcessPool as error:
            raise Unavailable("a process that makes pseudonyms was ended", retry_after_ms=1_000) from error

    def _recall(self, account: Account) -> bytes | None:
        if account in self._known:
            self._known.move_to_end(account)
        return self._known.get(account)

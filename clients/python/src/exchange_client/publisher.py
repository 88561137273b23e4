"""Publishing: into the outbox first, then over one pipelined stream until there is a verified receipt.

`Publisher.publish` returns when every signal has either a receipt whose proof was checked, or an error that sending
again cannot mend. Everything between, a hub that restarts, a connection that breaks, a full quota, is waited out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from exchange.domain.statement import Statement, statement_id
from exchange.domain.validation import Rules
from exchange.errors import ExchangeError, Fatal, Unavailable, VerificationFailed
from exchange.ledger.note import Verifier
from exchange_client.backoff import Backoff
from exchange_client.outbox import Outbox
from exchange_client.receipt import Receipt, verify_receipt
from exchange_client.signals import Draft, Drafter, Signal
from exchange_client.transport import PublishStream, Transport, WireResult

LINGER_S = 0.004
MAX_BATCH = 64
MAX_BATCH_BYTES = 512 * 1024
MESSAGE_BYTES = 1_000_000
RESUBMIT_AFTER_MS = 60_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one signal: a receipt, or an error."""

    signal: Signal
    signal_id: bytes | None
    receipt: Receipt | None
    error: ExchangeError | None


@dataclass(slots=True)
class _InFlight:
    statement: Statement
    made_at_ms: int
    answer: asyncio.Future[Receipt]

    @property
    def size(self) -> int:
        return len(self.statement.payload) + sum(map(len, self.statement.records)) + 256


class Publisher:
    """Publishes to one log. Use as an async context manager."""

    def __init__(
        self,
        transport: Transport,
        drafter: Drafter,
        outbox: Outbox,
        verifier: Verifier,
        rules: Callable[[], Rules],
        now_ms: Callable[[], int],
    ) -> None:
        """Use `ExchangeClient.publisher`."""
        self._transport = transport
        self._drafter = drafter
        self._rules = rules
        self._now_ms = now_ms
        self._verifier = verifier
        self._waiting: dict[bytes, _InFlight] = {}
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.outbox = outbox

    async def __aenter__(self) -> Self:
        """Open the stream, and send again what an earlier run left without a receipt."""
        for statement in await self.outbox.pending():
            _ = self._enqueue(replace(statement, resubmission=True), made_at_ms=0)
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the stream. What has no receipt stays in the outbox."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ExchangeError):
                await self._task
        for waiting in self._waiting.values():
            waiting.answer.cancel()
        await self.outbox.prune(now_ms=self._now_ms())

    async def publish(self, signals: Sequence[Signal], *, timeout_s: float | None = None) -> list[Outcome]:
        """Publish signals; return one outcome for each, in order.

        Raises TimeoutError after ``timeout_s`` (what was signed stays in the outbox and is sent on), and
        `VerificationFailed` when the hub's answers do not hold.
        """
        drafts, refused = self._drafter.draft(signals, self._rules)
        now = self._now_ms()
        statements = [draft.statement for draft in drafts]
        cases = [(s.case_ref, id_) for draft in drafts for s, id_ in zip(draft.signals, draft.ids, strict=True)]
        await self.outbox.add(statements, cases, now_ms=now)
        answers = [self._enqueue(statement, made_at_ms=now) for statement in statements]
        async with asyncio.timeout(timeout_s):
            results = await asyncio.gather(*(self._settled(answer) for answer in answers))
        await self._note(drafts, results)
        found = _by_signal(drafts, results)
        found.update({id(signal): Outcome(signal, None, None, error) for signal, error in refused})
        return [found[id(signal)] for signal in signals]

    async def submit(self, statement: Statement) -> Receipt:
        """Publish one ready statement; return its verified receipt. Raises `ExchangeError` when it is refused."""
        now = self._now_ms()
        await self.outbox.add([statement], [], now_ms=now)
        return await self._enqueue(statement, made_at_ms=now)

    async def settled(self) -> None:
        """Return when nothing waits for a receipt any more."""
        while self._waiting:
            await asyncio.gather(*(self._settled(w.answer) for w in list(self._waiting.values())))

    async def _settled(self, answer: Awaitable[Receipt]) -> Receipt | ExchangeError:
        try:
            return await answer
        except VerificationFailed as error:
            if error.hint == _LYING:
                raise
            return error
        except ExchangeError as error:
            return error

    async def _note(self, drafts: Sequence[Draft], results: Sequence[Receipt | ExchangeError]) -> None:
        pairs = list(zip(drafts, results, strict=True))
        receipts = [(r.statement_id, r.index) for _, r in pairs if isinstance(r, Receipt)]
        gone = [statement_id(d.statement.payload) for d, r in pairs if not isinstance(r, Receipt)]
        await self.outbox.receipted(receipts, now_ms=self._now_ms())
        if gone:
            await self.outbox.refused(gone)

    def _enqueue(self, statement: Statement, *, made_at_ms: int) -> asyncio.Future[Receipt]:
        id_ = statement_id(statement.payload)
        waiting = self._waiting.get(id_)
        if waiting is None:
            answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            waiting = self._waiting[id_] = _InFlight(statement, made_at_ms, answer)
            self._queue.append(id_)
            self._wake.set()
        return waiting.answer

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for a task that has died of a bug."""
        if not task.cancelled() and task.exception() is not None:
            self._fail_all(Fatal(f"the publisher has stopped: {task.exception()!r}"))

    async def _run(self) -> None:
        """Keep a stream open as long as there is something to send; go to the next hub when one fails."""
        backoff = Backoff()
        while True:
            await self._something_to_send()
            try:
                await self._session(self._transport.publish_stream(), backoff)
            except Unavailable as error:
                await backoff.wait(error.retry_after_ms / 1000)
                await self._transport.rotate()
            except ExchangeError as error:
                self._fail_all(error)
            # Whatever has no answer yet is sent again; the hub knows a statement that it has seen.
            self._queue = deque(self._waiting)

    async def _something_to_send(self) -> None:
        while not self._queue:
            self._wake.clear()
            await self._wake.wait()

    async def _session(self, stream: PublishStream, backoff: Backoff) -> None:
        sender = asyncio.create_task(self._send(stream))
        try:
            async for results in stream.results():
                backoff.reset()
                for result in results:
                    await self._take(result)
        finally:
            sender.cancel()
            stream.cancel()
            with contextlib.suppress(asyncio.CancelledError, ExchangeError):
                await sender
        raise Unavailable("the hub ended the stream", retry_after_ms=0)

    async def _send(self, stream: PublishStream) -> None:
        while True:
            await self._something_to_send()
            await asyncio.sleep(LINGER_S)
            batch = self._batch()
            if batch:
                await stream.send(batch)

    def _batch(self) -> list[Statement]:
        batch: list[Statement] = []
        size = 0
        now = self._now_ms()
        while self._queue and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            waiting = self._waiting.get(self._queue[0])
            if waiting is not None:
                if batch and size + waiting.size > MESSAGE_BYTES:
                    break
                if now - waiting.made_at_ms > RESUBMIT_AFTER_MS and not waiting.statement.resubmission:
                    waiting.statement = replace(waiting.statement, resubmission=True)
                batch.append(waiting.statement)
                size += waiting.size
            self._queue.popleft()
        return batch

    async def _take(self, result: WireResult) -> None:
        waiting = self._waiting.get(result.statement_id)
        if waiting is None:
            return
        if result.receipt is not None:
            await self._receipted(result, waiting)
        elif isinstance(result.error, Unavailable):
            loop = asyncio.get_running_loop()
            loop.call_later(max(result.error.retry_after_ms, 50) / 1000, self._again, result.statement_id)
        else:
            del self._waiting[result.statement_id]
            if not waiting.made_at_ms:
                await self.outbox.refused([result.statement_id])
            _settle(waiting.answer, result.error)

    async def _receipted(self, result: WireResult, waiting: _InFlight) -> None:
        assert result.receipt is not None
        del self._waiting[result.statement_id]
        try:
            receipt = verify_receipt(result.receipt, waiting.statement, self._verifier)
        except ExchangeError as error:
            lie = VerificationFailed(error.reason, f"the receipt does not hold: {error}", hint=_LYING)
            _settle(waiting.answer, lie)
            return
        if not waiting.made_at_ms:
            await self.outbox.receipted([(receipt.statement_id, receipt.index)], now_ms=self._now_ms())
        if not waiting.answer.done():
            waiting.answer.set_result(receipt)

    def _again(self, id_: bytes) -> None:
        if id_ in self._waiting:
            self._queue.append(id_)
            self._wake.set()

    def _fail_all(self, error: ExchangeError) -> None:
        for waiting in self._waiting.values():
            _settle(waiting.answer, error)
        self._waiting.clear()


_LYING = "the hub's answer does not hold: keep it, do not trust this hub, and ask other members what they see"


def _settle(answer: asyncio.Future[Receipt], error: ExchangeError | None) -> None:
    if error is not None and not answer.done():
        answer.set_exception(error)
        answer.exception()  # seen: nobody may be waiting for a statement of an earlier run


def _by_signal(drafts: Sequence[Draft], results: Sequence[Receipt | ExchangeError]) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    for draft, result in zip(drafts, results, strict=True):
        for signal, signal_id in zip(draft.signals, draft.ids, strict=True):
            if isinstance(result, Receipt):
                found[id(signal)] = Outcome(signal, signal_id, result, None)
            else:
                found[id(signal)] = Outcome(signal, None, None, result)
    return found

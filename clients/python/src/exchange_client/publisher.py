"""Publishing: into the outbox first, then over one pipelined stream until there is a verified receipt.

`Publisher.publish` returns when every signal has either a receipt whose proof was checked, or an error that sending
again cannot mend. Everything between, a hub that restarts, a connection that breaks, a full quota, is waited out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from exchange.domain.bodies import Body
from exchange.domain.statement import Statement, statement_id
from exchange.domain.validation import Rules
from exchange.errors import ExchangeError, Fatal, Reason, Rejected, Unavailable
from exchange.ledger.note import Verifier
from exchange_client.backoff import Backoff
from exchange_client.connections import Moved
from exchange_client.giving_back import GivingBack
from exchange_client.in_flight import InFlight, Outcome, Said, end_of, settle, settled, size_of
from exchange_client.outbox import Job, Outbox, things_in
from exchange_client.put_off import PutOff
from exchange_client.receipt import Receipt, receipt_of
from exchange_client.referring import Referring
from exchange_client.signals import Draft, Drafter, Signal, signals_of
from exchange_client.statements import Statements
from exchange_client.transport import PublishStream, Transport
from exchange_client.wire import WireResult

LINGER_S = 0.004
MAX_BATCH = 64
MAX_BATCH_BYTES = 512 * 1024
MESSAGE_BYTES = 1_000_000
RESUBMIT_AFTER_MS = 60_000
#: A stream that is refused so often in a row, without one answer, is refused for good.
MAX_REFUSALS = 2
#: What is wrong with the signature, and not with what is said: nothing that has it is ever thrown away.
_OF_THE_KEY = (Reason.WRONG_KEY, Reason.REPLAY_MISMATCH)


class Publisher(Statements, Referring):
    """Publishes to one log. Use as an async context manager."""

    def __init__(
        self,
        transport: Transport,
        drafter: Drafter,
        outbox: Outbox,
        verifier: Verifier,
        rules: Callable[[], Rules],
        now_ms: Callable[[], int],
        *,
        sign_anew: Callable[[Statement, float], Awaitable[Statement | None]],
    ) -> None:
        """Use `ExchangeClient.publisher`. ``sign_anew`` signs with the key that is in force now, if it is another."""
        super().__init__()
        self._transport = transport
        self._drafter = drafter
        self._rules = rules
        self._now_ms = now_ms
        self._sign_anew = sign_anew
        self._verifier = verifier
        self._waiting: dict[bytes, InFlight] = {}
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._put_off = PutOff(self._again)
        self._refusals = 0
        #: What an earlier run left, until `earlier` has told what became of it.
        self._earlier: deque[InFlight] = deque()
        #: When the present message of results came.
        self._taken_at_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self.outbox = outbox
        self.giving_back = GivingBack(partial(transport.lost_records, drafter.origin), outbox, self._send_again)

    async def __aenter__(self) -> Self:
        """Open the stream, and send again what an earlier run left without a receipt."""
        for statement in await self.outbox.pending():
            self._earlier.append(self._enqueue(replace(statement, resubmission=True), made_at_ms=0))
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)
        self.giving_back.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the stream. What has no receipt stays in the outbox; not what was refused, when all ends well."""
        await self.giving_back.aclose()
        if self._task is not None:
            self._task.cancel()
            await end_of(self._task)
        self._fail_all(Unavailable("the publisher was closed: what it has not sent is in its outbox"))
        if kind is None:
            await self._forget(*self._earlier)  # nobody asked for these: the log has told of them
        await self.outbox.prune(now_ms=self._now_ms())

    async def publish(
        self,
        signals: Sequence[Signal],
        *,
        timeout_s: float | None = None,
        tell: Callable[[int, Outcome], None] | None = None,
    ) -> list[Outcome]:
        """Publish signals; return one outcome for each, in order.

        ``tell`` is given each as soon as there is one, with its signal's place. What is refused stays in the outbox
        until it was told: whoever does not wait for all of them loses none.

        Raises TimeoutError after ``timeout_s`` (what was signed stays in the outbox and is sent on), `Distrusted` when
        the hub's answers do not hold, and what ``tell`` raises.
        """
        drafts, refused = self._drafter.draft(signals, self._rules)
        now = self._now_ms()
        statements = [draft.statement for draft in drafts]
        cases = [
            (signals[place].case_ref, id_)
            for draft in drafts
            for place, id_ in zip(draft.places, draft.ids, strict=True)
        ]
        if statements:
            await self.outbox.add(statements, cases, now_ms=now)
        found: dict[int, Outcome] = {}

        def note(place: int, outcome: Outcome) -> None:
            found[place] = outcome
            if tell is not None:
                tell(place, outcome)

        async def follow(draft: Draft, waiting: InFlight) -> None:
            result = await settled(waiting.answer)
            for place, signal_id in zip(draft.places, draft.ids, strict=True):
                note(place, waiting.told(signals[place], signal_id, result))
            if tell is not None:
                await self._forget(waiting)

        sent = [self._enqueue(statement, made_at_ms=now) for statement in statements]
        for place, error in refused:
            note(place, Outcome(signals[place], None, None, error))
        following = [asyncio.ensure_future(follow(draft, waiting)) for draft, waiting in zip(drafts, sent, strict=True)]
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*following)
        finally:
            for task in following:
                task.cancel()
        await self._forget(*sent)
        return [found[place] for place in range(len(signals))]

    @property
    def left(self) -> int:
        """How many signals, and other statements, of an earlier run `earlier` has not told of yet."""
        return sum(things_in(waiting.statement) for waiting in self._earlier)

    async def earlier(self) -> AsyncGenerator[list[Outcome] | list[Said], None]:
        """Yield what becomes of each statement that an earlier run left without a receipt; ends behind the last.

        Of one with signals, an outcome for each; of another, what was said.

        They are sent whether anybody asks or not; one that is refused stays in the outbox until whoever asks has gone
        on behind it. Raises `Distrusted` when the hub's answers do not hold.
        """
        while self._earlier:
            waiting = self._earlier[0]
            result = await settled(waiting.answer)
            self._earlier.popleft()
            signals = signals_of(waiting.statement)
            yield [waiting.told(signal, id_, result) for id_, signal in signals] or [waiting.said(result)]
            await self._forget(waiting)

    async def say(self, body: Body, *, timeout_s: float | None = None) -> Receipt:
        """Publish one statement without records, through the outbox as signals; return its verified receipt.

        Raises `ExchangeError` when it is refused, and TimeoutError, after which it is sent on.
        """
        async with asyncio.timeout(timeout_s):
            return await self.submit(self.sign(body))

    def sign(self, body: Body) -> Statement:
        """Return a statement without records for `submit`, checked as far as it can be here. Raises `Rejected`."""
        return self._drafter.said(body)

    async def submit(self, statement: Statement, *, beside: Job | None = None) -> Receipt:
        """Publish a statement, with what is kept ``beside`` it; return its verified receipt. Raises as `say`."""
        _, result = await self._sent(statement, beside)
        if isinstance(result, ExchangeError):
            raise result
        return result

    async def try_to_say(self, body: Body) -> Said:
        """Do as `say`; return what became of it, and whether the outbox keeps it. Raises `Distrusted` alone."""
        try:
            statement = self.sign(body)
        except Rejected as error:
            return Said(body, None, error)
        return await self.try_to_submit(statement)

    async def try_to_submit(self, statement: Statement) -> Said:
        """Publish a statement; return what became of it. Raises `Distrusted` alone."""
        waiting, result = await self._sent(statement)
        return waiting.said(result)

    async def _sent(self, statement: Statement, beside: Job | None = None) -> tuple[InFlight, Receipt | ExchangeError]:
        now = self._now_ms()
        await self.outbox.add([statement], [], now_ms=now, beside=beside)
        waiting = self._enqueue(statement, made_at_ms=now)
        result = await settled(waiting.answer)
        await self._forget(waiting)
        return waiting, result

    async def settled(self) -> None:
        """Return when nothing waits for a receipt any more."""
        while self._waiting:
            await asyncio.gather(*(settled(waiting.answer) for waiting in list(self._waiting.values())))

    async def _send_again(self, statements: Sequence[Statement]) -> None:
        again = [self._enqueue(replace(each, resubmission=True), made_at_ms=0) for each in statements]
        await asyncio.gather(*(settled(waiting.answer) for waiting in again))

    def _enqueue(self, statement: Statement, *, made_at_ms: int) -> InFlight:
        id_ = statement_id(statement.payload)
        waiting = self._waiting.get(id_)
        if waiting is None:
            answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            waiting = self._waiting[id_] = InFlight(statement, made_at_ms, answer, size_of(statement))
            if self._task is not None and self._task.done():
                self._fail_all(Fatal("the publisher has stopped"))
            self._queue.append(id_)
            self._wake.set()
        return waiting

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for a task that has died of a bug."""
        if not task.cancelled() and task.exception() is not None:
            self._fail_all(Fatal(f"the publisher has stopped: {task.exception()!r}"))

    async def _run(self) -> None:
        """Keep a stream open as long as there is something to send; go to the next hub when one fails."""
        backoff = Backoff("publishing")
        while True:
            await self._something_to_send()
            try:
                async with self._transport.publish_stream(self._wake.set) as stream:
                    await self._session(stream, backoff)
            except Moved:
                pass
            except Unavailable as error:
                self.giving_back.look_again()
                if self._waiting:
                    await backoff.after(error, "broke off")
            except ExchangeError as error:
                # A stream is also cut when the directory takes something from us: what is left, a new one tells.
                self._refusals += 1
                if self._refusals < MAX_REFUSALS:
                    await backoff.after(error, "was refused")
                else:
                    self._refusals = 0
                    self._fail_all(error)
            # Whatever has no answer yet is sent again; the hub knows a statement that it has seen.
            self._queue = deque(self._waiting)

    async def _something_to_send(self, stream: PublishStream | None = None) -> None:
        """Return when there is something to send, or a stream is to be left."""
        while not self._queue and not (stream and stream.leaving):
            self._wake.clear()
            await self._wake.wait()

    async def _session(self, stream: PublishStream, backoff: Backoff) -> None:
        sender = asyncio.create_task(self._send(stream))
        try:
            async for results in stream.results():
                backoff.reset()
                self._refusals = 0
                await self._take(results)
        finally:
            sender.cancel()
            await end_of(sender)
        raise Unavailable("the hub ended the stream", retry_after_ms=0)

    async def _send(self, stream: PublishStream) -> None:
        try:
            while True:
                await self._something_to_send(stream)
                if stream.leaving:
                    return await stream.finish()
                if len(self._queue) < MAX_BATCH:
                    await asyncio.sleep(LINGER_S)
                batch = self._batch()
                if batch:
                    await stream.send(batch)
        except BaseException:
            stream.cancel()
            raise

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

    async def _take(self, results: Sequence[WireResult]) -> None:
        """Verify the receipts in a message, note them durably, and only then tell who waits for them.

        What is refused is forgotten the other way round, once it was told: `_forget`.
        """
        answered: list[tuple[InFlight, Receipt | ExchangeError]] = []
        self._taken_at_s = time.monotonic()
        for result in results:
            waiting = self._waiting.get(result.statement_id)
            if waiting is None:
                continue
            if result.receipt is not None:
                answered.append((waiting, receipt_of(result.receipt, waiting.statement, self._verifier)))
            elif result.error is not None and not await self._goes_on(waiting, result.error):
                answered.append((waiting, result.error))
                waiting.kept = result.error.reason in _OF_THE_KEY
                if not waiting.made_at_ms:
                    message = "a statement of an earlier run was refused: %s"
                    logging.getLogger("exchange_client").error(message, result.error.diagnostics())
        receipts = [(told.statement, answer.index) for told, answer in answered if isinstance(answer, Receipt)]
        if receipts:
            await self.outbox.settle(receipts=receipts, now_ms=self._now_ms())
        for waiting, answer in answered:
            self._waiting.pop(statement_id(waiting.statement.payload), None)
            settle(waiting.answer, answer)
        self._put_off.keep(self._waiting)

    async def _forget(self, *told: InFlight) -> None:
        """Take out of the outbox what was refused for good, now that somebody else has it."""
        refused = [waiting.statement for waiting in told if not waiting.kept]
        if refused:
            await self.outbox.settle(refused=refused, now_ms=self._now_ms())

    async def _goes_on(self, waiting: InFlight, error: ExchangeError) -> bool:
        """Whether a refused statement will be sent again: later, or under another key of ours."""
        id_ = statement_id(waiting.statement.payload)
        try:
            if isinstance(error, Unavailable):
                self._put_off.add(id_, error)
                return True
            if error.reason not in _OF_THE_KEY or not await self._under_another_key(waiting, error.reason):
                return False
        except Unavailable as later:
            self._put_off.add(id_, later)
            return True
        self._again(id_)
        return True

    async def _under_another_key(self, waiting: InFlight, reason: Reason) -> bool:
        """Whether there is another way to send a statement that was refused for its key; it is changed accordingly.

        First as a resubmission: if it is in the ledger already, that brings its receipt, whatever became of its key.
        Then under the key that is in force now. If the ledger has it under the one before after all, under that.
        """
        statement = waiting.statement
        if reason is Reason.REPLAY_MISMATCH:
            other, waiting.before = waiting.before, None
        elif not statement.resubmission:
            waiting.statement = replace(statement, resubmission=True)
            return True
        else:
            other, waiting.before = await self._sign_anew(statement, self._taken_at_s), statement
        if other is None or not waiting.changes_left:
            return False
        waiting.changes_left -= 1
        await self.outbox.replace(other)
        waiting.statement = replace(other, resubmission=True)
        return True

    def _again(self, id_: bytes) -> None:
        if id_ in self._waiting:
            self._queue.append(id_)
            self._wake.set()

    def _fail_all(self, error: ExchangeError) -> None:
        """Tell everyone who waits. The outbox keeps what they sent: this is not the statements' own fault."""
        for waiting in self._waiting.values():
            settle(waiting.answer, error)
        self._waiting.clear()
        self._put_off.forget()

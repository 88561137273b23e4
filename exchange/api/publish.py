"""PublishService: statements in, receipts out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from weakref import WeakValueDictionary

import grpc

from exchange import codec
from exchange.api import status
from exchange.api.guard import caller
from exchange.api.logs import Hub
from exchange.domain.policy import Workload
from exchange.domain.statement import Statement, statement_id
from exchange.errors import ExchangeError, Reason, Rejected, Unavailable, VerificationFailed
from exchange.ops.metrics import Metrics
from exchange.publish.turns import Turns
from exchange.publish.waiting import Receipt
from exchange.v1 import publish_pb2 as pb
from exchange.v1 import publish_pb2_grpc, statement_pb2

#: Messages of one stream that may be in work at once; beyond it, the stream is not read.
WINDOW = 32
#: The same for all streams of a member together: what is held for one is bounded, however many it opens.
MEMBER_WINDOW = 128
#: Statements in one message.
MAX_STATEMENTS = 4_096
#: Work done in one turn of a member, in records checked; a signature costs about twenty.
TURN_WORK = 120
_STATEMENT_WORK = 20
MAX_ANSWER_BYTES = 900_000
_RESULT_OVERHEAD = 8

_Answer = tuple[bytes, asyncio.Future[Receipt] | ExchangeError]
_Context = grpc.aio.ServicerContext[Any, Any]


class PublishServicer(publish_pb2_grpc.PublishServiceServicer):
    """Thin: parse, check, queue, answer."""

    def __init__(self, hub: Hub, metrics: Metrics) -> None:
        """Publish into this hub's logs."""
        self._hub = hub
        self._metrics = metrics
        self._draining = asyncio.Event()
        self._turns = Turns(time.monotonic)
        #: One for each member with a stream; they go with the streams that hold them.
        self._windows: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        #: A log's histogram: finding it costs more than using it.
        self._seconds: dict[str, Any] = {}

    async def Publish(self, request: pb.PublishRequest, context: _Context) -> pb.PublishResponse:  # noqa: ARG002
        """Commit one statement."""
        workload, came = caller(), time.monotonic()
        await self._turns.take(workload.member, _work(request.statement))
        _, answer = await self._offer(workload, request.statement)
        if isinstance(answer, ExchangeError):
            raise answer
        return pb.PublishResponse(receipt=_receipt(await self._committed(answer, came)))

    async def _committed(self, answer: asyncio.Future[Receipt], came: float) -> Receipt:
        """Return a receipt once the statement counts, and note how long that took since it came."""
        receipt = await answer
        await self._hub.in_force(receipt)
        seconds = self._seconds.get(receipt.origin)
        if seconds is None:
            seconds = self._seconds[receipt.origin] = self._metrics.publish_seconds.labels(receipt.origin)
        seconds.observe(time.monotonic() - came)
        if receipt.repeated:
            self._metrics.statements.labels(receipt.origin, "repeated").inc()
        return receipt

    async def PublishStream(
        self,
        request_iterator: AsyncIterator[pb.PublishStreamRequest],
        context: _Context,  # noqa: ARG002
    ) -> AsyncIterator[pb.PublishStreamResponse]:
        """Commit many statements, a window of messages at a time; answer each message when all of it is decided."""
        workload = caller()
        window = asyncio.Semaphore(WINDOW)
        shared = self._windows.setdefault(workload.member, asyncio.Semaphore(MEMBER_WINDOW))
        in_work = 0
        queue: asyncio.Queue[tuple[float, list[_Answer]] | None] = asyncio.Queue()

        async def read() -> None:
            nonlocal in_work
            async for request in request_iterator:
                await window.acquire()
                await shared.acquire()
                in_work += 1
                came = time.monotonic()
                queue.put_nowait((came, await self._offer_all(workload, request.statements)))

        reader = asyncio.create_task(read())
        ending = asyncio.create_task(self._ended(reader, queue))
        try:
            while (offered := await queue.get()) is not None:
                async for response in self._responses(*offered):
                    yield response
                window.release()
                shared.release()
                in_work -= 1
            if reader.done():
                await reader
        finally:
            reader.cancel()
            ending.cancel()
            for _ in range(in_work):
                shared.release()

    async def _ended(
        self, reader: asyncio.Task[None], queue: asyncio.Queue[tuple[float, list[_Answer]] | None]
    ) -> None:
        """Mark the end of a stream: when its publisher has said all, or the hub drains and takes nothing new."""
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait((reader, draining), return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()
        queue.put_nowait(None)

    def drain(self) -> None:
        """Answer what has been taken, and end every stream."""
        self._draining.set()

    async def _offer_all(self, workload: Workload, statements: Sequence[statement_pb2.Statement]) -> list[_Answer]:
        if len(statements) > MAX_STATEMENTS:
            raise Rejected(Reason.TOO_LARGE, f"a message holds at most {MAX_STATEMENTS} statements")
        answers: list[_Answer] = []
        for piece, work in _pieces(statements):
            await self._turns.take(workload.member, work)
            for message in piece:
                answers.append(await self._offer(workload, message))  # noqa: PERF401 - one after the other
        return answers

    async def _offer(self, workload: Workload, message: statement_pb2.Statement) -> _Answer:
        id_ = statement_id(message.payload)
        statement = codec.statement_from_wire(message)
        try:
            try:
                identified = self._hub.intake.identify(workload, statement)
            except VerificationFailed as error:
                said = await self._said_before(workload, statement, error)
                if said is None:
                    raise
                return id_, _answered(said)
            sequencer = self._hub.log_to_write(identified[0].origin).sequencer
            if statement.resubmission:
                receipt = await sequencer.repeated(statement, identified[0])
                if receipt is not None:
                    # In the ledger already: so it is answered, even where it could no longer be said today.
                    return id_, _answered(receipt)
            return id_, sequencer.offer(self._hub.intake.check(workload, statement, identified))
        except (Rejected, Unavailable) as error:
            # Without its traceback, which would keep every frame and the whole message alive.
            return id_, error.with_traceback(None)

    async def _said_before(self, workload: Workload, statement: Statement, error: VerificationFailed) -> Receipt | None:
        """Return the receipt of a repeat whose key has been revoked since: what it said stays in the ledger."""
        if error.reason is not Reason.WRONG_KEY or not statement.resubmission:
            return None
        header = self._hub.intake.author(workload, statement)
        return await self._hub.log_to_write(header.origin).sequencer.repeated(statement, header)

    async def _responses(self, came: float, answers: list[_Answer]) -> AsyncIterator[pb.PublishStreamResponse]:
        """Yield the results of one message, in as many messages as they need."""
        response = pb.PublishStreamResponse()
        size = 0
        for id_, answer in answers:
            result = await self._result(id_, answer, came)
            size += result.ByteSize() + _RESULT_OVERHEAD
            if size > MAX_ANSWER_BYTES and response.results:
                yield response
                response, size = pb.PublishStreamResponse(), result.ByteSize() + _RESULT_OVERHEAD
            response.results.append(result)
        yield response

    async def _result(
        self, id_: bytes, answer: asyncio.Future[Receipt] | ExchangeError, came: float
    ) -> pb.PublishResult:
        try:
            if isinstance(answer, ExchangeError):
                raise answer
            return pb.PublishResult(statement_id=id_, receipt=_receipt(await self._committed(answer, came)))
        except ExchangeError as error:
            self._metrics.rejected.labels(error.reason.value).inc()
            return pb.PublishResult(statement_id=id_, rejection=status.rejection(_in_band(error)))


def _work(message: statement_pb2.Statement) -> int:
    return len(message.records) + _STATEMENT_WORK * (1 + len(message.signatures))


def _pieces(
    statements: Sequence[statement_pb2.Statement],
) -> Iterator[tuple[Sequence[statement_pb2.Statement], int]]:
    """Yield a message's statements in pieces of one turn each, with the work in each."""
    start = work = 0
    for end, message in enumerate(statements, start=1):
        work += _work(message)
        if work >= TURN_WORK or end == len(statements):
            yield statements[start:end], work
            start, work = end, 0


def _answered(receipt: Receipt) -> asyncio.Future[Receipt]:
    answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    answer.set_result(receipt)
    return answer


def _in_band(error: ExchangeError) -> ExchangeError:
    """Our own trouble is told as "later": the statement is not at fault, and its publisher keeps it."""
    if isinstance(error, Rejected | Unavailable):
        return error
    return Unavailable("this log takes no statements now", retry_after_ms=30_000, reason=Reason.UNAVAILABLE)


def _receipt(receipt: Receipt) -> pb.Receipt:
    return pb.Receipt(
        index=receipt.index,
        leaf=receipt.leaf,
        inclusion_proof=receipt.inclusion_proof,
        checkpoint=receipt.checkpoint,
        repeated_statement=receipt.repeated,
    )

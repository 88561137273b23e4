"""PublishService: statements in, receipts out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import grpc

from exchange.api import status
from exchange.api.guard import caller
from exchange.api.logs import Hub
from exchange.api.offering import Answer, Message, Offering
from exchange.domain.policy import Workload
from exchange.errors import ExchangeError, Reason, Rejected, Unavailable
from exchange.ops.metrics import Metrics
from exchange.publish.waiting import Receipt
from exchange.v1 import publish_pb2 as pb
from exchange.v1 import publish_pb2_grpc

#: Messages of one stream that may be in work at once; beyond it, the stream is not read.
WINDOW = 32
#: The same for all streams of a member together: what is held for one is bounded, however many it opens.
MEMBER_WINDOW = 128
#: Of these, messages that are admitted and wait to be judged: they are held whole, a few megabytes each.
AHEAD = 4
MEMBER_AHEAD = 16
MAX_ANSWER_BYTES = 900_000
#: Results of another message are put into an answer that is smaller than this.
JOINED_BYTES = 64 * 1024
_RESULT_OVERHEAD = 8

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(eq=False, slots=True, weakref_slot=True)
class _Room:
    """For so many messages in work, and so many of them admitted and not yet judged, which are held whole."""

    window: asyncio.Semaphore
    ahead: asyncio.Semaphore

    @classmethod
    def of(cls, window: int, ahead: int) -> _Room:
        return cls(asyncio.Semaphore(window), asyncio.Semaphore(ahead))


@dataclass(frozen=True, slots=True)
class _Offered:
    """One message: when it came, and its answers to be."""

    came: float
    answers: list[Answer]

    def is_decided(self, counts: Callable[[Receipt], bool]) -> bool:
        """Whether there is nothing more to wait for: each is refused, or its receipt counts."""
        return all(
            isinstance(answer, ExchangeError)
            or (answer.done() and (answer.exception() is not None or counts(answer.result())))
            for _, answer in self.answers
        )


class _Stream:
    """One publish stream: while one message is answered and one is judged, the next is read and admitted."""

    def __init__(self, offering: Offering, workload: Workload, shared: _Room) -> None:
        """``shared`` is the room of all of the member's streams together."""
        self._offering = offering
        self._workload = workload
        self._own, self._shared = _Room.of(WINDOW, AHEAD), shared
        self._in_work = self._ahead = 0
        self._admitted: asyncio.Queue[tuple[float, Message] | None] = asyncio.Queue()
        #: What is offered and not answered; None at the end.
        self._offered: deque[_Offered | None] = deque()
        self._more = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self, requests: AsyncIterator[pb.PublishStreamRequest], draining: asyncio.Event) -> None:
        """Begin to read and to judge."""
        reader = asyncio.create_task(self._read(requests))
        self._tasks = (reader, asyncio.create_task(self._judge()), asyncio.create_task(self._ended(reader, draining)))

    async def _read(self, requests: AsyncIterator[pb.PublishStreamRequest]) -> None:
        async for request in requests:
            for room in (self._own, self._shared):
                await room.window.acquire()
            self._in_work += 1
            for room in (self._own, self._shared):
                await room.ahead.acquire()
            self._ahead += 1
            came = time.monotonic()
            self._admitted.put_nowait((came, await self._offering.admit(self._workload, request.statements)))

    async def _judge(self) -> None:
        try:
            while (admitted := await self._admitted.get()) is not None:
                came, message = admitted
                self._offer(_Offered(came, await self._offering.judge(self._workload, message)))
                self._own.ahead.release()
                self._shared.ahead.release()
                self._ahead -= 1
        finally:
            self._offer(None)

    def _offer(self, offered: _Offered | None) -> None:
        self._offered.append(offered)
        self._more.set()

    async def next(self) -> _Offered | None:
        """Return the next message; None at the end."""
        while not self._offered:
            self._more.clear()
            await self._more.wait()
        return self._offered.popleft()

    def next_decided(self, counts: Callable[[Receipt], bool]) -> _Offered | None:
        """Return the next message if all of it is decided; None if that is to be waited for."""
        first = self._offered[0] if self._offered else None
        return self._offered.popleft() if first is not None and first.is_decided(counts) else None

    async def _ended(self, reader: asyncio.Task[None], draining: asyncio.Event) -> None:
        """Mark the end of a stream: when its publisher has said all, or the hub drains and takes nothing new."""
        drained = asyncio.create_task(draining.wait())
        try:
            await asyncio.wait((reader, drained), return_when=asyncio.FIRST_COMPLETED)
        finally:
            drained.cancel()
        self._admitted.put_nowait(None)

    def answered(self, messages: int) -> None:
        """Give back the room of so many messages, all of whose results are sent."""
        for _ in range(messages):
            self._own.window.release()
            self._shared.window.release()
        self._in_work -= messages

    async def outcome(self) -> None:
        """Raise what ended the stream, once all is answered that came before."""
        for task in self._tasks:
            if task.done():
                await task

    def close(self) -> None:
        """Stop, take back what was asked, and give the room back. Once."""
        for task in self._tasks:
            task.cancel()
        while not self._admitted.empty():
            admitted = self._admitted.get_nowait()
            if admitted is not None:
                admitted[1].holding.cancel()
        for _ in range(self._in_work):
            self._shared.window.release()
        for _ in range(self._ahead):
            self._shared.ahead.release()


class PublishServicer(publish_pb2_grpc.PublishServiceServicer):
    """Thin: parse, check, queue, answer."""

    def __init__(self, hub: Hub, metrics: Metrics) -> None:
        """Publish into this hub's logs."""
        self._hub = hub
        self._metrics = metrics
        self._draining = asyncio.Event()
        self._offering = Offering(hub)
        #: One for each member with a stream; they go with the streams that hold them.
        self._rooms: WeakValueDictionary[str, _Room] = WeakValueDictionary()
        #: A log's histogram: finding it costs more than using it.
        self._seconds: dict[str, Any] = {}

    async def Publish(self, request: pb.PublishRequest, context: _Context) -> pb.PublishResponse:  # noqa: ARG002
        """Commit one statement."""
        workload, came = caller(), time.monotonic()
        admitted = await self._offering.admit(workload, (request.statement,))
        ((_, answer),) = await self._offering.judge(workload, admitted)
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
        """Commit many statements, a window of messages at a time; answer together what is decided together."""
        workload = caller()
        shared = self._rooms.setdefault(workload.member, _Room.of(MEMBER_WINDOW, MEMBER_AHEAD))
        stream = _Stream(self._offering, workload, shared)
        stream.start(request_iterator, self._draining)
        try:
            while (offered := await stream.next()) is not None:
                async for response in self._responses(stream, offered):
                    yield response
            await stream.outcome()
        finally:
            stream.close()

    def drain(self) -> None:
        """Answer what has been taken, and end every stream."""
        self._draining.set()

    async def _responses(self, stream: _Stream, first: _Offered) -> AsyncIterator[pb.PublishStreamResponse]:
        """Yield the results of a message, and of those behind it that are decided by then, in as few as hold them."""
        response, size, messages = pb.PublishStreamResponse(), 0, 0
        offered: _Offered | None = first
        while offered is not None:
            for id_, answer in offered.answers:
                result = await self._result(id_, answer, offered.came)
                size += result.ByteSize() + _RESULT_OVERHEAD
                if size > MAX_ANSWER_BYTES and response.results:
                    yield response
                    stream.answered(messages)
                    messages = 0
                    response, size = pb.PublishStreamResponse(), result.ByteSize() + _RESULT_OVERHEAD
                response.results.append(result)
            messages += 1
            offered = stream.next_decided(self._hub.counts) if size < JOINED_BYTES else None
        yield response
        stream.answered(messages)

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

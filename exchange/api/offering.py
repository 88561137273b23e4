"""From the statements of one message to the receipts to come, or refusals: read, admitted, judged, offered.

Two halves, so that a stream can admit the next message while the signatures of this one are checked beside the loop.
What the loop does of it, it does in turns between members (`exchange.publish.turns`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from exchange import codec
from exchange.api.logs import Hub, Log
from exchange.domain.addressed import Addressed
from exchange.domain.bodies import AboutSignals, Body, Life, SignalHeader
from exchange.domain.kinds import SAID_AFTERWARDS
from exchange.domain.policy import Workload
from exchange.domain.statement import statement_id
from exchange.errors import ExchangeError, Reason, Rejected, Unavailable, VerificationFailed
from exchange.publish.intake import Admitted
from exchange.publish.turns import TURN_WORK
from exchange.publish.waiting import Receipt
from exchange.signatures.batch import Signed
from exchange.v1 import statement_pb2

#: Statements in one message.
MAX_STATEMENTS = 4_096
#: What a statement costs before and after its signatures, and what each of them costs, in the same measure.
_ADMISSION_WORK = 10
_JUDGING_WORK = 10
_SIGNATURE_WORK = 20
_LOOKING_UP_WORK = 10

T = TypeVar("T")

#: A statement's id, and the receipt to come or the refusal.
Answer = tuple[bytes, "asyncio.Future[Receipt] | ExchangeError"]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Message:
    """The statements of one message, each with its id, admitted or refused, and what is known of the signatures."""

    statements: list[tuple[bytes, Admitted | ExchangeError]]
    #: A byte for each that is admitted, in pieces: 1 where its signatures hold, 0 where they are still to be checked.
    holding: asyncio.Future[list[bytes]]


class Offering:
    """What is offered to this hub's logs, by any member."""

    def __init__(self, hub: Hub) -> None:
        """Offer to the logs of this hub."""
        self._hub = hub
        self._turns = hub.turns

    async def admit(self, workload: Workload, messages: Sequence[statement_pb2.Statement]) -> Message:
        """Charge and read statements, and let their signatures be checked. Raises `Rejected` for none, and too many."""
        if not messages:
            raise Rejected(Reason.INVALID, "a message holds at least one statement")  # it would cost its sender nothing
        if len(messages) > MAX_STATEMENTS:
            raise Rejected(Reason.TOO_LARGE, f"a message holds at most {MAX_STATEMENTS} statements")
        statements: list[tuple[bytes, Admitted | ExchangeError]] = []
        signed: list[Signed] = []
        for turn in _turns_of(messages, lambda _: _ADMISSION_WORK):
            await self._turns.take(workload.member, turn.work)
            admitted = [self._admit(workload, message) for message in turn.items]
            statements += admitted
            signed += [said.signed for _, said in admitted if isinstance(said, Admitted)]
        return Message(statements, self._hub.signatures.holding(workload.member, signed))

    def _admit(self, workload: Workload, message: statement_pb2.Statement) -> tuple[bytes, Admitted | ExchangeError]:
        id_ = statement_id(message.payload)
        try:
            return id_, self._hub.intake.admit(workload, codec.statement_from_wire(message))
        except (Rejected, Unavailable) as error:
            return id_, error.alone()  # else it would keep the whole message alive

    async def judge(self, workload: Workload, message: Message) -> list[Answer]:
        """Judge what was admitted and offer it to its log, one after the other."""
        holding = iter(b"".join(await message.holding))
        judged = [
            _Judged(id_, said, isinstance(said, Admitted) and next(holding) == 1) for id_, said in message.statements
        ]
        answers: list[Answer] = []
        for turn in _turns_of(judged, _judging_work):
            await self._turns.take(workload.member, turn.work)
            offered = [(each.id, await self._offer(workload, each)) for each in turn.items]
            if any(map(_is_waited_for, turn.items, offered)):
                self._turns.said(workload.member)
            answers += offered
        return answers

    async def _offer(self, workload: Workload, judged: _Judged) -> asyncio.Future[Receipt] | ExchangeError:
        said = judged.said
        if isinstance(said, ExchangeError):
            return said
        try:
            try:
                judged_at = self._hub.intake.identify(workload, said, signed=judged.signed)
            except VerificationFailed as error:
                receipt = await self._said_before(workload, said, error)
                if receipt is None:
                    raise
                return _answered(receipt)
            log = self._hub.log_to_write(said.header.origin)
            body = said.header.body
            of_life = isinstance(body, Life | Addressed)
            if said.statement.resubmission or of_life:
                receipt = await log.sequencer.repeated(said.statement, said.header)
                if receipt is not None:
                    # In the ledger already: so it is answered, even where it could no longer be said today.
                    return _answered(receipt)
            if of_life or _names_a_new_election(log, body):
                await log.up_to_date()
            try:
                candidate = self._hub.intake.check(workload, said, judged_at)
            except Rejected:
                # A repeat whose first one was sealed meanwhile finds what it says said already.
                receipt = await log.sequencer.repeated(said.statement, said.header) if of_life else None
                if receipt is None:
                    raise
                return _answered(receipt)
            return log.sequencer.offer(candidate)
        except (Rejected, Unavailable) as error:
            return error.alone()

    async def _said_before(self, workload: Workload, said: Admitted, error: VerificationFailed) -> Receipt | None:
        """Return the receipt of a repeat whose key has been revoked since: what it said stays in the ledger."""
        if error.reason is not Reason.WRONG_KEY or not said.statement.resubmission:
            return None
        self._hub.intake.author(workload, said)
        return await self._hub.log_to_write(said.header.origin).sequencer.repeated(said.statement, said.header)


def _names_a_new_election(log: Log, body: Body | None) -> bool:
    """Whether a signal names an election that may be among the log's newest entries."""
    if not isinstance(body, SignalHeader) or not body.election:
        return False
    return body.election not in log.of_community.life.folds().elections.entries


@dataclass(frozen=True, slots=True)
class _Judged:
    id: bytes
    said: Admitted | ExchangeError
    #: Whether its signatures are known to hold.
    signed: bool


@dataclass(frozen=True, slots=True)
class _Turn(Generic[T]):
    """What is done in one turn, and how much work that is."""

    items: Sequence[T]
    work: int


def _turns_of(items: Sequence[T], work_of: Callable[[T], int]) -> Iterator[_Turn[T]]:
    start = work = 0
    for end, item in enumerate(items, start=1):
        work += work_of(item)
        if work >= TURN_WORK or end == len(items):
            yield _Turn(items[start:end], work)
            start, work = end, 0


def _is_waited_for(judged: _Judged, answer: Answer) -> bool:
    """Whether it is taken, and others are to act on it."""
    said = judged.said
    if isinstance(said, ExchangeError) or isinstance(answer[1], ExchangeError):
        return False
    return said.header.kind not in SAID_AFTERWARDS


def _judging_work(judged: _Judged) -> int:
    if isinstance(judged.said, ExchangeError):
        return 1
    statement, body = judged.said.statement, judged.said.header.body
    named = len(body.targets) if isinstance(body, AboutSignals) else 0
    signatures = 0 if judged.signed else len(statement.signatures)
    return _JUDGING_WORK + len(statement.records) + _LOOKING_UP_WORK * named + _SIGNATURE_WORK * signatures


def _answered(receipt: Receipt) -> asyncio.Future[Receipt]:
    answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    answer.set_result(receipt)
    return answer

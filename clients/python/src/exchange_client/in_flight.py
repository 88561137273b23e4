"""Statements on their way to the hub, and what becomes of the signals in them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import cached_property

from exchange import codec
from exchange.codec_addressed import decode_addressed
from exchange.domain.addressed import Addressed, AddressedRecord
from exchange.domain.bodies import AboutSignals, Body, SignalHeader
from exchange.domain.statement import Statement
from exchange.errors import ExchangeError
from exchange_client.receipt import Receipt
from exchange_client.signals import Signal
from exchange_client.verify import Distrusted

#: How often one statement may be sent under another key of ours: there and back, and once more.
MAX_KEY_CHANGES = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one signal: a receipt, or an error. It has an id as soon as it was signed."""

    signal: Signal
    signal_id: bytes | None
    receipt: Receipt | None
    error: ExchangeError | None
    #: Whether it is still in the outbox, where it met an error: the next run sends it, so do not publish it again.
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a statement that says no signals: a receipt, or an error."""

    #: None where this release does not know what it says.
    body: Body | None
    receipt: Receipt | None
    error: ExchangeError | None
    #: As of an `Outcome`.
    kept: bool = False
    #: Of what is said to named members, as soon as it was signed: its id, what it says, to whom.
    id: bytes | None = None
    record: AddressedRecord | None = None
    audience: tuple[str, ...] = ()


@dataclass
class InFlight:
    """A statement without a verified receipt."""

    statement: Statement
    #: When it was made; 0 for one of an earlier run.
    made_at_ms: int
    answer: asyncio.Future[Receipt]
    size: int
    #: The statement under the key that it was signed with before this one.
    before: Statement | None = None
    #: How often it may still change hands between our keys.
    changes_left: int = MAX_KEY_CHANGES
    #: Whether the outbox keeps it, whatever was answered.
    kept: bool = True

    @cached_property
    def about(self) -> frozenset[bytes]:
        """The signals that it says, or says something of."""
        header = codec.decode_header(self.statement.payload, strict=False)
        body = header.body
        said_of = body.targets if isinstance(body, AboutSignals) else ()
        replaced = body.replaces if isinstance(body, SignalHeader) else ()
        return frozenset((*header.signal_ids, *said_of, *replaced))

    def told(self, signal: Signal, signal_id: bytes, result: Receipt | ExchangeError) -> Outcome:
        """Return what became of one of its signals."""
        if isinstance(result, Receipt):
            return Outcome(signal, signal_id, result, None)
        return Outcome(signal, signal_id, None, result, self.kept)

    def said(self, result: Receipt | ExchangeError) -> Said:
        """Return what became of it, where it says no signals."""
        header = codec.decode_header(self.statement.payload, strict=False)
        said = Said(header.body, None, None)
        if isinstance(header.body, Addressed):
            record = decode_addressed(header.kind, self.statement.records, strict=False)
            audience = codec.decode_audience(self.statement.audience_record, strict=False)
            said = replace(said, id=header.signal_ids[0], record=record, audience=audience)
        if isinstance(result, Receipt):
            return replace(said, receipt=result)
        return replace(said, error=result, kept=self.kept)


def size_of(statement: Statement) -> int:
    """Return how many bytes a statement takes in a message at most."""
    parts = (statement.payload, statement.audience_record, *statement.records)
    return sum(map(len, parts)) + 4 * len(parts) + 128 * (len(statement.signatures) + 1)


def settle(future: asyncio.Future[Receipt], answer: Receipt | ExchangeError) -> None:
    """Give whoever waits the answer; the first one stands."""
    if future.done():
        return
    if isinstance(answer, Receipt):
        future.set_result(answer)
    else:
        future.set_exception(answer)
        future.exception()  # seen: nobody may be waiting for a statement of an earlier run


async def settled(future: asyncio.Future[Receipt]) -> Receipt | ExchangeError:
    """Return a receipt, or the error that the statement met; raise only that the hub cannot be trusted."""
    try:
        # Whoever stops waiting does not stop the sending.
        return await asyncio.shield(future)
    except Distrusted:
        raise
    except ExchangeError as error:
        return error


async def end_of(task: asyncio.Task[None]) -> None:
    """Return when a task that was cancelled has ended. Raises what it died of, if that was a bug.

    Not by awaiting it: a wish to cancel us that comes meanwhile would look like its own end, and be lost.
    """
    await asyncio.wait((task,))
    if not task.cancelled() and not isinstance(task.exception(), ExchangeError | None):
        await task

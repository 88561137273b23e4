"""Which messages of a publish stream are answered together: those behind the first that nothing is waited for of."""

from __future__ import annotations

import asyncio

from exchange.api.publish import _Offered, _Room, _Stream
from exchange.domain.policy import Workload
from exchange.errors import ExchangeError, Reason, Rejected
from exchange.publish.waiting import Receipt
from tests.unit.builders import ALPHA

#: Entries below this index count.
IN_FORCE = 5


def counts(receipt: Receipt) -> bool:
    return receipt.index < IN_FORCE


def offered(*answers: int | ExchangeError | None) -> _Offered:
    """Return a message whose statements have these indices, are refused or still waited for."""
    made: list[tuple[bytes, asyncio.Future[Receipt] | ExchangeError]] = []
    for answer in answers:
        if isinstance(answer, ExchangeError):
            made.append((b"id", answer))
            continue
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        if answer is not None:
            future.set_result(Receipt("test.exchange/uk", answer, b"leaf", (), b"checkpoint"))
        made.append((b"id", future))
    return _Offered(0.0, made)


def stream_of(*messages: _Offered | None) -> _Stream:
    workload = Workload(ALPHA.member, ALPHA.role)
    stream = _Stream(None, workload, _Room.of(9, 9))  # type: ignore[arg-type] # nothing is read or judged
    for message in messages:
        stream._offer(message)
    return stream


async def test_what_is_decided_is_taken_in_its_order_and_the_end_is_left() -> None:
    refusal = Rejected(Reason.INVALID, "no")
    failed = offered(None)
    future = failed.answers[0][1]
    assert isinstance(future, asyncio.Future)
    future.set_exception(refusal)
    messages = [offered(0), offered(refusal, 1), failed, offered(IN_FORCE - 1, 2)]
    stream = stream_of(*messages, None)
    assert await stream.next() is messages[0]
    assert [stream.next_decided(counts) for _ in range(4)] == [*messages[1:], None]
    assert await stream.next() is None


async def test_nothing_is_waited_for_with_results_in_hand() -> None:
    for waited_for in (offered(0, None), offered(0, IN_FORCE)):
        stream = stream_of(waited_for, offered(1))
        assert stream.next_decided(counts) is None
        assert await stream.next() is waited_for
        assert stream.next_decided(counts) is not None
    assert stream_of().next_decided(counts) is None

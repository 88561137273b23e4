"""Requests, read and parsed inside the guard: when it is known whose they are, and refused there like any bad input.

Left to grpc, a call that takes one request reaches no handler of ours before that has come, so whoever never sends it
holds a call that nobody counts or ends. Its bytes would be parsed there too, also those of a caller who is nobody, and
what is no message would end the call as UNKNOWN, which clients take for "later", with a traceback in the log each time.
An answer that is larger than grpc may send would leave one, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from exchange.codec import malformed
from exchange.errors import Reason, Rejected

Context = grpc.aio.ServicerContext[Any, Any]
Read = Callable[[bytes], Any]

#: What grpc may send and receive as one message.
MAX_MESSAGE_BYTES = 1024 * 1024
#: How long grpc may take to cancel the call of a client that has gone; until then it is like one that has said all.
GONE_S = 0.1


async def first(read: Read, context: Context) -> Any:  # noqa: ANN401 - a message of some method
    """Return the request of a call that is answered at once. Raises `Rejected` (MALFORMED).

    Whether more would follow is not asked: it costs a twentieth of a call, and the answer ends the call in any case.
    """
    data = await context.read()
    if data is grpc.aio.EOF:
        await asyncio.sleep(GONE_S)
        raise malformed("the call ended without a request")
    return _parsed(read, data)


async def only(read: Read, context: Context) -> Any:  # noqa: ANN401
    """Return the request of a call that lives on, once it is its only one. Raises `Rejected` (MALFORMED).

    What followed would lie in memory unread for as long as the stream lives.
    """
    request = await first(read, context)
    if await context.read() is not grpc.aio.EOF:
        raise malformed("this method takes one request, and another one came")
    return request


async def each(read: Read, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """Yield the requests of a stream as they come. Raises `Rejected` (MALFORMED)."""
    async for data in requests:
        yield _parsed(read, data)


def fitting(answer: bytes) -> bytes:
    """Return an answer that grpc may send. Raises `Rejected` (TOO_LARGE)."""
    if len(answer) > MAX_MESSAGE_BYTES:
        raise Rejected(
            Reason.TOO_LARGE,
            f"the answer has {len(answer)} bytes; a message holds at most {MAX_MESSAGE_BYTES}",
            hint="ask for a smaller part; what the directory holds is in its own log, too",
        )
    return answer


def _parsed(read: Read, data: bytes) -> Any:  # noqa: ANN401 - a message of some method
    try:
        return read(data)
    except (DecodeError, ValueError) as error:
        raise malformed("the request is not a message of this method") from error

"""Requests, parsed inside the guard: when it is known whose they are, and refused there like any other bad input.

Left to grpc, a request is parsed before any handler of ours runs, also that of a caller who is nobody; bytes that are
no message then end the call as UNKNOWN, which clients take for "later", with a traceback in the log each time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from exchange.codec import malformed

Read = Callable[[bytes], Any]


def parsing(handler: Any) -> Any:  # noqa: ANN401 - grpc's untyped handler
    """Return a handler's behaviour, such that it takes bytes. Raises `Rejected` (MALFORMED) for those of no message."""
    read: Read = handler.request_deserializer
    behaviour = handler.stream_stream or handler.unary_stream or handler.unary_unary

    def one(data: bytes, context: Any) -> Any:  # noqa: ANN401
        return behaviour(_parsed(read, data), context)

    def many(requests: AsyncIterator[bytes], context: Any) -> Any:  # noqa: ANN401
        return behaviour(_each(read, requests), context)

    return many if handler.request_streaming else one


async def _each(read: Read, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in requests:
        yield _parsed(read, data)


def _parsed(read: Read, data: bytes) -> Any:  # noqa: ANN401 - a message of some method
    try:
        return read(data)
    except (DecodeError, ValueError) as error:
        raise malformed("the request is not a message of this method") from error

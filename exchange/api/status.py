"""The one table from our errors to gRPC statuses, and the one place that aborts a call.

Details follow google.rpc: BadRequest for violations, RetryInfo for "later", ErrorInfo with our stable reason (and the
floor or size of a cursor error). A status stays below 4 kB whatever was wrong.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from exchange.errors import (
    CursorAboveSize,
    CursorBelowFloor,
    ExchangeError,
    InvalidStatement,
    Reason,
    Unavailable,
)
from exchange.v1 import publish_pb2

DOMAIN = "signal-exchange"
_DETAILS_KEY = "grpc-status-details-bin"
_MAX_TEXT = 120
_MAX_MESSAGE = 400
_MAX_VIOLATIONS = 20
#: What fits into a trailer with room to spare: it travels as base64 there.
MAX_STATUS_BYTES = 2_900

STATUS: dict[Reason, grpc.StatusCode] = {
    Reason.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_KIND: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.WRONG_ORIGIN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.BAD_SIGNATURE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.WRONG_KEY: grpc.StatusCode.PERMISSION_DENIED,
    Reason.REPLAY_MISMATCH: grpc.StatusCode.ALREADY_EXISTS,
    Reason.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CLOCK_SKEW: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.ROUTED_ELSEWHERE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_PERMITTED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.CURSOR_BELOW_FLOOR: grpc.StatusCode.OUT_OF_RANGE,
    Reason.CURSOR_ABOVE_SIZE: grpc.StatusCode.OUT_OF_RANGE,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.BAD_PROOF: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.BAD_CHECKPOINT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.OVER_QUOTA: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.STALLED: grpc.StatusCode.UNAVAILABLE,
    Reason.CONFLICT: grpc.StatusCode.ABORTED,
    Reason.CONFIG: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CORRUPT: grpc.StatusCode.DATA_LOSS,
    Reason.ROLLED_BACK: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
}

_CODES: dict[grpc.StatusCode, int] = {code: code_pb2.Code.Value(code.name) for code in set(STATUS.values())}


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _details(error: ExchangeError, limit: int) -> list[Message]:
    metadata: dict[str, str] = {}
    details: list[Message] = []
    match error:
        case InvalidStatement():
            violations = [
                error_details_pb2.BadRequest.FieldViolation(
                    field=_clip(v.field, limit), description=_clip(v.description, limit)
                )
                for v in error.violations[:_MAX_VIOLATIONS]
            ]
            details.append(error_details_pb2.BadRequest(field_violations=violations))
            metadata["violations_total"] = str(error.total)
        case Unavailable():
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(error.retry_after_ms)
            details.append(retry)
        case CursorBelowFloor():
            metadata["floor"] = str(error.floor)
        case CursorAboveSize():
            metadata["sealed_size"] = str(error.sealed_size)
        case _:
            pass
    if error.hint:
        metadata["hint"] = _clip(error.hint, _MAX_MESSAGE)
    details.append(error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=metadata))
    return details


def status_of(error: ExchangeError) -> status_pb2.Status:
    """Return the rich status of an error."""
    for limit in (_MAX_TEXT, _MAX_TEXT // 2):
        status = _status(error, limit)
        if status.ByteSize() <= MAX_STATUS_BYTES:
            return status
    return _status(error, _MAX_TEXT // 4)


def _status(error: ExchangeError, limit: int) -> status_pb2.Status:
    status = status_pb2.Status(code=_CODES[STATUS[error.reason]], message=_clip(error.message, _MAX_MESSAGE))
    for detail in _details(error, limit):
        status.details.add().Pack(detail)
    return status


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: ExchangeError) -> None:
    """End the call with the error's status. Always raises."""
    status = status_of(error)
    trailer = ((_DETAILS_KEY, status.SerializeToString()),)
    await context.abort(STATUS[error.reason], status.message, trailing_metadata=trailer)


def rejection(error: ExchangeError) -> publish_pb2.Rejection:
    """Return an error as the in-band answer of a publish stream."""
    answer = publish_pb2.Rejection(
        reason=error.reason.value, message=_clip(error.message, _MAX_MESSAGE), hint=_clip(error.hint, _MAX_MESSAGE)
    )
    if isinstance(error, InvalidStatement):
        answer.violations_total = error.total
        for violation in error.violations[:_MAX_VIOLATIONS]:
            answer.violations.add(
                field=_clip(violation.field, _MAX_TEXT), description=_clip(violation.description, _MAX_TEXT)
            )
    if isinstance(error, Unavailable):
        answer.retry_after_ms = error.retry_after_ms
    return answer

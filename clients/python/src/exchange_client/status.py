"""From a gRPC failure back to the error that the hub raised: the mirror of its table of statuses."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from exchange.errors import (
    CursorAboveSize,
    CursorBelowFloor,
    Denied,
    ExchangeError,
    InvalidStatement,
    OverQuota,
    Reason,
    Rejected,
    Unauthenticated,
    Unavailable,
    VerificationFailed,
    Violation,
)

_DETAILS_KEY = "grpc-status-details-bin"
_REASONS = {reason.value: reason for reason in Reason}
_VERIFICATION = {
    Reason.BAD_SIGNATURE,
    Reason.WRONG_KEY,
    Reason.REPLAY_MISMATCH,
    Reason.BAD_PROOF,
    Reason.BAD_CHECKPOINT,
}
_MAX_DIGITS = 20
_LATER_REASONS = {Reason.UNAVAILABLE, Reason.DRAINING, Reason.STALLED, Reason.CONFLICT}
#: What a hub's own log is, until its operator has mended it. Nothing is wrong with what was asked: ask again.
_BROKEN = {Reason.CORRUPT, Reason.ROLLED_BACK}
BROKEN_MS = 5_000
_HANDSHAKE_HINT = (
    "the hub may be down, or the TLS handshake failed: `exchange doctor --client` tells which. A hub wants TLS 1.3, a "
    "client certificate of an authority it knows, and an address that is in its own certificate"
)
_TLS_HINT = (
    "the TLS handshake failed: is this the hub's `authority`, is `certificate` in date and of an authority the hub "
    "knows, is the address (or `server_name`) in the hub's certificate, and does everything on the way speak TLS 1.3?"
)
_TLS_WORDS = ("handshake", "certificate", "verification", "ssl", "tls")
#: What gRPC itself says of a message or of metadata that is over the limit.
_SIZE_WORDS = ("larger than max", "metadata size", "metadata too large")
#: What a bare status means, where no error of ours came with it.
_BARE = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.TOO_LARGE,
    grpc.StatusCode.NOT_FOUND: Reason.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED: Reason.UNIMPLEMENTED,
}
_OLDER_HUB_HINT = (
    "the hub is of an older release than this client, or the address is not a hub's: hubs are upgraded before clients "
    "(docs/upgrade.md)"
)
_LATER = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}


def error_of(
    reason_word: str,
    message: str,
    *,
    violations: tuple[Violation, ...] = (),
    total: int = 0,
    retry_after_ms: int = 0,
    hint: str = "",
    metadata: Mapping[str, str] | None = None,
) -> ExchangeError | None:
    """Return the error for a reason of the hub's; None for one this release does not know, unless it may pass."""
    reason = _REASONS.get(reason_word)
    found = metadata or {}
    if reason is None:
        # A later hub may have more reasons to put us off: to drop what was only put off would lose it.
        return Unavailable(message, retry_after_ms=retry_after_ms, hint=hint) if retry_after_ms > 0 else None
    if reason is Reason.CURSOR_BELOW_FLOOR:
        return CursorBelowFloor(_number(found, "floor"))
    if reason is Reason.CURSOR_ABOVE_SIZE:
        return CursorAboveSize(_number(found, "sealed_size"))
    if violations:
        return InvalidStatement(violations, total=total or len(violations), reason=reason, hint=hint)
    if reason is Reason.OVER_QUOTA:
        return OverQuota(message, retry_after_ms=retry_after_ms)
    if reason in _BROKEN:
        return Unavailable(message, retry_after_ms=BROKEN_MS, reason=reason, hint=hint)
    if reason in _LATER_REASONS:
        return Unavailable(message, retry_after_ms=retry_after_ms or 1_000, reason=reason, hint=hint)
    return _plain(reason, message, hint)


def _number(metadata: Mapping[str, str], key: str) -> int:
    """Return a number that the hub states; 0 for anything that is none."""
    text = metadata.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS else 0


def _plain(reason: Reason, message: str, hint: str) -> ExchangeError:
    if reason is Reason.NOT_PERMITTED:
        return Denied(message, hint=hint)
    if reason is Reason.UNAUTHENTICATED:
        return Unauthenticated(message, hint=hint)
    kind = VerificationFailed if reason in _VERIFICATION else Rejected
    return kind(reason, message, hint=hint)


def from_rpc(error: grpc.aio.AioRpcError) -> ExchangeError:
    """Return our error for a failed call. What the hub did not explain is `Unavailable` or `Rejected` by its code."""
    explained = _explained(error)
    if explained is not None:
        return explained
    message = f"{error.code().name.lower()}: {error.details() or 'no details'}"
    full = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and not any(word in message for word in _SIZE_WORDS)
    if error.code() in _LATER or full:
        return Unavailable(message, retry_after_ms=0, hint=_hint(error))
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(message, hint=_HANDSHAKE_HINT)
    if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        return Denied(message)
    return Rejected(_BARE.get(error.code(), Reason.INVALID), message, hint=_hint(error))


def _hint(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return _OLDER_HUB_HINT
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return ""
    words = (error.details() or "").lower()
    return (
        _TLS_HINT
        if any(word in words for word in ("handshake", "certificate", "verification", "ssl", "tls"))
        else _HANDSHAKE_HINT
    )


def _explained(error: grpc.aio.AioRpcError) -> ExchangeError | None:
    data = next((value for key, value in error.trailing_metadata() or () if key == _DETAILS_KEY), None)
    if not isinstance(data, bytes):
        return None
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    try:
        status = status_pb2.Status.FromString(data)
        for detail in status.details:
            for wanted in (info, bad, retry):
                if detail.Is(wanted.DESCRIPTOR):
                    detail.Unpack(wanted)
    except DecodeError:
        return None
    return error_of(
        info.reason,
        status.message,
        violations=tuple(Violation(v.field, v.description) for v in bad.field_violations),
        total=_number(info.metadata, "violations_total"),
        retry_after_ms=retry.retry_delay.ToMilliseconds(),
        hint=info.metadata.get("hint", ""),
        metadata=info.metadata,
    )

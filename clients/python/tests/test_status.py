"""What the hub's statuses become here: each of our errors comes back as itself, and nothing else gets through."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.api import status
from exchange.errors import (
    CursorAboveSize,
    CursorBelowFloor,
    Denied,
    ExchangeError,
    Fatal,
    InvalidStatement,
    OverQuota,
    Reason,
    Rejected,
    Unauthenticated,
    Unavailable,
    VerificationFailed,
    Violation,
)
from exchange_client.status import BROKEN_MS, error_of, from_rpc

KEY = "grpc-status-details-bin"


def failure(code: grpc.StatusCode, details: bytes | None = None, text: str = "text") -> grpc.aio.AioRpcError:
    trailer = grpc.aio.Metadata((KEY, details)) if details is not None else grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailer, details=text)


def over_the_wire(error: ExchangeError) -> ExchangeError:
    return from_rpc(failure(status.STATUS[error.reason], status.status_of(error).SerializeToString(), error.message))


ERRORS: list[ExchangeError] = [
    InvalidStatement((Violation("a", "b"), Violation("c", "d")), total=40, reason=Reason.CLOCK_SKEW, hint="see"),
    CursorBelowFloor(17),
    CursorAboveSize(2**40),
    OverQuota("slow", retry_after_ms=1500),
    Unavailable("soon", retry_after_ms=2500, reason=Reason.DRAINING, hint="elsewhere"),
    Denied("no", hint="ask"),
    Unauthenticated("who?"),
    VerificationFailed(Reason.BAD_SIGNATURE, "bad"),
    Rejected(Reason.ROUTED_ELSEWHERE, "not here", hint="there"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_as_itself(error: ExchangeError) -> None:
    back = over_the_wire(error)
    assert type(back) is type(error)
    assert (back.reason, back.message) == (error.reason, error.message)
    for name in ("floor", "sealed_size", "retry_after_ms", "violations", "total"):
        assert getattr(back, name, None) == getattr(error, name, None)
    if not isinstance(error, CursorAboveSize | CursorBelowFloor):
        assert back.hint == error.hint


@pytest.mark.parametrize("reason", [Reason.CORRUPT, Reason.ROLLED_BACK])
def test_a_hub_whose_log_is_broken_is_asked_again(reason: Reason) -> None:
    """What was sent is not at fault, and the operator mends the log: nothing may be thrown away for it."""
    back = over_the_wire(Fatal("broken", reason=reason, hint="see"))
    assert isinstance(back, Unavailable)
    assert back.retry_after_ms == BROKEN_MS
    assert (back.reason, back.message, back.hint) == (reason, "broken", "see")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_comes_back(reason: Reason) -> None:
    back = over_the_wire(Rejected(reason, "text"))
    assert back.reason is reason


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_a_bare_status_becomes_an_error_of_ours(code: grpc.StatusCode) -> None:
    error = from_rpc(failure(code))
    assert isinstance(error, Rejected | Unavailable)
    assert isinstance(error, Unauthenticated) == (code is grpc.StatusCode.UNAUTHENTICATED)
    assert isinstance(error, Denied) == (code is grpc.StatusCode.PERMISSION_DENIED)


def test_a_failed_handshake_explains_itself() -> None:
    for text in ("Tls handshake failed (TSI_PROTOCOL_FAILURE)", "Hostname Verification Check failed."):
        error = from_rpc(failure(grpc.StatusCode.UNAVAILABLE, text=text))
        assert "certificate" in error.hint
        assert "TLS 1.3" in error.hint
    assert "handshake" in from_rpc(failure(grpc.StatusCode.UNAVAILABLE, text="Connection refused")).hint


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from(list(grpc.StatusCode)))
def test_any_details_at_all_become_an_error_of_ours(data: bytes, code: grpc.StatusCode) -> None:
    assert isinstance(from_rpc(failure(code, data)), ExchangeError)


@settings(deadline=None)
@given(
    st.sampled_from([*Reason, "unheard of", ""]),
    st.dictionaries(st.sampled_from(["floor", "sealed_size", "violations_total", "hint"]), st.text(max_size=30)),
    st.integers(-(2**40), 2**40),
)
def test_hostile_details_become_an_error_of_ours(reason: str, metadata: dict[str, str], seconds: int) -> None:
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=str(reason), metadata=metadata)]
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = seconds
    packed = []
    for detail in (*details, retry):
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    broken = any_pb2.Any(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff")
    for more in ([], [broken]):
        data = status_pb2.Status(code=14, message="m", details=[*packed, *more]).SerializeToString()
        assert isinstance(from_rpc(failure(grpc.StatusCode.UNAVAILABLE, data)), ExchangeError)


def test_a_reason_of_a_later_release_is_not_guessed() -> None:
    assert error_of("unheard of", "text") is None


def test_what_a_later_hub_puts_off_is_put_off_whatever_it_calls_that() -> None:
    error = error_of("unheard_of", "text", retry_after_ms=1_500, hint="wait")
    assert isinstance(error, Unavailable)
    assert (error.message, error.retry_after_ms, error.hint) == ("text", 1_500, "wait")


def test_a_call_that_an_older_hub_does_not_know_is_told_as_that() -> None:
    error = from_rpc(failure(grpc.StatusCode.UNIMPLEMENTED, text="Method not found!"))
    assert isinstance(error, Rejected)
    assert error.reason is Reason.UNIMPLEMENTED
    assert "older release" in error.hint

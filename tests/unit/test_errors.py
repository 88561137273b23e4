"""Every reason has its status, and a status fits into a trailer whatever was wrong."""

from __future__ import annotations

import pickle

import grpc
import pytest
from google.rpc import error_details_pb2

from exchange import codec
from exchange.api.status import DOMAIN, STATUS, rejection, status_of
from exchange.domain.validation import MAX_REPORTED, validate
from exchange.errors import (
    Conflict,
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
from tests.unit.builders import RULES, pdq_record, signal_statement

LIMIT = 4096
ERRORS: tuple[ExchangeError, ...] = (
    Rejected(Reason.MALFORMED, "no"),
    InvalidStatement((Violation("label", "is mandatory"),)),
    VerificationFailed(Reason.BAD_PROOF, "no"),
    Denied("no", hint="ask"),
    Unauthenticated("who?"),
    CursorBelowFloor(7),
    CursorAboveSize(9),
    Unavailable("later", retry_after_ms=1_500),
    OverQuota("later", retry_after_ms=60_001),
    Conflict("again"),
    Fatal("never"),
)


def test_every_reason_has_its_status() -> None:
    assert set(STATUS) == set(Reason)
    assert grpc.StatusCode.OK not in STATUS.values()
    assert grpc.StatusCode.UNKNOWN not in STATUS.values()


def info_of(error: ExchangeError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status_of(error).details[-1].Unpack(info)
    return info


@pytest.mark.parametrize("reason", Reason)
def test_a_status_names_the_reason(reason: Reason) -> None:
    error = ExchangeError(reason, "what happened", hint="what to do")
    status = status_of(error)
    assert (status.code, status.message) == (STATUS[reason].value[0], "what happened")
    info = info_of(error)
    assert (info.reason, info.domain, dict(info.metadata)) == (reason.value, DOMAIN, {"hint": "what to do"})
    assert (rejection(error).reason, rejection(error).hint) == (reason.value, "what to do")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_is_ours_alone_is_not_the_callers_fault(error: ExchangeError) -> None:
    """INVALID_ARGUMENT and its kin stop a client from trying again; nothing that may pass later has them."""
    code = STATUS[error.reason]
    final = {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
    }
    assert (code in final) == isinstance(error, Rejected)


def test_details_carry_what_a_program_needs() -> None:
    assert info_of(CursorBelowFloor(7)).metadata["floor"] == "7"
    assert info_of(CursorAboveSize(9)).metadata["sealed_size"] == "9"
    for error, ms in ((ERRORS[7], 1_500), (ERRORS[8], 60_001)):
        retry = error_details_pb2.RetryInfo()
        assert status_of(error).details[0].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == ms
        assert rejection(error).retry_after_ms == ms


def test_a_thousand_real_violations_fit() -> None:
    records = [pdq_record(str(n), case_ref="é" * 100, quality=999_999, indicators=()) for n in range(1000)]
    said = signal_statement(records=records, indicator_types=(1,))
    with pytest.raises(InvalidStatement) as caught:
        validate(said.header, said.statement.records, codec.decode_strict_records, b"", (), RULES)
    error = caught.value
    assert error.total == 3_000
    status = status_of(error)
    assert len(status.SerializeToString()) < LIMIT
    bad = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [
        (v.field, v.description) for v in error.violations
    ]
    assert len(bad.field_violations) == MAX_REPORTED
    assert info_of(error).metadata["violations_total"] == "3000"
    answer = rejection(error)
    assert (answer.violations_total, len(answer.violations)) == (3_000, MAX_REPORTED)


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
def test_a_status_stays_small_whatever_is_said(letter: str) -> None:
    error = Rejected(Reason.MALFORMED, letter * 10_000, hint=letter * 10_000)
    assert len(status_of(error).SerializeToString()) < LIMIT


@pytest.mark.parametrize("count", [20, 100])
def test_a_status_stays_small_whatever_is_violated(count: int) -> None:
    violations = tuple(Violation(f"records[{n}].{'x' * 200}", "y" * 200) for n in range(count))
    assert len(status_of(InvalidStatement(violations)).SerializeToString()) < LIMIT


def test_what_a_person_reads() -> None:
    assert Denied("no", hint="ask").diagnostics() == "no\nask"
    assert Denied("no").diagnostics() == "no"
    many = InvalidStatement((Violation("a", "b"), Violation("c", "d")), total=40)
    assert many.message == "a: b (and 39 more)"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_crosses_to_another_process_whole(error: ExchangeError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.args, again.__dict__) == (error.args, error.__dict__)

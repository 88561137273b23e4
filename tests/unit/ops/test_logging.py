"""Logs: one JSON object a line, and no identifier gets through, however it is tried."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from exchange.ops.logging import REDACTED, configure, is_forbidden, redact, scrub

SECRETS = ("bob@example.org", "+44 7700 900123", "07700900123", "https://social.example/bob", "@bob_smith")


class Refusal(StrEnum):
    INVALID = "invalid"


class OurError(Exception):
    reason = Refusal.INVALID


@dataclass
class Indicator:
    value: str


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _started(*, console: bool = False, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(stream=stream, console=console, level=level)
    return stream


def _line(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    decoded: dict[str, Any] = json.loads(line)
    return decoded


def _redacted(**fields: Any) -> dict[str, Any]:
    return dict(redact(None, "info", {"event": "tried", **fields}))


def test_a_line_is_one_json_object() -> None:
    stream = _started()
    structlog.get_logger().info("group_sealed", origin="example/abuse", size=12, ok=True, at=None)
    line = _line(stream)
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is not None
    assert line == {
        "event": "group_sealed",
        "level": "info",
        "origin": "example/abuse",
        "size": 12,
        "ok": True,
        "at": None,
    }


def test_levels_and_context_fields() -> None:
    stream = _started(level="warning")
    structlog.get_logger().info("not_shown")
    with structlog.contextvars.bound_contextvars(member="acme"):
        structlog.get_logger().warning("shown")
    assert _line(stream)["member"] == "acme"


def test_a_terminal_gets_text() -> None:
    stream = _started(console=True)
    structlog.get_logger().info("group_sealed", size=12, email=SECRETS[0])
    assert "group_sealed" in stream.getvalue()
    assert "size=12" in stream.getvalue()
    assert SECRETS[0] not in stream.getvalue()


@pytest.mark.parametrize(
    "name",
    ["value", "indicator", "indicators", "record", "records", "salt", "case_ref", "caseRef", "email", "reporter_email",
     "phone", "phoneNumber", "handle", "profile_url", "pseudonym", "payload", "private_key", "token", "pdq_hash"],
)  # fmt: skip
def test_forbidden_names(name: str) -> None:
    assert is_forbidden(name)
    assert _redacted(**{name: "bob"})[name] == REDACTED
    assert _redacted(outer=[{name: "bob"}])["outer"] == [{name: REDACTED}]


@pytest.mark.parametrize(
    "name", ["origin", "member", "statement_id", "signal_id", "leaf_hash", "key_id", "size", "reason"]
)
def test_names_that_operators_need(name: str) -> None:
    assert not is_forbidden(name)
    assert _redacted(**{name: "3a" * 32})[name] == "3a" * 32


def test_counts_may_stay_but_only_as_numbers() -> None:
    assert _redacted(record_count=3, payload_bytes=70) == {"event": "tried", "record_count": 3, "payload_bytes": 70}
    assert _redacted(record_count="bob")["record_count"] == REDACTED


@pytest.mark.parametrize("secret", SECRETS)
def test_identifiers_in_text_are_cut_out(secret: str) -> None:
    assert secret not in json.dumps(_redacted(note=f"saw {secret} twice", deep=[{"a": (secret,)}], k={secret: 1}))
    assert secret not in str(redact(None, "info", {"event": f"looked up {secret}"})["event"])


def test_harmless_text_is_left_alone() -> None:
    for text in ("2026-11-23T12:30:00Z", "ipv4:127.0.0.1:54321", "http://127.0.0.1:9100", "spiffe://example/member/acme/x",
                 "1.85.1", "/var/lib/exchange/log.db", "example/abuse", "2026-01-05 10:00:00"):  # fmt: skip
        assert scrub(text) == text


def test_bytes_and_objects_are_never_shown() -> None:
    shown = _redacted(digest=b"bob", thing=Indicator("bob"), path=Path("/a/b"), when=datetime(2026, 1, 1, tzinfo=UTC))
    assert shown["digest"] == "<3 bytes>"
    assert shown["thing"] == "<Indicator>"
    assert shown["path"] == "/a/b"
    assert shown["when"] == "2026-01-01T00:00:00+00:00"


def test_long_hexadecimal_in_an_event_is_cut_out() -> None:
    assert "3a3a" not in str(redact(None, "info", {"event": f"no match for {'3a' * 32}"})["event"])


@pytest.mark.parametrize("console", [False, True])
def test_an_exception_shows_where_but_not_what(*, console: bool) -> None:
    stream = _started(console=console)

    def fail(handle: str) -> None:
        raise ValueError(f"cannot parse {handle}")

    try:
        fail("bob_the_user")
    except ValueError:
        structlog.get_logger().exception("parse_failed")
    assert "bob_the_user" not in stream.getvalue()
    assert "ValueError" in stream.getvalue()
    assert "test_logging.py" in stream.getvalue()


def test_our_own_exceptions_keep_their_message_and_causes_are_followed() -> None:
    stream = _started()
    try:
        try:
            raise KeyError("bob_the_user")
        except KeyError as error:
            raise OurError("records[3].salt: must be 16 bytes, says bob@example.org") from error
    except OurError:
        structlog.get_logger().exception("refused")
    raised = _line(stream)["raised"]
    assert raised["reason"] == "invalid"
    assert raised["message"] == f"records[3].salt: must be 16 bytes, says {REDACTED}"
    assert raised["cause"]["type"] == "KeyError"
    assert "bob" not in stream.getvalue()


def test_operating_system_errors_and_groups_are_described() -> None:
    group = ExceptionGroup("bob_the_user", [OSError(28, "No space left on device", "bob_the_user"), ValueError("bob")])
    shown = _redacted(error=group)["error"]
    assert [part.get("message") for part in shown["parts"]] == ["No space left on device", None]
    assert "bob" not in json.dumps(shown)


def test_lines_of_libraries_take_the_same_path() -> None:
    stream = _started()
    logging.getLogger("asyncio").error("Task failed for %s\nfuture: <Task exception=ValueError('bob')>", SECRETS[0])
    line = _line(stream)
    assert line["event"] == f"Task failed for {REDACTED}"
    assert line["level"] == "error"


@given(
    st.recursive(
        st.sampled_from([*SECRETS, b"bob_the_user", Indicator("bob_the_user"), 5, None]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "value"]), inner, max_size=2),
        max_leaves=8,
    )
)
def test_no_nesting_gets_through(item: object) -> None:
    shown = json.dumps(_redacted(item=item))
    assert not any(secret in shown for secret in (*SECRETS, "bob_the_user"))

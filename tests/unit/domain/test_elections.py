"""Elections that signals may name: each rule, broken once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exchange.domain.bodies import Election, TargetClass
from exchange.domain.elections import ElectionFacts, check_election, check_naming
from exchange.domain.validation import DAY_MS, Findings
from exchange.errors import InvalidStatement
from tests.unit.builders import NOW_MS, digest, signal_body

VOTE = Election(
    "uk-general-2029",
    "UK general election 2029",
    NOW_MS,
    NOW_MS + 30 * DAY_MS,
    (TargetClass.CANDIDATE, TargetClass.OFFICIAL),
    60_000,
    600_000,
    14,
)
FACTS = ElectionFacts(digest("vote"), 3, VOTE)


def refusal(known: tuple[ElectionFacts, ...] = (), **changes: Any) -> str:
    findings = Findings()
    check_election(findings, replace(VOTE, **changes), known, now_ms=NOW_MS)
    with pytest.raises(InvalidStatement) as caught:
        findings.raise_if_any()
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"name": "No Name"}, "election.name: must be like a member id"),
        ({"title": ""}, "election.title"),
        ({"title": "x" * 101}, "election.title"),
        ({"title": "two\nlines"}, "election.title"),
        ({"begins_ms": 0}, "must lie behind begins_ms"),
        ({"polling_ends_ms": NOW_MS}, "must lie behind begins_ms"),
        ({"begins_ms": NOW_MS - 9, "polling_ends_ms": NOW_MS - 1}, "lies in the past"),
        ({"polling_ends_ms": NOW_MS + 401 * DAY_MS}, "is over 400 days"),
        (
            {"begins_ms": NOW_MS + 3_660 * DAY_MS, "polling_ends_ms": NOW_MS + 3_661 * DAY_MS},
            "polling_ends_ms: is over 3,660 days ahead",
        ),
        ({"begins_ms": (1 << 63) - 2, "polling_ends_ms": (1 << 63) - 1}, "polling_ends_ms: is over 3,660 days ahead"),
        ({"target_classes": ()}, "election.target_classes"),
        ({"target_classes": (2, 1)}, "election.target_classes"),
        ({"target_classes": (99,)}, "election.target_classes"),
        ({"lag_target_ms": 0}, "election.lag_alert_ms"),
        ({"lag_alert_ms": 59_999}, "election.lag_alert_ms"),
        ({"lag_alert_ms": 1 << 63}, "is over 400 days"),
        ({"keep_days": 0}, "election.keep_days"),
        ({"keep_days": 366}, "election.keep_days"),
    ],
)
def test_what_is_no_election(changes: dict[str, Any], what: str) -> None:
    assert what in refusal(**changes)


def test_a_name_is_given_once() -> None:
    findings = Findings()
    check_election(findings, VOTE, (), now_ms=NOW_MS)
    findings.raise_if_any()
    assert "there is already" in refusal((FACTS,))


def naming(facts: ElectionFacts | None, *, now_ms: int = NOW_MS, **changes: Any) -> str:
    findings = Findings()
    check_naming(findings, signal_body(election=FACTS.id, **changes), facts, now_ms=now_ms)
    return "; ".join(f"{each.field} {each.description}" for each in findings.violations)


def test_a_signal_names_an_election_that_runs_and_is_over_with_it() -> None:
    last_ms = VOTE.polling_ends_ms + 14 * DAY_MS
    assert FACTS.over_at_ms == last_ms
    assert naming(FACTS, expires_at_ms=last_ms, target_class=TargetClass.CANDIDATE) == ""
    assert "names no election" in naming(None)
    assert "has not begun" in naming(FACTS, now_ms=NOW_MS - 1)
    assert "is over" in naming(FACTS, now_ms=last_ms)
    assert "14 days after the polling" in naming(FACTS, expires_at_ms=last_ms + 1)
    assert "none that this election is about" in naming(FACTS, target_class=TargetClass.STAFF)

"""Elections that signals may name: what one is, how long what names it may live, and a pure fold of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from exchange.domain.bodies import Election, SignalHeader, TargetClass
from exchange.domain.identifiers import is_name
from exchange.domain.validation import DAY_MS, Findings

MAX_TITLE_CHARACTERS = 100
#: From the beginning of an election's window to the end of polling, at most.
MAX_WINDOW_DAYS = 400
MAX_KEEP_DAYS = 365
#: The end of polling lies no further ahead: a time that no calendar has would break whoever reads it, for ever.
MAX_AHEAD_DAYS = 3_660
#: In one community, for ever: a fold holds them all.
MAX_ELECTIONS = 1_000
_CLASSES = frozenset(word.value for word in TargetClass)


@dataclass(frozen=True, slots=True)
class ElectionFacts:
    """An election as the log has it."""

    #: Of its statement: what signals name it by.
    id: bytes
    #: Index of its statement.
    index: int
    election: Election

    @property
    def over_at_ms(self) -> int:
        """When the last signal that names it is over."""
        return self.election.polling_ends_ms + self.election.keep_days * DAY_MS


class Elections:
    """The folded state. Read it freely between calls of `apply`; only `apply` writes."""

    def __init__(self) -> None:
        self.entries: dict[bytes, ElectionFacts] = {}

    def apply(self, index: int, statement_id: bytes, body: Election) -> None:
        """Take the next election and its place in the log. Of two with one name the first counts."""
        if all(each.election.name != body.name for each in self.entries.values()):
            self.entries[statement_id] = ElectionFacts(statement_id, index, body)


def check_election(findings: Findings, body: Election, known: Collection[ElectionFacts], *, now_ms: int) -> None:
    """Check an election against those that there are."""
    findings.check(is_name(body.name), "election.name", "must be like a member id: a-z, 0-9, dot, hyphen")
    taken = any(each.election.name == body.name for each in known)
    findings.check(not taken, "election.name", "is that of an election that there is already")
    findings.check(len(known) < MAX_ELECTIONS, "election", f"is the {MAX_ELECTIONS + 1:,}th of this community")
    right = 0 < len(body.title) <= MAX_TITLE_CHARACTERS and body.title.isprintable()
    findings.check(right, "election.title", f"must be 1 to {MAX_TITLE_CHARACTERS} printable characters")
    findings.check(0 < body.begins_ms < body.polling_ends_ms, "election.polling_ends_ms", "must lie behind begins_ms")
    findings.check(body.polling_ends_ms > now_ms, "election.polling_ends_ms", "lies in the past")
    latest_ms = now_ms + MAX_AHEAD_DAYS * DAY_MS
    ahead = f"is over {MAX_AHEAD_DAYS:,} days ahead"
    findings.check(body.polling_ends_ms <= latest_ms, "election.polling_ends_ms", ahead)
    longest_ms = MAX_WINDOW_DAYS * DAY_MS
    findings.check(
        body.polling_ends_ms - body.begins_ms <= longest_ms,
        "election.polling_ends_ms",
        f"is over {MAX_WINDOW_DAYS} days from begins_ms",
    )
    classes = body.target_classes
    findings.check(
        bool(classes) and list(classes) == sorted(set(classes)) and _CLASSES.issuperset(classes),
        "election.target_classes",
        "must be a sorted set of known ones, not empty",
    )
    in_order = 0 < body.lag_target_ms <= body.lag_alert_ms
    findings.check(in_order, "election.lag_alert_ms", "must not lie below the target, nor that at 0")
    findings.check(body.lag_alert_ms <= longest_ms, "election.lag_alert_ms", f"is over {MAX_WINDOW_DAYS} days")
    findings.check(0 < body.keep_days <= MAX_KEEP_DAYS, "election.keep_days", f"must be 1 to {MAX_KEEP_DAYS}")


def check_naming(findings: Findings, body: SignalHeader, facts: ElectionFacts | None, *, now_ms: int) -> None:
    """Check a signal that names an election against it; None where there is none of that id."""
    if facts is None:
        findings.add("signal.election", "names no election of this community")
        return
    election = facts.election
    running = election.begins_ms <= now_ms < facts.over_at_ms
    findings.check(running, "signal.election", "names an election that has not begun, or is over")
    findings.check(
        body.expires_at_ms <= facts.over_at_ms,
        "signal.expires_at_ms",
        f"lies behind {election.keep_days} days after the polling of the election that it names",
    )
    about = not body.target_class or body.target_class in election.target_classes
    findings.check(about, "signal.target_class", "is none that this election is about")

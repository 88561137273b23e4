"""Who is flagged by itself: a burst beside what the member usually says, and a share of disputed signals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange.domain.alarms import Alarm, AlarmLimits, BurstWatch, is_disputed
from exchange.domain.bodies import Opinion, OpinionCategory, OpinionReason, QuarantineReason
from exchange.domain.statement import Header
from tests.unit.builders import ALPHA, BETA, NOW_MS, community_header, digest, signal_body

LIMITS = AlarmLimits(burst_signals=100, burst_minutes=10, burst_factor=5)
MINUTE_MS = 60_000


def said(count: int, by: str = "alpha") -> Header:
    """Return the header of a statement of so many signals."""
    plain = community_header(signal_body(), ALPHA)
    return replace(plain, publisher=by, signal_ids=tuple(digest(str(n)) for n in range(count)))


class Log:
    """Entries as a watch sees them."""

    def __init__(self, limits: AlarmLimits = LIMITS) -> None:
        self.watch = BurstWatch(limits)
        self.size = 0

    def tell(self, count: int, minute: int, by: str = "alpha") -> list[Alarm]:
        self.size += 1
        return list(self.watch.look(self.size - 1, said(count, by), NOW_MS + minute * MINUTE_MS))


def test_a_burst_of_somebody_new_is_flagged_from_its_first_entry_on() -> None:
    log = Log()
    assert log.tell(1, 0) == []
    assert log.tell(60, 20) == []
    assert log.tell(40, 25) == [Alarm("alpha", 1, QuarantineReason.BURST)]


def test_what_lies_in_another_window_is_no_burst() -> None:
    log = Log()
    assert log.tell(60, 0) == []
    assert log.tell(60, 10) == []


def test_members_are_looked_at_apart() -> None:
    log = Log()
    assert log.tell(60, 0, "alpha") == []
    assert log.tell(60, 0, "beta") == []
    assert log.tell(40, 0, "beta") == [Alarm("beta", 1, QuarantineReason.BURST)]


def test_who_always_says_much_is_not_flagged_for_it_and_is_for_far_more() -> None:
    log = Log()
    for minute in range(3 * 24 * 60):  # three days of fifteen a minute, slowly begun
        alarms = log.tell(min(15, 1 + minute // 60), minute)
        assert alarms == [], minute
    assert log.tell(2_000, 3 * 24 * 60) != []


def test_what_was_usual_before_is_known_and_backfill_is_no_burst() -> None:
    log = Log()
    log.watch.usual({"alpha": 30.0}, NOW_MS)  # three hundred in ten minutes
    assert log.tell(1_000, 1) == []
    assert log.tell(600, 2) != []
    header = replace(said(1_000), body=signal_body(backfill=True))
    assert list(Log().watch.look(0, header, NOW_MS)) == []


def test_after_a_release_it_begins_anew() -> None:
    log = Log()
    assert log.tell(200, 0) != []
    log.watch.forget("alpha")
    log.watch.forget("nobody")
    assert log.tell(1, 1) == []


def test_only_signals_count_and_no_limit_is_no_rule() -> None:
    watch = BurstWatch(replace(LIMITS, burst_signals=1))
    opinion = Opinion((digest("x"),), OpinionCategory.NEGATIVE_CLASS, OpinionReason.REVIEWED)
    assert list(watch.look(0, community_header(opinion, BETA), NOW_MS)) == []
    assert Log(replace(LIMITS, burst_signals=0)).tell(1_000, 0) == []


@pytest.mark.parametrize(
    ("disputed", "signals", "flagged"), [(19, 20, False), (20, 200, True), (20, 201, False), (1_000, 1_000, True)]
)
def test_a_share_of_disputed_signals(disputed: int, signals: int, *, flagged: bool) -> None:
    assert is_disputed(AlarmLimits(), disputed, signals) is flagged
    assert not is_disputed(AlarmLimits(disputed_percent=0), disputed, signals)

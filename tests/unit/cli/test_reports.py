"""What `exchange lag` and `exchange debts` print of what a hub tells."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from exchange.cli import reports
from exchange.cli.election import one_of
from exchange.domain.bodies import DispositionState, Election, RetractionReason
from exchange.domain.elections import ElectionFacts
from exchange.domain.labels import Label
from exchange.domain.lag import Stage
from exchange.errors import Rejected
from exchange_client.reports import ClockRow, Debt, LagReport, LagRow


@pytest.mark.parametrize(
    ("at_most_ms", "text"),
    [(None, "-"), (1, "1 ms"), (512, "512 ms"), (1_024, "1 s"), (2_048, "2 s"), (16_384, "16 s"), (131_072, "2.2 min"),
     (8_388_608, "2.3 h"), (1 << 30, "12 d")],
)  # fmt: skip
def test_bounds_are_told_in_the_unit_that_fits(at_most_ms: int | None, text: str) -> None:
    assert reports._duration(at_most_ms) == text


def test_lag_has_quantiles_and_bars_by_pair() -> None:
    row = LagRow(Stage.MIGRATION, "alpha", "beta", Label.MISLEADING_SCAM, (0, 0, 90, 0, 10))
    head, titles, line, *bars = reports._lag_lines([row])
    assert head == "MIGRATION"
    assert titles.split() == ["publisher", "receiver", "label", "count", "p50", "p95", "p99"]
    assert line.split() == ["alpha", "beta", "misleading_scam", "100", "<4", "ms", "<16", "ms", "<16", "ms"]
    assert [bar.split() for bar in bars] == [
        ["<4", "ms", "#" * 30, "90"],
        ["<8", "ms", "0"],
        ["<16", "ms", "####", "10"],
    ]
    assert reports._lag_json(row) == {
        "stage": "migration",
        "publisher": "alpha",
        "receiver": "beta",
        "label": "misleading_scam",
        "count": 100,
        "p50_ms": 4,
        "p95_ms": 16,
        "p99_ms": 16,
        "counts": [0, 0, 90, 0, 10],
    }
    assert list(reports._lag_lines([])) == ["nothing was measured"]


def test_a_pair_is_too_slow_where_one_in_twenty_surely_took_longer_than_the_alert(
    capsys: pytest.CaptureFixture[str],
) -> None:
    vote = Election("polls", "Polls", 1, 2, (1,), 4, 8, 14)
    # What took up to 8 ms is not surely over 8 ms; what took from 8 to 16 ms is.
    quick = LagRow(Stage.MIGRATION, "alpha", "beta", Label.MISLEADING_SCAM, (0, 0, 10, 9, 1))
    slow = LagRow(Stage.MIGRATION, "alpha", "gamma", Label.MISLEADING_SCAM, (0, 0, 10, 8, 1))
    other = LagRow(Stage.DELIVERED, "beta", "gamma", Label.MISLEADING_SCAM, (0, 0, 0, 0, 9))
    assert not reports._tell_alert(vote, [quick, other], as_json=False)
    assert reports._tell_alert(vote, [quick, slow, other], as_json=False)
    told = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split("alert: ")[1] for line in told] == ["1 of 20", "1 of 19  TOO SLOW"]
    # All labels of a pair count together.
    assert not reports._tell_alert(vote, [slow, replace(slow, label=Label.VIOLENCE_THREATS, counts=(5,))], as_json=True)
    data = {"alert": "polls", "publisher": "alpha", "receiver": "gamma", "late": 1, "of": 24, "too_slow": False}
    assert json.loads(capsys.readouterr().out) == data


def test_an_election_that_is_not_there_is_told_with_what_is_there_or_how_one_is_announced() -> None:
    vote = ElectionFacts(b"e" * 32, 7, Election("polls", "Polls", 1, 2, (1,), 4, 8, 14))
    assert one_of([vote], "Polls", "here") == one_of([vote], vote.id.hex(), "here") == vote
    for known, hint in (([vote], "there is: polls"), ([], "`exchange election create`")):
        with pytest.raises(Rejected, match="no election 'no-such' here") as refused:
            one_of(known, "no-such", "here")
        assert hint in refused.value.hint


def test_clocks_stand_apart() -> None:
    report = LagReport((), (ClockRow("beta", -12, 3), ClockRow("gamma", 0, 0)), 5)
    assert [line.split(maxsplit=1) for line in reports._clock_lines(report)] == [
        ["CLOCKS,", "ahead of the hub's (-: behind it)"],
        ["beta", "-12 ms, give or take 3 ms"],
        ["gamma", "not measured"],
    ]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"open": True, "overdue": True}, "OVERDUE"),
        ({"open": True}, "open"),
        ({"closed_at": 9}, "closed"),
        ({"owes": False}, "not owed"),
    ],
)
def test_a_debt_says_how_it_stands(changes: dict[str, bool | int], state: str) -> None:
    values = {"owes": True, "closed_at": None, "open": False, "overdue": False} | changes
    debt = Debt(
        b"i" * 32,
        "alpha",
        Label.MISLEADING_SCAM,
        7,
        1_000,
        erasure=False,
        reason=RetractionReason.ERROR,
        member="beta",
        said=DispositionState.ACTIONED,
        **values,  # type: ignore[arg-type]
    )
    line = reports._debt_line(debt)
    assert line.split()[:6] == ["alpha", "retraction:", "error", "7", "beta", "actioned"]
    assert line.index(f" {state} ") + 1 == reports._DEBTS_HEAD.index("state")
    assert line.index((b"i" * 32).hex()) == reports._DEBTS_HEAD.index("signal")  # whole: it is given to other commands

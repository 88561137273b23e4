"""``exchange report`` and ``verify-report`` without a hub: which days there are, and what is asked of nobody."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from exchange.cli import main
from exchange.cli.made_files import write
from exchange.cli.progress.counting import Wanted, day_number, day_of
from exchange.cli.progress.verifying import _differences
from exchange.report.building import files_of
from tests.unit.builders import UK
from tests.unit.report.example import KEY, payload


def wanted(first: date, last: date) -> Wanted:
    return Wanted(UK, first, last, None, 0, 72)


@pytest.mark.parametrize(
    ("first", "last", "names"),
    [
        (date(2027, 5, 4), date(2027, 5, 4), ["2027-05-04"]),
        (date(2027, 5, 1), date(2027, 5, 31), [f"2027-05-{day:02}" for day in range(1, 32)]),
        (date(2027, 5, 1), date(2027, 6, 1), [f"week of {day}" for day in ("2027-04-26", "2027-05-03", "2027-05-10")]),
    ],
    ids=["a day", "a month", "longer"],
)
def test_a_short_period_is_shown_by_days_and_a_long_one_by_weeks(first: date, last: date, names: list[str]) -> None:
    pieces = list(wanted(first, last).pieces())
    assert [name for name, _ in pieces][: len(names)] == names
    # Each day is in exactly one of them.
    days = [day for _, period in pieces for day in range(period.from_day, period.to_day + 1)]
    assert days == list(range(day_number(first), day_number(last) + 1))
    assert day_of(days[0]) == first


def test_what_differs_is_named() -> None:
    said = {"tables": [{"id": "a", "total": 7, "rows": [1, 2]}], "members": []}
    found = {"tables": [{"id": "a", "total": 8, "rows": [1]}], "members": []}
    assert list(_differences(said, said)) == []
    assert list(_differences(said, found)) == [
        "figures.tables.a.total says 7, and the ledger 8",
        "figures.tables.a.rows says [1, 2], and the ledger [1]",
    ]


def test_without_a_hub_the_files_alone_are_checked(tmp_path: Path) -> None:
    write(files_of(payload(), KEY), tmp_path / "report")
    run = CliRunner().invoke
    done = run(main, ["verify-report", str(tmp_path / "report"), "--offline"])
    assert done.exit_code == 0, done.output
    assert done.output.count("not checked  ") == 4
    assert "--offline: nobody was asked" in done.output
    (tmp_path / "report" / "report.csv").unlink()
    done = run(main, ["verify-report", str(tmp_path / "report"), "--offline"])
    assert (done.exit_code, "missing: report.csv" in done.output) == (1, True)


def test_what_is_no_report_or_no_question_is_told_so(tmp_path: Path) -> None:
    run = CliRunner(env={"EXCHANGE_CLIENT": ""}).invoke
    done = run(main, ["verify-report", str(tmp_path), "--offline"])
    assert (done.exit_code, "there is no report.dsse.json" in done.output) == (1, True)
    assert run(main, ["verify-report", str(tmp_path)]).exit_code == 2
    backwards = ["report", str(tmp_path), "--from", "2027-05-02", "--to", "2027-05-01"]
    done = run(main, [*backwards, "--community", "uk", "--client", "x"])
    assert (done.exit_code, "lies before" in done.output) == (2, True)
    to_come = ["report", str(tmp_path / "report"), "--from", "9000-05-01", "--to", "9000-05-31"]
    done = run(main, [*to_come, "--community", "uk", "--client", "x"])
    assert (done.exit_code, "--from lies in the future" in done.output) == (2, True)

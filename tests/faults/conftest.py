"""One populated exchange for all cases of a run to copy, and the table at the end of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.exchange_fixture import Exchange
from tests.faults.hubs import Report
from tests.faults.scene import Scene, grown, populated

ROW = "fault"
RESULTS = Path(__file__).parents[2] / "build" / "faults.json"
COLUMNS = ("acknowledged", "lost", "forks", "gaps", "duplicates", "longest_gap_ms")


@pytest.fixture(scope="session")
async def template(tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    return await populated(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
async def old_template(template: Exchange, tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    return await grown(template, tmp_path_factory.mktemp("grown") / "exchange")


@pytest.fixture
async def old_scene(old_template: Exchange, tmp_path: Path, record_property: Any) -> AsyncIterator[Scene]:
    """As `scene`, of an exchange that has a past."""
    made = Scene.copy(old_template, tmp_path / "exchange", lambda row: record_property(ROW, row))
    yield made
    await made.aclose()


@pytest.fixture
async def scene(template: Exchange, tmp_path: Path, record_property: Any) -> AsyncIterator[Scene]:
    """An exchange of the case's own. Its row in the table comes when its load ends."""
    made = Scene.copy(template, tmp_path / "exchange", lambda row: record_property(ROW, row))
    yield made
    await made.aclose()


@pytest.fixture
async def ends() -> AsyncIterator[AsyncExitStack]:
    """What a case starts ends with it."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def report(record_property: Any) -> Report:
    """Told of the row for the table."""
    return lambda row: record_property(ROW, row)


def _left_out(terminalreporter: Any) -> Iterator[str]:
    """Say aloud which faults did not happen, and why."""
    for report in terminalreporter.stats.get("skipped", ()):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        yield f"left out: {_title(report.nodeid)}: {why.removeprefix('Skipped: ').removeprefix('extra: ')}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what each fault cost, and keep it as JSON."""
    rows = []
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in report.user_properties:
                if name == ROW and report.when == "call":
                    rows.append({"fault": _title(report.nodeid), "outcome": outcome} | json.loads(value))
    if not rows:
        return
    rows.sort(key=lambda row: row["fault"])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    width = max(len(row["fault"]) for row in rows)
    terminalreporter.section("faults")
    terminalreporter.write_line(
        f"{'fault':<{width}}  acknowledged  lost  forks  gaps  duplicates  longest gap  verify  plain XADD lost"
    )
    for row in rows:
        terminalreporter.write_line(
            f"{row['fault']:<{width}}  {row['acknowledged']:>12}  {row['lost']:>4}  {row['forks']:>5}  {row['gaps']:>4}"
            f"  {row['duplicates']:>10}  {row['longest_gap_ms']:>8} ms  {'holds' if row['verified'] else 'FAILED':<6}"
            f"  {_plain(row):>15}"
            f"{'  ' + row['notes'] if row['notes'] else ''}",
            red=row["outcome"] == "failed",
        )
    for line in _left_out(terminalreporter):
        terminalreporter.write_line(line, yellow=True)
    total = {name: sum(row[name] for row in rows) for name in COLUMNS[:-1]}
    terminalreporter.write_line(
        f"{len(rows)} faults: {total['acknowledged']} acknowledged, {total['lost']} lost, {total['forks']} forks, "
        f"{total['gaps']} gaps, {total['duplicates']} duplicates; "
        f"longest gap {max(row['longest_gap_ms'] for row in rows)} ms; written to build/faults.json"
    )


def _plain(row: dict[str, Any]) -> str:
    """Say what a plain writer lost beside the hubs, of how many; of a store in files there is none."""
    return f"{row['plain_lost']} of {row['plain_acknowledged']}" if "plain_lost" in row else "-"


def _title(nodeid: str) -> str:
    """Return a case's name without its file: "sigkill[after-append]"."""
    return nodeid.rpartition("::")[2].removeprefix("test_")

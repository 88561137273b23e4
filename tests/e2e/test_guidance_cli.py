"""Guidance from the command line, over a real hub: published, confirmed, read, made into a guide."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exchange.domain.lag import LEAST_MEASURED
from exchange.guide.facts import Kind
from exchange.guide.files import PROFILES
from tests.e2e.command_line import DEADLINE_S, Place, founded, lines, pdq_line, run

pytestmark = pytest.mark.e2e


def until(ask: Callable[[], list[dict[str, object]]], versions: list[int]) -> list[dict[str, object]]:
    """Ask again until these versions are listed: the hub's view is a moment behind."""
    end = time.monotonic() + DEADLINE_S
    while True:
        found = ask()
        if [each["version"] for each in found] == versions:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_from_a_file_to_a_guide(tmp_path: Path) -> None:
    with founded(tmp_path) as place:
        _from_a_file_to_a_guide(place, tmp_path)


def _from_a_file_to_a_guide(place: Place, folder: Path) -> None:
    liaison, common = place.client("alpha", "liaison"), ("--community", "uk")
    file = PROFILES / "facebook.json"

    def listed() -> list[dict[str, object]]:
        return lines(run("guidance", "list", *common, "--client", liaison, "--json").stdout)

    run("guidance", "put", file, *common, "--client", liaison, code=1)
    run("guidance", "put", file, *common, "--client", place.operator, "--member", "alpha")
    (compiled,) = until(listed, [1])
    assert (compiled["confirmed"], compiled["publisher"], compiled["member"]) == (False, "op", "alpha")

    newer = json.loads(file.read_text()) | {"version": 2, "name": "Facebook, said by itself"}
    (folder / "newer.json").write_text(json.dumps(newer))
    run("guidance", "check", folder / "newer.json")
    run("guidance", "put", folder / "newer.json", *common, "--client", liaison)
    (confirmed,) = until(listed, [2])
    assert confirmed["confirmed"] is True
    got = run("guidance", "get", "facebook", *common, "--client", place.operator)
    assert json.loads(got.stdout)["name"] == "Facebook, said by itself"
    assert "version 2, confirmed, by alpha" in got.stderr

    site = folder / "site"
    run("guide", "build", site, *common, "--client", liaison, "--address", "https://guide.example.org/")
    page = (site / "en" / "threat.html").read_text()
    assert "Confirmed by the platform (alpha), version 2." in page
    assert "Facebook, said by itself" in page
    assert page.count("Not measured, or too few times to say.") == 3
    assert page.count("Compiled from public sources, not confirmed by the platform.") == 2

    _measured_times(place, folder)

    run("guidance", "withdraw", "facebook", *common, "--client", liaison)
    until(listed, [])


def _measured_times(place: Place, folder: Path) -> None:
    """Beta publishes, alpha acts at once and says so; the guide tells it of alpha's platform, and of no other."""
    common = ("--community", "uk", "--client")
    text = "\n".join(pdq_line(f"{number:02x}") for number in range(LEAST_MEASURED + 1))
    ids = [
        line["signal_id"]
        for line in lines(run("publish", "-", *common, place.client("beta"), "--json", stdin=text).stdout)
    ]
    now = datetime.now(UTC).isoformat()
    acted = [{"signal_ids": [id_], "state": "actioned", "action": "removed", "actioned_at": now} for id_ in ids]
    run("dispose", "--lines", "-", *common, place.client("alpha"), stdin="\n".join(map(json.dumps, acted)))
    site = folder / "measured"
    run("guide", "build", site, *common, place.client("beta", "liaison"))
    said = re.compile(r"Half within (\d+) (seconds|minutes), nineteen of twenty within \d+ \w+; 20 signals or more, ")
    for name in ("threat", "platform-facebook"):
        page = (site / "en" / f"{name}.html").read_text()
        (found,) = said.finditer(page)
        before = page[: found.start()]
        assert "What response the platform promised" in before, "beside the promise"
        label = before.rindex("Measured: how long this platform took to act on other platforms&#39; signals")
        assert label > before.rindex("What response the platform promised")
        after = page[found.end() :][:400]
        assert "This is not how long it takes to answer your report." in after
    assert "Not measured, or too few times to say." in (site / "en" / "platform-x.html").read_text()
    welsh = (site / "cy" / "threat.html").read_text()
    assert welsh.count("pedwar ar bymtheg o bob ugain o fewn") == 1
    assert welsh.count("Heb ei fesur, neu rhy ychydig o weithiau i allu dweud.") == 2
    flat = " ".join((site / "guide-en.txt").read_text().split())
    assert len(said.findall(flat)) == len(Kind)
    data = {each["profile"]["platform"]: each for each in json.loads((site / "guide.json").read_text())["platforms"]}
    assert data["x"]["measured"] is None
    measured = data["facebook"]["measured"]
    assert (measured["at_least"], measured["last_day"]) == (20, now[:10])
    assert "not how long it takes to answer a report" in measured["what"]
    bounds = (measured["half_below_ms"], measured["most_below_ms"])
    assert 0 < bounds[0] <= bounds[1] <= 2 * DEADLINE_S * 1000


def test_a_file_that_is_wrong_is_told_and_not_published(tmp_path: Path) -> None:
    data = json.loads((PROFILES / "x.json").read_text())
    data["actions"][0]["sources"] = ["nowhere"]
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(data))
    assert "names sources that are not there: nowhere" in run("guidance", "check", bad, code=1).stdout
    bad.write_text("{")
    assert "guidance-schema.json" in run("guidance", "check", bad, code=1).stderr

"""Guidance from the command line, over a real hub: published, confirmed, read, made into a guide."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.guide.files import PROFILES
from tests.e2e.command_line import DEADLINE_S, Place, founded, lines, run

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
    assert "Confirmed by the platform, version 2." in page
    assert "Facebook, said by itself" in page
    assert "Not measured." in page
    assert page.count("Compiled from public sources, not confirmed by the platform.") == 2

    run("guidance", "withdraw", "facebook", *common, "--client", liaison)
    until(listed, [])


def test_a_file_that_is_wrong_is_told_and_not_published(tmp_path: Path) -> None:
    data = json.loads((PROFILES / "x.json").read_text())
    data["actions"][0]["sources"] = ["nowhere"]
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(data))
    assert "names sources that are not there: nowhere" in run("guidance", "check", bad, code=1).stdout
    bad.write_text("{")
    assert "guidance-schema.json" in run("guidance", "check", bad, code=1).stderr

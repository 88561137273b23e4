"""A log of which entries are lost for good: the hub serves the others, and a successor takes its place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command_line import Place, founded, lines, pdq_line, run, serve

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with founded(tmp_path_factory.mktemp("succession") / "place") as made:
        yield made


def publish(place: Place, community: str, *bytes_: str, code: int = 0) -> str:
    text = "\n".join(pdq_line(each) for each in bytes_)
    told = ("--community", community, "--client", place.client("alpha"), "--json")
    done = run("publish", "-", *told, stdin=text, code=code)
    return done.stderr if code else done.stdout


def test_a_lost_log_is_closed_and_its_successor_names_the_last_checkpoint(place: Place, tmp_path: Path) -> None:
    here = ("--config", place.config, "--client", place.operator)
    log = place.folder / "hub" / "data" / "logs" / "uk"
    publish(place, "uk", "a1")
    whole = run("community", "create", "uk-2", "--succeeds", "uk", *here, code=1).stderr
    assert "all 1 entries that were released are here" in whole

    place.stop()
    shutil.copytree(log, tmp_path / "old")
    place.hub = serve(place.config)
    publish(place, "uk", "b2", "c3")
    size = lines(publish(place, "uk", "d4"))[-1]["index"] + 1
    place.stop()
    shutil.rmtree(log)
    shutil.copytree(tmp_path / "old", log)

    place.hub = serve(place.config)
    code, why = place.ready()
    assert (code, f"but {size} was released" in why) == (503, True)
    run("community", "create", "elsewhere", *here)
    done = lines(run("community", "create", "uk-2", "--succeeds", "uk", *here, "--json").stdout)[0]
    assert (done["succeeds"], done["members"]) == ("uk", ["alpha", "beta"])
    assert lines(publish(place, "uk-2", "b2", "c3"))[-1]["index"] == 0
    told = ("--client", place.client("beta"), "--limit", 1, "--json")
    (entry,) = lines(run("watch", "--community", "uk-2", "--cursor", 0, *told).stdout)
    assert len(entry["signals"]) == 2

    refused = publish(place, "uk", "e5", code=1)
    assert "refused" in refused
    rejects = (place.client("alpha").parent / "state" / "rejects.jsonl").read_text()
    assert "is closed" in rejects
    assert "uk-2" in rejects
    assert "its successor is cli.exchange/uk-2" in run("watch", "--community", "uk", *told, code=1).stderr
    again = run("community", "create", "uk-3", "--succeeds", "uk", *here, code=1).stderr
    assert "is closed already" in again
    assert place.ready()[0] == 200, "nobody waits for a log that is closed"
    rows = {
        row["community"]: row for row in lines(run("community", "list", "--client", place.operator, "--json").stdout)
    }
    assert rows["cli.exchange/uk"]["successor"] == "cli.exchange/uk-2"
    assert rows["cli.exchange/uk-2"]["succeeds"] == "cli.exchange/uk"

    place.stop()
    log.rename(tmp_path / "kept")
    place.hub = serve(place.config)
    assert place.ready()[0] == 200
    assert "FAILED" not in run("verify", "--config", place.config, "--genesis-of", place.client("alpha")).stdout

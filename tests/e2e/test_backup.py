"""Backup, loss, restore and recovery, by the command line: real processes, a real SIGKILL, real files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command_line import Place, founded, lines, pdq_line, run, serve

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An exchange with some signals; its hub serves at the end, too."""
    with founded(tmp_path / "place") as made:
        yield made


def publish(place: Place, *bytes_: str, **fields: object) -> list[dict[str, Any]]:
    """Publish one signal for each of these bytes, which its PDQ hash repeats."""
    text = "\n".join(pdq_line(each, case_ref=each, **fields) for each in bytes_)
    return lines(
        run("publish", "-", "--community", "uk", "--client", place.client("alpha"), "--json", stdin=text).stdout
    )


def seen(place: Place, count: int) -> list[dict[str, Any]]:
    """Return the first entries as beta gets them."""
    options = ("--community", "uk", "--client", place.client("beta"), "--cursor", 0, "--limit", count, "--json")
    return lines(run("watch", *options).stdout)


def values(entries: list[dict[str, Any]]) -> list[list[str]]:
    return [sorted(i["value"][:2] for s in entry["signals"] for i in s["indicators"]) for entry in entries]


def holds(folder: Path, *bytes_: str) -> set[str]:
    """Return whose hash is in any file, as bytes or as text."""
    found = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return {each for each in bytes_ if bytes.fromhex(each * 32) in found or (each * 32).encode() in found}


def test_a_hub_is_lost_and_comes_back(place: Place, tmp_path: Path) -> None:
    kept, keys, newer = tmp_path / "kept", tmp_path / "record-keys", tmp_path / "newer"
    to_kept = (kept, "--record-keys", keys, "--config", place.config)
    publish(place, "a1")
    publish(place, "b2", audience=["beta"])
    erased = publish(place, "c3")[0]["signal_id"]
    (first,) = lines(run("backup", *to_kept, "--json").stdout)
    assert first["logs"]["cli.exchange/uk"] == 3
    assert holds(place.folder / "hub" / "data", "a1", "b2", "c3") == {"a1", "b2", "c3"}
    assert holds(kept, "a1", "b2", "c3") == set()
    run("erase", erased, "--community", "uk", "--client", place.client("alpha"), "--reason", "on_request")
    publish(place, "d4")
    run("backup", *to_kept)
    late = publish(place, "e5", "f6")
    size = late[-1]["index"] + 1
    before = seen(place, size)
    place.hub.kill()
    place.hub.wait()
    run("backup", newer, "--record-keys", tmp_path / "other-keys", "--config", place.config)
    shutil.rmtree(place.folder / "hub" / "data" / "logs")

    to_newer = ("--from", newer, "--config", place.config)
    assert "there is no such log" in run("recover", *to_newer, code=1).stderr
    done = run("restore", *to_kept, "--json", code=3)  # the mark says that more was released
    (uk,) = [line for line in lines(done.stdout) if line["origin"].endswith("/uk")]
    assert (uk["size"], uk["erased"], uk["missing"]) == (5, 1, size - 5)
    assert holds(place.folder / "hub" / "data", "a1", "b2", "c3", "d4") == {"a1", "b2", "d4"}
    assert "move it away" in run("restore", *to_kept, code=1).stderr
    assert "was released" in run("serve", "--config", place.config, code=3).stderr
    (uk,) = [line for line in lines(run("recover", *to_newer, "--json").stdout) if line["origin"].endswith("/uk")]
    assert (uk["size"], uk["written"], uk["missing"]) == (size, size - 5, 0)

    place.hub = serve(place.config)
    found = seen(place, size)
    assert values(found[:5]) == values(before[:5]) == [["a1"], ["b2"], [], [], ["d4"]]
    assert [entry["state"] for entry in found[:5]] == [entry["state"] for entry in before[:5]]
    assert {entry["state"] for entry in found[5:]} == {"erased"}
    assert publish(place, "77")[0]["index"] == size
    pinned = ("--genesis-of", place.client("alpha"))
    assert "FAILED" not in run("verify", "--config", place.config, *pinned).stdout


def test_elsewhere_nothing_is_believed_unless_somebody_says_what_was_released(place: Place, tmp_path: Path) -> None:
    kept, keys = tmp_path / "kept", tmp_path / "record-keys"
    publish(place, "a1")
    publish(place, "b2", expires_in_days=60)
    run("backup", kept, "--record-keys", keys, "--config", place.config)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place.folder / "hub", elsewhere, ignore=shutil.ignore_patterns("logs", "marks", "*.log"))
    told = ("restore", kept, "--record-keys", keys, "--config", elsewhere / "hub.toml")
    refused = run(*told, code=3)
    assert "no record of the log's last checkpoint" in refused.stderr
    assert not (elsewhere / "data" / "logs").exists()
    first, *_ = sorted((keys / "uk").iterdir())
    first.unlink()  # as a run does once that day has come
    seen_by_beta = (
        "--checkpoint",
        kept / "logs" / "uk" / "checkpoint",
        "--checkpoint",
        kept / "logs" / "directory" / "checkpoint",
    )
    done = lines(run(*told, *seen_by_beta, "--json").stdout)
    assert [(line["origin"], line["missing"], line["days_without_key"]) for line in done] == [
        ("cli.exchange/directory", 0, []),
        ("cli.exchange/uk", 0, [first.name]),
    ]
    assert holds(elsewhere / "data", "a1", "b2") == {"b2"}
    bundle = next((kept / "logs" / "uk" / "tile").rglob("*.p/*"))
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"\x00")
    shutil.rmtree(elsewhere / "data" / "logs")
    shutil.rmtree(elsewhere / "data" / "marks")
    refused = run(*told, "--adopt", code=1)
    assert "not those that were signed" in refused.stderr
    assert not (elsewhere / "data" / "logs").exists()


def test_keys_are_kept_apart_and_a_backup_is_of_one_exchange(place: Place, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    inside = run("backup", kept, "--record-keys", kept / "keys", "--config", place.config, code=1)
    assert "lies inside the backup" in inside.stderr
    assert not kept.exists()
    to_kept = ("backup", kept, "--record-keys", tmp_path / "keys", "--config", place.config)
    run(*to_kept)
    manifest = json.loads((kept / "backup.json").read_text())
    (kept / "backup.json").write_text(json.dumps(manifest | {"exchange": "other.exchange"}))
    assert "is the backup of other.exchange" in run(*to_kept, code=1).stderr
    (kept / "backup.json").write_text(json.dumps(manifest | {"format": 2}))
    assert "format 2 is not known" in run(*to_kept, code=1).stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = run("restore", empty, "--record-keys", kept, "--config", place.config, code=1)
    assert "holds no backup" in refused.stderr

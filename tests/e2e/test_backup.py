"""Backup, loss, restore and recovery, by the command line: real processes, a real SIGKILL, real files."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.redis_server import running
from tests.e2e.command_line import DEADLINE_S, Place, founded, lines, pdq_line, run, serve

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An exchange that the tests share; each leaves its hub serving, but for the last, which moves it to Redis."""
    with founded(tmp_path_factory.mktemp("backup") / "place") as made:
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


def seen_erased(place: Place, count: int, index: int) -> list[dict[str, Any]]:
    """Return them once the hub has carried out an erasure that it has accepted."""
    end = time.monotonic() + DEADLINE_S
    while (found := seen(place, count))[index]["state"] != "erased":
        assert time.monotonic() < end, found[index]
    return found


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
    before = seen_erased(place, size, 2)
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
    place.hub = serve(place.config)
    assert "was released" in place.ready()[1]
    place.stop()
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
    publish(place, "1a")
    publish(place, "2b", expires_in_days=60)
    inside = run("backup", kept, "--record-keys", kept / "keys", "--config", place.config, code=1)
    assert "lies inside the backup" in inside.stderr
    assert not kept.exists()
    run("backup", kept, "--record-keys", keys, "--config", place.config)
    not_ours(place, kept, keys)
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
    assert holds(elsewhere / "data", "1a", "2b") == {"2b"}
    bundle = next((kept / "logs" / "uk" / "tile").rglob("*.p/*"))
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"\x00")
    shutil.rmtree(elsewhere / "data" / "logs")
    shutil.rmtree(elsewhere / "data" / "marks")
    refused = run(*told, "--adopt", code=1)
    assert "not those that were signed" in refused.stderr
    assert not (elsewhere / "data" / "logs").exists()


def not_ours(place: Place, kept: Path, keys: Path) -> None:
    """Check that a backup is of one exchange, of a form that is known, and there at all."""
    told = ("--record-keys", keys, "--config", place.config)
    manifest = (kept / "backup.json").read_text()
    for change, problem in (({"exchange": "other.exchange"}, "backup of other.exchange"), ({"format": 2}, "format 2")):
        (kept / "backup.json").write_text(json.dumps(json.loads(manifest) | change))
        assert problem in run("backup", kept, *told, code=1).stderr
    (kept / "backup.json").write_text(manifest)
    assert "holds no backup" in run("restore", keys / "uk", *told, code=1).stderr


async def ran(*words: object, code: int = 0) -> str:
    """Run a command; return what it said."""
    done = await asyncio.to_thread(run, *words, code=code)
    return done.stdout + done.stderr


async def ended(place: Place) -> None:
    place.hub.terminate()
    assert await asyncio.to_thread(place.hub.wait) == 0


async def test_a_hub_migrates_to_redis_and_back(place: Place, tmp_path: Path) -> None:
    files, redis = place.config, place.config.with_name("redis.toml")
    there, back = ("migrate", "--config", files, "--to", redis), ("migrate", "--config", redis, "--to", files)
    shutil.copytree(place.folder / "beta", place.folder / "follower", ignore=shutil.ignore_patterns("state"))
    follow = ("watch", "--community", "uk", "--client", place.client("follower"), "--json", "--limit")
    pinned = ("--genesis-of", place.client("alpha"))
    size = (await asyncio.to_thread(publish, place, "8e", "9f"))[-1]["index"] + 1
    assert [each["index"] for each in lines(await ran(*follow, size))] == [*range(size)]
    async with running(tmp_path / "server") as server:
        redis.write_text(f'store = "{server.url}"\nbundles = "{tmp_path}/bundles"\n{files.read_text()}')
        assert "a hub has this log open" in await ran(*there, code=3)
        await ended(place)
        _, uk = lines(await ran(*there, "--json"))
        assert (uk["size"], uk["written"]) == (size, size)
        assert "has moved to redis://" in await ran("serve", "--config", files, code=3)
        place.hub = await asyncio.to_thread(serve, redis)
        (new,) = await asyncio.to_thread(publish, place, "0d")
        assert [each["index"] for each in lines(await ran(*follow, 1))] == [new["index"]] == [size]
        assert "FAILED" not in await ran("verify", "--config", redis, *pinned)
        await ended(place)
        _, uk = lines(await ran(*back, "--json"))
        assert (uk["size"], uk["written"]) == (size + 1, 1)
    place.hub = await asyncio.to_thread(serve, files)
    assert (await asyncio.to_thread(publish, place, "1e"))[0]["index"] == size + 1
    assert "FAILED" not in await ran("verify", "--config", files, *pinned)


async def test_a_log_moves_from_files_to_redis(place: Place, tmp_path: Path) -> None:
    kept = (tmp_path / "kept", "--record-keys", tmp_path / "keys", "--config", place.config)
    await asyncio.to_thread(publish, place, "5e", "6f")
    size = (await asyncio.to_thread(publish, place, "3c"))[0]["index"] + 1
    before = await asyncio.to_thread(seen, place, size)
    await ended(place)
    await asyncio.to_thread(run, "backup", *kept)
    async with running(tmp_path / "server") as server:
        text = place.config.read_text()
        place.config.write_text(f'store = "{server.url}"\nbundles = "{tmp_path}/bundles"\n{text}')
        done = await asyncio.to_thread(run, "restore", *kept, "--json")
        assert [line["missing"] for line in lines(done.stdout)] == [0, 0]
        place.hub = await asyncio.to_thread(serve, place.config)
        after = await asyncio.to_thread(seen, place, size)
        assert [entry["signals"] for entry in after] == [entry["signals"] for entry in before]
        assert (await asyncio.to_thread(publish, place, "4d"))[0]["index"] == size
        (again,) = lines((await asyncio.to_thread(run, "backup", *kept, "--json")).stdout)
        assert again["logs"]["cli.exchange/uk"] == size + 1
        await ended(place)

"""Backup, loss, restore and recovery, by the command line: real processes, a real SIGKILL, real files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exchange import codec
from exchange.domain.bodies import ErasureReason
from exchange.domain.identifiers import IndicatorType
from exchange.domain.statement import Statement
from exchange.errors import Reason, VerificationFailed
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, Delivery, ExchangeClient, Outcome, Signal, backoff
from exchange_client.outbox import Outbox
from exchange_client.records import Indicator, Record
from tests.contract.redis_server import running
from tests.e2e.command_line import DEADLINE_S, Place, founded, lines, pdq_line, run, serve
from tests.e2e.sdk_clients import a_signal
from tests.waits import until

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
    # Whoever publishes asks first what the hub has lost, and gives back what its outbox has.
    assert sorted(each for entry in values(seen(place, size)[5:]) for each in entry) == ["e5", "f6"]
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
    refused = run(*told, "--checkpoint", kept / "logs" / "uk" / "checkpoint", code=3)
    assert "each log takes a --checkpoint of its own, as `exchange checkpoint --community directory`" in refused.stderr
    (elsewhere / "data" / "keys").rename(elsewhere / "kept-apart")
    refused = run(*told, "--adopt", code=3)
    assert "directory.seed: No such file or directory" in refused.stderr
    assert "are no part of a backup: put them back from the copy that is kept apart" in refused.stderr
    (elsewhere / "kept-apart").rename(elsewhere / "data" / "keys")
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
    *others, last = bundle.read_bytes()
    bundle.write_bytes(bytes([*others, last ^ 1]))
    shutil.rmtree(elsewhere / "data" / "logs")
    shutil.rmtree(elsewhere / "data" / "marks")
    refused = run(*told, "--adopt", code=1)
    assert "not those that were signed" in refused.stderr
    assert not (elsewhere / "data" / "logs").exists()


def test_a_log_that_cannot_be_read_stops_neither_the_others_nor_the_end_of_what_is_over(
    place: Place, tmp_path: Path
) -> None:
    kept, keys, data = tmp_path / "kept", tmp_path / "record-keys", place.folder / "hub" / "data"
    to_kept = (kept, "--record-keys", keys, "--config", place.config, "--json")
    size = publish(place, "5b")[0]["index"] + 1
    run("backup", *to_kept)
    before = held(kept)
    for name, added in (("uk", {"cli.exchange/directory"}), ("directory", set())):
        publish(place, "6c")
        over = keys / "uk" / "2020-01-01"
        over.write_text(f"{'00' * 32}\n")
        seed = data / "keys" / f"{name}.seed"
        seed.chmod(0o644)
        done = run("backup", *to_kept, code=3)
        seed.chmod(0o600)
        (said,) = lines(done.stdout)
        assert (said["logs"].keys(), said["failed"].keys()) == (added, {f"cli.exchange/{name}"})
        assert f"{seed}: others on this machine may read this key" in done.stderr
        assert (over.exists(), said["keys_destroyed"]) == (False, 1)
        assert held(kept)["uk"] == before["uk"]
    (data / "logs" / "ahead").mkdir()
    done = run("backup", *to_kept, code=1)
    (data / "logs" / "ahead").rmdir()
    (said,) = lines(done.stdout)
    assert (said["failed"].keys(), said["logs"]["cli.exchange/uk"]) == ({"cli.exchange/ahead"}, size + 2)
    assert held(kept).keys() == {"directory", "uk"}
    (said,) = lines(run("backup", *to_kept).stdout)
    assert said["failed"] == {}


def held(kept: Path) -> dict[str, Any]:
    """Return what a backup says that it holds, by log."""
    return {each["log"]: each for each in json.loads((kept / "backup.json").read_text())["logs"]}


def not_ours(place: Place, kept: Path, keys: Path) -> None:
    """Check that a backup is of one exchange, of a form that is known, and there at all."""
    told = ("--record-keys", keys, "--config", place.config)
    manifest = (kept / "backup.json").read_text()
    for change, problem in (({"exchange": "other.exchange"}, "backup of other.exchange"), ({"format": 2}, "format 2")):
        (kept / "backup.json").write_text(json.dumps(json.loads(manifest) | change))
        assert problem in run("backup", kept, *told, code=1).stderr
    (kept / "backup.json").write_text(manifest)
    assert "holds no backup" in run("restore", keys / "uk", *told, code=1).stderr


async def ran(*words: object, code: int = 0, stdin: str = "") -> str:
    """Run a command; return what it said."""
    done = await asyncio.to_thread(run, *words, code=code, stdin=stdin)
    return done.stdout + done.stderr


async def ended(place: Place) -> None:
    place.hub.terminate()
    assert await asyncio.to_thread(place.hub.wait) == 0


ORIGIN = "cli.exchange/uk"
#: The same for all: what has one header travels in one statement.
ENDS_MS = wall_ms() + 86_400_000


def of(byte: str, **changes: object) -> Signal:
    """Return a signal about a picture, by a byte that its hash repeats."""
    indicators = (Indicator(IndicatorType.PDQ, bytes.fromhex(byte * 32)),)
    return a_signal(**{"indicators": indicators, "case_ref": byte, "expires_at_ms": ENDS_MS} | changes)


async def collected(client: ExchangeClient, found: list[Delivery]) -> None:
    async with contextlib.aclosing(client.subscribe(ORIGIN, from_now=True)) as deliveries:
        async for delivery in deliveries:
            found.append(delivery)  # noqa: PERF401 - as they come


def as_beta(place: Place) -> tuple[object, ...]:
    return ("--community", "uk", "--client", place.client("beta"))


def place_of(outcome: Outcome) -> int:
    assert outcome.receipt is not None, outcome.error
    return outcome.receipt.index


def ids_of(statement: Statement) -> tuple[bytes, ...]:
    return codec.decode_header(statement.payload, strict=True).signal_ids


PUBLISHED = ("31", "32", "33", "34", "35", "36")


async def lost_but_for_its_leaves(place: Place, folder: Path, to_kept: tuple[object, ...]) -> None:
    """Kill the hub, lose its logs, and bring them back: what the backup does not hold yet as leaves alone."""
    place.hub.kill()
    place.hub.wait()
    mirror = folder / "newer"
    await ran("backup", mirror, "--record-keys", folder / "other-keys", "--config", place.config)
    shutil.rmtree(place.folder / "hub" / "data" / "logs")
    await ran("restore", *to_kept, code=3)
    await ran("recover", "--from", mirror / "logs" / "uk", "--log", "uk", "--config", place.config)
    assert holds(place.folder / "hub" / "data", *PUBLISHED) == set()


async def test_records_come_back_from_the_outboxes(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "LONGEST_S", 0.3)
    to_kept = (tmp_path / "kept", "--record-keys", tmp_path / "record-keys", "--config", place.config)
    await ran("backup", *to_kept)
    async with (
        ExchangeClient(ClientConfig.load(place.client("alpha"))) as alpha,
        ExchangeClient(ClientConfig.load(place.client("beta"))) as beta,
        alpha.publisher(ORIGIN) as publisher,
    ):
        heard: list[Delivery] = []
        hearing = asyncio.create_task(collected(beta, heard))
        brief_ms = wall_ms() + 3_000
        (first, *_), (secret,), (over,), (asked,) = [
            await publisher.publish(signals)
            for signals in (
                [of("31"), of("32")],
                [of("33", audience=("beta",))],
                [of("34", expires_at_ms=brief_ms)],
                [of("35")],
            )
        ]
        await publisher.erase(case_ref="32", reason=ErasureReason.ON_REQUEST)
        await publisher.erase(case_ref="35", reason=ErasureReason.ON_REQUEST)
        (theirs,) = lines(await ran("publish", "-", *as_beta(place), "--json", stdin=pdq_line("36")))
        size, start = theirs["index"] + 1, place_of(first)
        await until(lambda: bool(heard) and heard[-1].index == size - 1)
        await lost_but_for_its_leaves(place, tmp_path, to_kept)
        await until(lambda: wall_ms() > brief_ms)
        place.hub = await asyncio.to_thread(serve, place.config)

        await until(lambda: publisher.giving_back.given == 2)
        (own,) = await Outbox(beta._state, ORIGIN).kept()
        wrong = (codec.encode_record(Record(bytes(16), (Indicator(IndicatorType.PDQ, bytes(32)),))),)
        with pytest.raises(VerificationFailed) as refused:
            await beta.submit(replace(own, records=wrong, resubmission=True))
        assert refused.value.reason is Reason.REPLAY_MISMATCH
        (asked_for,) = [each for each in await publisher.outbox.kept() if asked.signal_id in ids_of(each)]
        assert (await alpha.submit(replace(asked_for, resubmission=True))).index == place_of(asked)
        found = (await asyncio.to_thread(seen, place, size))[start:]
        assert values(found) == [["31"], ["33"], [], [], [], [], []]
        assert "1 sent again, whose records the hub had lost" in await ran("publish", "-", *as_beta(place), stdin="")
        found = (await asyncio.to_thread(seen, place, size))[start:]
        assert values(found) == [["31"], ["33"], [], [], [], [], ["36"]]
        assert [each["state"] for each in found[:4]] == ["present", "present", "erased", "erased"]
        assert holds(place.folder / "hub" / "data", *PUBLISHED) == {"31", "33", "36"}
        assert (place_of(secret), place_of(over)) == (start + 1, start + 2)

        (later,) = await publisher.publish([of("37")])
        await until(lambda: heard[-1].index == place_of(later))
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        assert [each.index for each in heard] == [*range(heard[0].index, place_of(later) + 1)]
    pinned = ("--genesis-of", place.client("alpha"))
    assert "FAILED" not in await ran("verify", "--config", place.config, *pinned)


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

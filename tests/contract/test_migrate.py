"""Moving logs from files to a real server and back: whole, checked, refused where it must be, and killed anywhere."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from pathlib import Path

import pytest

from exchange import config
from exchange.cli.doctor.finding import BAD, Finding
from exchange.cli.doctor.hub import look_at_hub
from exchange.cli.released import remember
from exchange.errors import ExchangeError, Fatal, Reason
from exchange.ledger.checkpoint import Checkpoint
from exchange.ports import TreeHead
from exchange.stores.moving import _PAGE_BYTES, page
from exchange.stores.sqlite_reader import RawEntry
from exchange.stores.withheld import Why, Withheld
from tests.contract.builders import KEY, Chain
from tests.contract.followed_log import entry
from tests.contract.moving_site import LOG, LOGS, OTHER, Site, record_of, said
from tests.contract.redis_server import RedisServer

SIZE, FLOOR = 700, 256


@pytest.fixture
async def empty(tmp_path: Path, empty_redis: RedisServer) -> Site:
    return Site(tmp_path / "hub", empty_redis.url)


@pytest.fixture
async def site(empty: Site) -> Site:
    """Logs in files: some of it erased whole, some in part, and the oldest archived."""
    await empty.make(empty.files)
    for origin, counts in ((OTHER, (3,)), (LOG, (10, 600, 90))):
        for count in counts:
            await empty.grow(empty.files, count, origin)
    await empty.erase(empty.files, 300, 301, 308)
    await empty.erase(empty.files, 400, positions=(0,))
    await empty.archive(empty.files, 300)
    return empty


def files_of(site: Site) -> dict[str, bytes]:
    """Return what lies in the hub's folder, but for what SQLite makes for whoever reads."""
    folder = site.folder / "data"
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


async def test_everything_moves_byte_for_byte(site: Site, redis_server: RedisServer) -> None:
    before = {origin: await site.holds(site.files, origin) for origin in LOGS}
    files = files_of(site)
    done = await site.migrate(site.files, site.redis, "--json")
    assert done.exit_code == 0, done.output
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["origin"], each["size"], each["written"]) for each in told] == [
        (str(OTHER), 3, 3),
        (str(LOG), SIZE, SIZE),
    ]
    after = {origin: await site.holds(site.redis, origin) for origin in LOGS}
    assert after == before
    assert after[LOG][0].floor == FLOOR
    stored = redis_server.files()
    assert record_of(299) in stored
    assert not [each for each in (300, 301, 308, 400) if record_of(each) in stored]
    changed = {name for name, data in files_of(site).items() if files.get(name) != data}
    assert changed - {f"marks/{origin.log}" for origin in LOGS} == {f"logs/{origin.log}/withheld" for origin in LOGS}
    assert [await site.may_serve(site.files, origin) for origin in LOGS] == [
        f"{origin}: has moved to {redis_server.url}" for origin in LOGS
    ]
    assert {each.state for each in await doctored(site.files) if "has moved" in each.detail} == {BAD}
    assert not [each for each in await doctored(site.redis) if "has moved" in each.detail]


async def doctored(path: Path) -> list[Finding]:
    """Return what `exchange doctor` finds."""
    return await asyncio.to_thread(lambda: list(look_at_hub(config.load(path))))


@pytest.mark.parametrize("way", ["there", "back"])
async def test_killed_anywhere_it_goes_on_and_doubles_nothing(site: Site, way: str) -> None:
    source, target = (site.files, site.redis) if way == "there" else (site.redis, site.files)
    if way == "back":
        assert (await site.migrate(site.files, site.redis)).exit_code == 0
        await site.grow(site.redis, 700)
        await site.erase(site.redis, 310, 701)
        await site.archive(site.redis, 600)
    before = {origin: await site.holds(source, origin) for origin in LOGS}
    at = 0
    while True:
        at += 1
        code = await site.killed(source, target, at)
        for origin in LOGS:
            can = [not await site.may_serve(each, origin) for each in (source, target)]
            assert can.count(True) <= 1, (at, origin)
        if code != -signal.SIGKILL:
            break
    assert code == 0
    assert at > 6
    assert {origin: await site.holds(target, origin) for origin in LOGS} == before
    assert "has moved to" in await site.may_serve(source)
    assert (await site.migrate(source, target)).exit_code == 0
    assert {origin: await site.holds(target, origin) for origin in LOGS} == before


async def test_what_was_moved_away_from_may_be_removed(site: Site, redis_server: RedisServer) -> None:
    before = {origin: await site.holds(site.files, origin) for origin in LOGS}
    assert (await site.migrate(site.files, site.redis)).exit_code == 0
    for path in (site.folder / "data" / "logs").glob("*/ledger.sqlite*"):
        path.unlink()
    assert (await site.migrate(site.redis, site.files)).exit_code == 0
    assert {origin: await site.holds(site.files, origin) for origin in LOGS} == before
    await redis_server.ask("FLUSHALL")
    assert (await site.migrate(site.files, site.redis)).exit_code == 0
    assert {origin: await site.holds(site.redis, origin) for origin in LOGS} == before


async def test_what_is_erased_between_two_runs_is_erased_there_too(site: Site, redis_server: RedisServer) -> None:
    assert await site.killed(site.files, site.redis, 14) == -signal.SIGKILL
    assert record_of(299) in redis_server.files()
    assert "is being filled from files" in await site.may_serve(site.redis)
    await site.erase(site.files, 299)
    await site.erase(site.files, 550, positions=(0,))
    await site.archive(site.files, 512)
    await site.grow(site.files, 5)
    done = await site.migrate(site.files, site.redis)
    assert done.exit_code == 0, done.output
    assert "erased in" in done.output
    stored = redis_server.files()
    assert not [each for each in (299, 550) if record_of(each) in stored]
    assert said(550).records[1] in stored
    head, entries, _ = await site.holds(site.redis)
    assert (head.durable, head.floor) == (site.chains[LOG].head, 512)
    assert [each.leaf_hash for each in entries] == site.chains[LOG].leaf_hashes[512:]


async def test_a_hub_that_runs_is_not_moved_away_from(site: Site, redis_server: RedisServer) -> None:
    async with site.open(site.files):
        refused = await site.migrate(site.files, site.redis)
    assert refused.exit_code == 3
    assert "a hub has this log open" in refused.stderr
    assert "stop every hub" in refused.stderr
    assert await site.stores(site.redis).withheld(LOG) == b""
    assert (await site.migrate(site.files, site.redis)).exit_code == 0
    async with site.open(site.redis), asyncio.timeout(20):
        while not await redis_server.ask("PUBLISH", "sx:{" + str(LOG) + "}:sealed", 0):
            await asyncio.sleep(0.02)
        refused = await site.migrate(site.redis, site.files)
    assert refused.exit_code == 3
    assert "a hub has this log open" in refused.stderr


async def test_a_hub_that_was_not_heard_appends_nothing_any_more(site: Site) -> None:
    assert (await site.migrate(site.files, site.redis)).exit_code == 0
    chain = site.chains[LOG]
    async with site.open(site.redis) as store:
        moved = Withheld(Why.MOVED, "elsewhere").encoded()
        await site.stores(site.redis).withhold(LOG, b"", moved, chain.head)
        with pytest.raises(Fatal) as caught:
            await site.add(store, chain, (entry(SIZE, said(SIZE)),), LOG)
        assert caught.value.reason is Reason.CONFLICT
    assert (await site.stores(site.redis).withheld(LOG)) == moved


@pytest.mark.parametrize("kind", ["files", "redis"])
async def test_a_log_is_withheld_only_as_it_stands(empty: Site, kind: str) -> None:
    path = empty.files if kind == "files" else empty.redis
    stores = empty.stores(path)
    filling = Withheld(Why.FILLING, "here").encoded()
    await stores.make(LOG, withheld=filling)
    assert "is being filled from here" in await empty.may_serve(path)
    head, none = TreeHead(0, Chain().head.root), TreeHead(1, bytes(32))
    for was, now, at in ((b"", b"x", head), (b"x", b"", head), (filling, b"", none)):
        with pytest.raises(ExchangeError) as caught:
            await stores.withhold(LOG, was, now, at)
        assert caught.value.reason in {Reason.CONFLICT, Reason.CORRUPT}
    assert await stores.withheld(LOG) == filling
    for _ in range(2):
        await stores.withhold(LOG, filling, b"", head)
    assert await empty.may_serve(path) == ""
    with pytest.raises(Fatal, match="not withheld"):
        await stores.open(LOG, recent_bytes=1, withheld=filling)


@pytest.mark.parametrize("what", ["another tree", "another tree that was begun", "more", "served"])
async def test_what_the_target_holds_already_stays(
    site: Site, tmp_path: Path, what: str, redis_server: RedisServer
) -> None:
    other = Site(tmp_path / "other", redis_server.url)
    filling = Withheld(Why.FILLING, "files").encoded()
    stores = other.stores(other.redis)
    (site.folder / "bundles").mkdir()
    (tmp_path / "other" / "bundles").symlink_to(site.folder / "bundles")
    await stores.make(LOG)
    first = 1 if what.startswith("another") else 0
    count = SIZE + 1 if what == "more" else 20
    async with other.open(other.redis) as store:
        new = tuple(entry(at, said(at + first)) for at in range(count))
        chain = await other.add(store, Chain(), new, LOG)
    if what not in {"another tree", "served"}:
        await stores.withhold(LOG, b"", filling, chain.head)
    before, files = await redis_server.ask("HGETALL", "sx:{" + str(LOG) + "}:head"), files_of(site)
    refused = await site.migrate(site.files, site.redis)
    assert refused.exit_code == 1, refused.output
    assert "nothing was changed" in refused.stderr
    assert await redis_server.ask("HGETALL", "sx:{" + str(LOG) + "}:head") == before
    assert not await redis_server.ask("EXISTS", "sx:{" + str(OTHER) + "}:head")
    assert files_of(site) == files


async def test_a_source_that_is_damaged_or_old_moves_nothing(site: Site, redis_server: RedisServer) -> None:
    mark = site.mark().read_bytes()
    longer, _ = site.chains[LOG].grow_by((entry(SIZE, said(SIZE)),))
    for note, problem in ((None, "no record of the log's last checkpoint"), (site.note(longer), "was released")):
        site.mark().unlink()
        if note is not None:
            await remember(site.mark(), Checkpoint(str(LOG), longer.size, longer.head.root), KEY)
        refused = await site.migrate(site.files, site.redis)
        assert (refused.exit_code, problem in refused.stderr) == (3, True), refused.output
        site.mark().write_bytes(mark)
    database = sqlite3.connect(site.folder / "data" / "logs" / LOG.log / "ledger.sqlite")
    with database:
        database.execute(
            "UPDATE entries SET frame = CAST(substr(frame, 1, length(frame) - 1) || x'55' AS BLOB) WHERE idx = 500"
        )
    database.close()
    refused = await site.migrate(site.files, site.redis)
    assert refused.exit_code == 1
    assert "entry 500" in refused.stderr
    assert not await redis_server.ask("EXISTS", "sx:{" + str(OTHER) + "}:head")


async def test_the_two_files_must_fit(site: Site, tmp_path: Path) -> None:
    same = await site.migrate(site.files, site.files)
    assert same.exit_code == 1
    assert "names the same store" in same.stderr
    text = site.redis.read_text()
    site.redis.write_text(text.replace('exchange = "', 'exchange = "x'))
    assert "not of" in (await site.migrate(site.files, site.redis)).stderr
    site.redis.write_text(text.replace('data = "data"', f'data = "{tmp_path}"'))
    assert (await site.migrate(site.files, site.redis)).exit_code == 3
    other = Site(tmp_path / "other", "redis://127.0.0.1:1")
    seed = other.folder / "data" / "keys" / f"{LOG.log}.seed"
    seed.write_text("11" * 32)
    site.redis.write_text(text.replace('data = "data"', f'data = "{other.folder}/data"'))
    assert "is not the key" in (await site.migrate(site.files, site.redis)).stderr


def test_a_page_is_bounded_in_bytes_too() -> None:
    taken = page(RawEntry(at, frame=bytes(_PAGE_BYTES // 3)) for at in range(100))
    assert len(taken) == 4

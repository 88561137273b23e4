"""What only the store on Redis promises: unfit servers, lost replies, several hubs, old copies, erased bytes in files."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import Conflict, Fatal, OtherFormat, Reason, Rejected, Unavailable
from exchange.stores.redis import RedisStore
from exchange.stores.redis_place import parse_place
from exchange.stores.redis_reader import RedisLog
from exchange.stores.redis_scripts import FORMAT, Keys
from tests.contract.builders import ORIGIN, Chain, commit, erased, read_all, record, seal
from tests.contract.redis_server import RedisServer, running
from tests.contract.redis_sets import agreed, cluster, cluster_url
from tests.contract.redis_wires import wired


async def opened(url: str, folder: Path, *, create: bool = False) -> RedisStore:
    return await RedisStore.open(parse_place(url, folder), folder, origin=ORIGIN, create=create)


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server that a test may harm."""
    async with running(tmp_path / "server") as server:
        yield server


@pytest.mark.parametrize(
    "flags",
    [
        ("--appendonly", "no"),
        ("--appendfsync", "everysec"),
        ("--no-appendfsync-on-rewrite", "yes"),
        ("--maxmemory-policy", "allkeys-lru"),
        ("--save", "60 1"),
    ],
)
async def test_a_server_that_may_lose_something_is_refused(tmp_path: Path, flags: tuple[str, str]) -> None:
    async with running(tmp_path / "server", *flags) as server:
        with pytest.raises(Fatal, match=flags[0].removeprefix("--")) as refused:
            await opened(server.url, tmp_path / "news", create=True)
        assert refused.value.reason is Reason.CONFIG
        assert await server.ask("DBSIZE") == 0


async def test_a_server_that_is_not_there_is_unavailable_and_not_waited_for_for_ever(
    own: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.stores.redis.PATIENCE_S", 0.3)
    await own.stop(signal.SIGKILL)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await opened(own.url, tmp_path / "news")


async def test_the_folder_of_bundles_must_be_the_one_that_belongs_to_the_log(
    empty_redis: RedisServer, tmp_path: Path
) -> None:
    first = await opened(empty_redis.url, tmp_path / "news", create=True)
    await first.aclose()
    with pytest.raises(Fatal, match=r"entry bundles") as refused:
        await opened(empty_redis.url, tmp_path / "other")
    assert refused.value.reason is Reason.CONFIG
    with pytest.raises(Rejected, match="already"):
        await opened(empty_redis.url, tmp_path / "other", create=True)


async def test_a_group_whose_answer_was_lost_is_recognised(empty_redis: RedisServer, tmp_path: Path) -> None:
    async with wired(empty_redis.port) as wire:
        store = await opened(f"redis://127.0.0.1:{wire.port}", tmp_path / "news", create=True)
        chain = await commit(store, Chain(), 3)
        grown, group = chain.grow(2)
        wire.lose = b"$2\r\nok\r\n"
        await store.append(chain.head, group)
        assert wire.lost == 1
        await seal(store, grown.head)
        assert await read_all(store) == list(grown.entries)
        await store.aclose()


async def test_what_was_acknowledged_outlives_the_server(own: RedisServer, tmp_path: Path) -> None:
    store = await opened(own.url, tmp_path / "news", create=True)
    chain = await commit(store, Chain(), 300)
    await own.stop(signal.SIGKILL)
    await own.start()
    assert (await store.head()).sealed == chain.head
    chain = await commit(store, chain, 2)
    assert await read_all(store) == list(chain.entries)
    await store.aclose()


async def test_a_store_that_lost_what_was_sealed_stops_the_log(empty_redis: RedisServer, tmp_path: Path) -> None:
    store = await opened(empty_redis.url, tmp_path / "news", create=True)
    await commit(store, Chain(), 3)
    await empty_redis.ask("FLUSHALL")
    with pytest.raises(Fatal) as stopped:
        await store.head()
    assert stopped.value.reason is Reason.ROLLED_BACK
    await store.aclose()


async def test_an_old_copy_of_the_server_stops_the_log(own: RedisServer, tmp_path: Path) -> None:
    store = await opened(own.url, tmp_path / "news", create=True)
    old = await commit(store, Chain(), 3)
    copy = await own.ask("DUMP", f"sx:{{{ORIGIN}}}:head")
    await commit(store, old, 2)
    await own.ask("RESTORE", f"sx:{{{ORIGIN}}}:head", 0, copy, "REPLACE")
    with pytest.raises(Fatal) as stopped:
        await store.head()
    assert stopped.value.reason is Reason.ROLLED_BACK
    await store.aclose()


async def test_what_one_hub_puts_back_the_others_hear_of_and_have(empty_redis: RedisServer, tmp_path: Path) -> None:
    stores = [await opened(empty_redis.url, tmp_path / "news", create=True)]
    chain = await commit(stores[0], Chain(), 3)
    await stores[0].erase({index: erased(chain.entries[index]) for index in range(3)})
    stores.append(await opened(empty_redis.url, tmp_path / "news"))
    heard: list[list[int]] = [[], []]

    for store, indices in zip(stores, heard, strict=True):

        async def told(returned: Sequence[int], indices: list[int] = indices) -> None:
            indices += returned

        await store.tell(_ignore, _ignore, told)
        assert [each.frame for each in await read_all(store)] == [erased(each) for each in chain.entries]
    for index in (2, 0):
        await stores[0].put_back(index, erased(chain.entries[index]), chain.entries[index].frame)
    async with asyncio.timeout(10):
        while sorted(heard[0]) != [0, 2] or sorted(heard[1]) != [0, 2]:
            await asyncio.sleep(0.01)
    for store in stores:
        assert [each == ours for each, ours in zip(await read_all(store), chain.entries, strict=True)] == [
            True, False, True,
        ]  # fmt: skip
        await store.aclose()


async def test_who_cannot_take_yet_what_came_back_hears_on(
    empty_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.stores.redis.LOOK_EVERY_S", 0.02)
    store = await opened(empty_redis.url, tmp_path / "news", create=True)
    chain = await commit(store, Chain(), 1)
    await store.erase({0: erased(chain.entries[0])})
    follow, begun, refused = store._master.follow, 0, 0

    async def counted(*given: Any) -> None:
        nonlocal begun
        begun += 1
        await follow(*given)

    async def told(_: Sequence[int]) -> None:
        nonlocal refused
        refused += 1
        if refused <= 3:
            raise Unavailable("the fold has not read so far")

    monkeypatch.setattr(store._master, "follow", counted)
    await store.tell(_ignore, _ignore, told)
    await store.put_back(0, erased(chain.entries[0]), chain.entries[0].frame)
    async with asyncio.timeout(10):
        while refused <= 3:
            await asyncio.sleep(0.01)
    assert begun <= 1  # the connection that news come by has stayed
    await store.aclose()


async def test_two_hubs_see_one_log(empty_redis: RedisServer, tmp_path: Path) -> None:
    one = await opened(empty_redis.url, tmp_path / "news", create=True)
    two = await opened(empty_redis.url, tmp_path / "news")
    waiting = asyncio.create_task(two.wait(0))
    chain = await commit(one, Chain(), 3)
    assert await asyncio.wait_for(waiting, 10) == 3
    assert await read_all(two) == list(chain.entries)
    _, ours = chain.grow(2, seed="one")
    theirs_chain, theirs = chain.grow(2, seed="two")
    await two.append(chain.head, theirs)
    with pytest.raises(Conflict):
        await one.append(chain.head, ours)
    # Its writer is gone: whoever meets the group seals it.
    await two.aclose()
    assert (await one.head()).durable == theirs_chain.head
    await seal(one, theirs_chain.head)
    chain = await commit(one, theirs_chain, 1)
    assert await read_all(one) == list(chain.entries)
    await one.aclose()


async def test_two_hubs_archive_into_one_folder(empty_redis: RedisServer, tmp_path: Path) -> None:
    stores = [await opened(empty_redis.url, tmp_path / "news", create=not n) for n in range(2)]
    chain = await commit(stores[0], Chain(), 600)
    assert await asyncio.gather(*(each.archive(512) for each in stores)) == [512, 512]
    bundles = [await each.bundle(1) for each in stores]
    assert bundles[0] == bundles[1]
    for store in stores:
        assert await read_all(store, 512) == list(chain.entries[512:])
        await store.aclose()


async def test_what_is_erased_is_in_no_file_and_costs_one_rewrite(own: RedisServer, tmp_path: Path) -> None:
    store = await opened(own.url, tmp_path / "news", create=True)
    chain = await commit(store, Chain(), 200)
    seen: list[int] = []

    async def replaced(indices: Sequence[int]) -> None:
        seen.extend(sorted(indices))

    await store.tell(_ignore, replaced, _ignore)
    assert record("/7") in own.files()
    before = await rewrites(own)
    await store.erase({index: erased(chain.entries[index]) for index in range(150)})
    assert seen == list(range(150))
    held = own.files()
    assert not any(record(f"/{index}") in held for index in range(150))
    assert record("/150") in held
    assert await rewrites(own) == before + 1
    # What is out of the files already is not paid for again.
    await store.erase({})
    assert await rewrites(own) == before + 1
    await store.aclose()


async def _ignore(*_: object) -> None:
    return


async def rewrites(server: RedisServer) -> int:
    """Return how often the server has written its file anew."""
    said = (await server.ask("INFO", "persistence")).decode()
    return int(said.partition("aof_rewrites:")[2].split()[0])


async def test_logs_of_a_cluster_lie_on_several_nodes_each_whole(tmp_path: Path) -> None:
    async with cluster(tmp_path / "nodes") as nodes:
        place = parse_place(cluster_url(nodes[1:]), tmp_path)
        logs = [f"example/{name}" for name in ("news", "sport", "weather", "chess", "films")]
        stores = [await RedisStore.open(place, tmp_path / each, origin=each, create=True) for each in logs]
        chains = [await commit(each, Chain(), 300) for each in stores]
        assert [await each.archive(256) for each in stores] == [256] * len(logs)
        held = [{key.decode()[4:].partition("}")[0] for key in await each.ask("KEYS", "*")} for each in nodes]
        assert sorted(name for each in held for name in each) == sorted(logs)
        assert sum(map(bool, held)) > 1
        restarted = next(each for each, names in zip(nodes, held, strict=True) if names)
        await restarted.stop(signal.SIGKILL)
        await restarted.start()
        await agreed(nodes)
        for store, chain in zip(stores, chains, strict=True):
            grown = await commit(store, chain, 2)
            assert await read_all(store, 256) == list(grown.entries[256:])
            await store.aclose()


async def test_what_is_erased_is_in_no_file_of_a_replica_either(own: RedisServer, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", "--replicaof", f"127.0.0.1 {own.port}") as replica:
        await own.has_replicas(1)
        store = await opened(f"{own.url}?replicas=1", tmp_path / "news", create=True)
        chain = await commit(store, Chain(), 3)
        assert record("/1") in replica.files()
        await store.erase({1: erased(chain.entries[1])})
        for server in (own, replica):
            assert record("/1") not in server.files()
            assert record("/2") in server.files()
        await store.aclose()


async def test_a_log_of_a_later_release_is_refused_also_by_hubs_that_are_at_work_on_it(
    empty_redis: RedisServer, tmp_path: Path
) -> None:
    place, folder, head = parse_place(empty_redis.url, tmp_path), tmp_path / "news", Keys(ORIGIN).head
    store = await RedisStore.open(place, folder, origin=ORIGIN, create=True)
    chain = await commit(store, Chain(), 300)
    _, group = chain.grow()
    await empty_redis.ask("HSET", head, "format", FORMAT + 1)

    async def held() -> dict[bytes, list[bytes]]:
        return {key: sorted(await empty_redis.ask("HGETALL", key)) for key in await empty_redis.ask("KEYS", "*")}

    before = await held()
    work: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: store.append(chain.head, group),
        lambda: store.erase({2: erased(chain.entries[2])}),
        lambda: store._archive(range(1)),
        store.head,
        lambda: opened(empty_redis.url, folder),
        lambda: asyncio.to_thread(RedisLog, place, folder, ORIGIN),
    )
    for again in work:
        with pytest.raises(OtherFormat, match=f"format {FORMAT + 1}; this release knows {FORMAT}"):
            await again()
        assert await held() == before
    await store.aclose()

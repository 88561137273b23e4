"""The contract of `History`, on every adapter: tiles and bundles equal those of a naive tree."""

from __future__ import annotations

import asyncio

import pytest

from exchange.errors import CursorAboveSize, CursorBelowFloor, Reason, Rejected
from exchange.ledger.tiles import tiles_for_size
from exchange.ports import TreeHead
from exchange.stores import redis_cold, sqlite_rows
from tests.contract.builders import (
    Chain,
    Store,
    commit,
    entry,
    erased,
    naive_bundle,
    naive_levels,
    naive_root,
    naive_tile,
    read_all,
    seal,
    tile,
)
from tests.contract.places import Place


async def _check_tiles(store: Store, chain: Chain) -> None:
    levels = naive_levels(chain.leaf_hashes)
    every = list(tiles_for_size(chain.size))
    wanted = [b"".join(levels[8 * level][index * 256 : index * 256 + width]) for level, index, width in every]
    assert [found.hashes for found in await store.tiles([*every, *reversed(every)])] == [*wanted, *reversed(wanted)]
    assert list(await store.tiles([])) == []
    for level in range((len(levels) + 7) // 8):
        nodes = chain.size >> 8 * level
        for index in range((nodes + 255) // 256):
            width = min(256, nodes - index * 256)
            whole = b"".join(levels[8 * level][index * 256 : index * 256 + width])
            assert await tile(store, level, index, width) == whole
            assert await tile(store, level, index, 1) == whole[:32]
        with pytest.raises(Rejected) as caught:
            await tile(store, level, nodes // 256, nodes % 256 + 1)
        assert caught.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("groups", [(1,), (255,), (256,), (257,), (300, 300), (100,) * 8], ids=str)
async def test_tiles_and_bundles_are_those_of_the_tree(store: Store, groups: tuple[int, ...]) -> None:
    chain = Chain()
    for count in groups:
        chain = await commit(store, chain, count)
    assert chain.head.root == naive_root(chain.leaf_hashes)
    await _check_tiles(store, chain)
    for index in range((chain.size + 255) // 256):
        assert await store.bundle(index) == naive_bundle(chain.leaves, index)


async def test_what_is_not_in_the_tree_is_not_found(store: Store) -> None:
    chain = await commit(store, Chain(), 256)
    _, group = chain.grow(300)
    await store.append(chain.head, group)
    for level, index, width in [(0, 1, 1), (1, 0, 2), (2, 0, 1), (0, 0, 0), (0, 0, 257), (0, -1, 1), (-1, 0, 1)]:
        with pytest.raises(Rejected) as caught:
            await tile(store, level, index, width)
        assert caught.value.reason is Reason.NOT_FOUND
    for index in (1, -1):
        with pytest.raises(Rejected) as caught:
            await store.bundle(index)
        assert caught.value.reason is Reason.NOT_FOUND


async def test_a_tile_is_as_wide_as_the_sealed_tree_even_where_more_is_durable(store: Store) -> None:
    chain = await commit(store, Chain(), 200)
    grown, group = chain.grow(100)
    await store.append(chain.head, group)
    assert await tile(store, 0, 0, 200) == naive_tile(grown.leaf_hashes, 0, 0, 200)
    with pytest.raises(Rejected):
        await tile(store, 0, 0, 201)
    assert await store.bundle(0) == naive_bundle(chain.leaves, 0)


async def test_what_is_durable_and_not_sealed_can_be_read_to_seal_it(store: Store) -> None:
    chain = await commit(store, Chain(), 300)
    chain, group = chain.grow(20)
    await store.append(TreeHead(300, naive_root(chain.leaf_hashes[:300])), group)
    assert list(await store.durable_entries(290, 320)) == list(chain.entries[290:])
    with pytest.raises(CursorAboveSize):
        await store.durable_entries(290, 321)
    await seal(store, chain.head)
    await store.archive(256)
    with pytest.raises(CursorBelowFloor):
        await store.durable_entries(255, 300)


async def test_two_levels_of_tiles(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sqlite_rows, redis_cold):  # what is remembered is forgotten all the time
        monkeypatch.setattr(module, "_KNOWN_ROOTS", 2)
    store = await place.open()
    chain = Chain()
    for count in (30_000, 30_000, 6_000):
        chain = await commit(store, chain, count, record_bytes=20)
    store = await place.open()
    refs = [(0, 256, 256), (0, 257, 208), (1, 0, 256), (1, 1, 1), (2, 0, 1)]
    wanted = [naive_tile(chain.leaf_hashes, *ref) for ref in refs]
    for _ in range(2):
        assert [found.hashes for found in await store.tiles(refs)] == wanted
        for ref, hashes in zip(refs, wanted, strict=True):
            assert await tile(store, *ref) == hashes
    assert await store.archive(65_536) == 65_536
    for level, index, width in [(0, 3, 256), (1, 0, 200), (2, 0, 1)]:
        assert await tile(store, level, index, width) == naive_tile(chain.leaf_hashes, level, index, width)
    assert await store.bundle(255) == naive_bundle(chain.leaves, 255)


async def test_archiving_moves_whole_bundles_and_keeps_every_byte_reachable(place: Place) -> None:
    store = await place.open()
    chain = await commit(store, Chain(), 700)
    assert await store.archive(600) == 512
    for _ in range(2):
        assert (await store.head()).floor == 512
        for index in range(3):
            assert await store.bundle(index) == naive_bundle(chain.leaves, index)
        await _check_tiles(store, chain)
        assert await read_all(store, 512) == list(chain.entries[512:])
        with pytest.raises(CursorBelowFloor) as caught:
            await store.read(511, 1)
        assert caught.value.floor == 512
        store = await place.open()
    chain = await commit(store, chain, 100)
    await _check_tiles(store, chain)


async def test_the_floor_never_falls_and_never_passes_the_sealed_size(store: Store) -> None:
    assert await store.archive(1_000) == 0
    chain = await commit(store, Chain(), 600)
    assert await store.archive(255) == 0
    assert await store.archive(256) == 256
    assert await store.archive(0) == 256
    assert await store.archive(10_000) == 512
    assert await store.archive(300) == 512
    assert (await store.head()).floor == 512
    _, group = chain.grow(300)
    await store.append(chain.head, group)
    assert await store.archive(10_000) == 512
    assert await read_all(store, 512) == list(chain.entries[512:])


async def test_archiving_at_once_by_two_leaves_the_higher_floor(store: Store) -> None:
    await commit(store, Chain(), 1_100)
    await asyncio.gather(store.archive(1_024), store.archive(256), store.archive(512))
    assert (await store.head()).floor == 1_024


async def test_a_statement_below_the_floor_is_not_found(store: Store) -> None:
    await commit(store, Chain(), 300)
    await store.archive(256)
    assert await store.find(entry(255).statement_id) is None
    assert await store.find(entry(256).statement_id) == 256


async def test_erasing_below_the_floor_is_ignored(store: Store) -> None:
    chain = await commit(store, Chain(), 300)
    await store.archive(256)
    await store.erase({0: erased(entry(0)), 299: erased(entry(299))})
    assert (await store.read(299, 1))[0].frame == erased(entry(299))
    assert await store.bundle(0) == naive_bundle(chain.leaves, 0)


async def test_an_erased_entry_has_the_same_bundle(store: Store) -> None:
    chain = await commit(store, Chain(), 300)
    await store.erase({index: erased(entry(index)) for index in (3, 290)})
    assert await store.bundle(0) == naive_bundle(chain.leaves, 0)
    assert await store.bundle(1) == naive_bundle(chain.leaves, 1)
    await store.archive(256)
    assert await store.bundle(0) == naive_bundle(chain.leaves, 0)


async def test_readers_meet_the_floor_as_a_floor_while_it_rises(place: Place) -> None:
    store = await place.open()
    chain = await commit(store, Chain(), 5_000, record_bytes=20)
    store = await place.open()  # nothing is in memory now
    archiving = asyncio.create_task(store.archive(5_000))
    bundles = [naive_bundle(chain.leaves, index) for index in range(20)]
    while not archiving.done():
        floor = (await store.head()).floor
        try:
            part = await store.read(floor, 20)
        except CursorBelowFloor as error:
            assert error.floor > floor
        else:
            assert part[0].index == floor
        assert await store.bundle(floor // 256) == bundles[floor // 256]
        await asyncio.sleep(0)
    assert await archiving == 4_864

"""The two test stores themselves: one fails on demand, the other notices misuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from msgspec import structs

from exchange.errors import Unavailable
from tests.contract.builders import Chain, checkpoint, commit, entry, erased, read_all, seal
from tests.contract.faulty_store import FaultyStore
from tests.contract.memory_store import Disk, MemoryStore, Misuse


class Script:
    """Fails the next call of one method."""

    def __init__(self) -> None:
        self.fail: tuple[str, bool] | None = None

    def __call__(self, name: str) -> tuple[bool, Exception | None]:
        if self.fail is None or self.fail[0] != name:
            return True, None
        applied = self.fail[1]
        self.fail = None
        return applied, Unavailable("on purpose")


@pytest.mark.parametrize("applied", [False, True])
async def test_a_failed_call_took_effect_or_did_not(applied: bool) -> None:
    script = Script()
    store = FaultyStore(MemoryStore(), script)
    start = Chain()
    chain, group = start.grow(300)

    script.fail = ("append", applied)
    with pytest.raises(Unavailable):
        await store.append(start.head, group)
    assert (await store.head()).durable == (chain if applied else start).head
    if not applied:
        await store.append(start.head, group)

    script.fail = ("seal", applied)
    with pytest.raises(Unavailable):
        await seal(store, chain.head)
    assert (await store.head()).sealed == (chain if applied else start).head
    await seal(store, chain.head)

    script.fail = ("erase", applied)
    with pytest.raises(Unavailable):
        await store.erase({299: erased(entry(299))})
    assert ((await store.read(299, 1))[0].frame == erased(entry(299))) == applied

    script.fail = ("archive", applied)
    with pytest.raises(Unavailable):
        await store.archive(256)
    assert (await store.head()).floor == (256 if applied else 0)


@pytest.mark.parametrize("name", ["head", "read", "wait", "find", "tiles", "bundle"])
async def test_calls_that_change_nothing_fail_too(name: str) -> None:
    script = Script()
    store = FaultyStore(MemoryStore(), script)
    await commit(store, Chain(), 3)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "head": store.head,
        "read": lambda: store.read(0, 1),
        "wait": lambda: store.wait(0),
        "find": lambda: store.find(b""),
        "tiles": lambda: store.tiles([(0, 0, 1)]),
        "bundle": lambda: store.bundle(0),
    }
    script.fail = (name, False)
    with pytest.raises(Unavailable):
        await calls[name]()
    await calls[name]()
    await store.aclose()


@pytest.mark.parametrize("wrong", ["gap", "root", "tiles", "tile", "leaf hash", "time", "size", "empty", "directory"])
async def test_memory_store_notices_a_group_that_cannot_be_right(wrong: str) -> None:
    store = MemoryStore()
    start = await commit(store, Chain(), 200)
    chain, group = start.grow(100)
    first, tile = group.entries[0], group.tiles[0]
    bad = {
        "gap": lambda: start.grow_by((*group.entries[:1], *group.entries[2:]))[1],
        "root": lambda: replace(group, head=replace(chain.head, root=b"\x07" * 32)),
        "tiles": lambda: replace(group, tiles=()),
        "tile": lambda: replace(group, tiles=(replace(tile, hashes=tile.hashes[::-1]),)),
        "leaf hash": lambda: start.grow_by((structs.replace(first, leaf_hash=b"\x07" * 32), *group.entries[1:]))[1],
        "time": lambda: replace(group, entries=(structs.replace(first, received_at_ms=1), *group.entries[1:])),
        "size": lambda: replace(group, head=replace(chain.head, size=299)),
        "empty": lambda: replace(group, entries=()),
        "directory": lambda: replace(group, directory_size=0),
    }[wrong]()
    with pytest.raises(Misuse):
        await store.append(start.head, bad)
    await store.append(start.head, group)


async def test_memory_store_notices_a_second_checkpoint_for_one_size() -> None:
    store = MemoryStore()
    chain = await commit(store, Chain(), 2)
    with pytest.raises(Misuse):
        await store.seal(chain.head, b"other bytes")
    with pytest.raises(Misuse):
        await store.seal(replace(chain.head, root=b"\x07" * 32), checkpoint(chain.head))
    with pytest.raises(Misuse):
        await store.seal(chain.head, b"")


async def test_memory_store_may_read_less_and_one_log_is_open_once() -> None:
    disk = Disk()
    store = MemoryStore(disk, read_at_most=2)
    chain = await commit(store, Chain(), 5)
    assert len(await store.read(0, 5)) == 2
    assert await read_all(store) == list(chain.entries)
    with pytest.raises(Misuse):
        MemoryStore(disk)
    await store.aclose()
    assert (await MemoryStore(disk).head()).sealed == chain.head

"""The embedded store against the world: damaged files, killed processes, a full disk, a failing one."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from itertools import accumulate, cycle, takewhile
from pathlib import Path

import apsw
import pytest

from exchange.errors import Fatal, Unavailable
from exchange.ledger.tiles import entries_path
from exchange.publish.recovery import load_tree
from exchange.stores.sqlite import FILE_NAME, SqliteStore
from exchange.stores.sqlite_reader import LogFiles
from tests.contract.builders import (
    ORIGIN,
    Chain,
    checkpoint,
    commit,
    entry,
    erased,
    naive_bundle,
    naive_root,
    read_all,
    seal,
)
from tests.contract.child import GROUPS
from tests.contract.processes import child
from tests.contract.small_disks import fill, small_disk
from tests.faults.disk import Disk
from tests.faults.sabotage import Full


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "news"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[SqliteStore]:
    made = await SqliteStore.open(folder, origin=ORIGIN, create=True)
    yield made
    await made.aclose()


def _flip(folder: Path, table: str, column: str, at: int, where: str) -> None:
    """Flip one bit of one value, as a disk would: without SQLite's or our checksums following."""
    connection = apsw.Connection(str(folder / FILE_NAME))
    value = connection.execute(f"SELECT {column} FROM {table} WHERE {where}").get
    damaged = bytearray(value)
    damaged[at] ^= 1
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (bytes(damaged),))
    connection.close()


def _delete(folder: Path, table: str, where: str) -> None:
    connection = apsw.Connection(str(folder / FILE_NAME))
    connection.execute(f"DELETE FROM {table} WHERE {where}")
    connection.close()


def _run(folder: Path, statement: str) -> None:
    connection = apsw.Connection(str(folder / FILE_NAME))
    connection.execute(statement)
    connection.close()


Damage = Callable[[Path], None]
DAMAGES: dict[str, tuple[Damage, list[tuple[str, tuple[object, ...]]]]] = {
    "a record": (
        lambda folder: _flip(folder, "entries", "frame", -1, "idx = 700"),
        [("read", (700, 1)), ("bundle", (2,)), ("tiles", ([(0, 2, 189)],))],
    ),
    "a leaf": (
        lambda folder: _flip(folder, "entries", "frame", 20, "idx = 700"),
        [("read", (700, 1)), ("bundle", (2,))],
    ),
    "a frame's length": (
        lambda folder: _flip(folder, "entries", "frame", 1, "idx = 700"),
        [("read", (700, 1)), ("bundle", (2,))],
    ),
    "a leaf hash": (
        lambda folder: _flip(folder, "entries", "leaf_hash", 5, "idx = 700"),
        [("read", (700, 1)), ("bundle", (2,)), ("tiles", ([(0, 2, 189)],))],
    ),
    "an entry's time": (
        lambda folder: _run(folder, "UPDATE entries SET received_at_ms = received_at_ms + 1 WHERE idx = 700"),
        [("read", (700, 1)), ("durable_entries", (700, 701))],
    ),
    "a statement's id": (
        lambda folder: _flip(folder, "entries", "statement_id", 5, "idx = 700"),
        [("read", (700, 1)), ("durable_entries", (700, 701))],
    ),
    "a missing entry": (
        lambda folder: _delete(folder, "entries", "idx = 600"),
        [("read", (600, 1)), ("bundle", (2,)), ("tiles", ([(0, 2, 189)],))],
    ),
    "a tile": (
        lambda folder: _flip(folder, "tiles", "hashes", 4_000, "level = 0 AND idx = 1"),
        [("tiles", ([(0, 1, 256)],)), ("tiles", ([(0, 1, 3)],)), ("tiles", ([(1, 0, 2)],))],
    ),
    "a tile's root": (
        lambda folder: _flip(folder, "tiles", "root", 4, "level = 0 AND idx = 1"),
        [("tiles", ([(0, 1, 256)],)), ("tiles", ([(1, 0, 2)],))],
    ),
    "a missing tile": (lambda folder: _delete(folder, "tiles", "idx = 1"), [("tiles", ([(1, 0, 2)],))]),
    "a bundle file": (
        lambda folder: _flip_file(folder / entries_path(0), 1_000),
        [("bundle", (0,))],
    ),
    "a bundle file's length": (
        lambda folder: _flip_file(folder / entries_path(0), 0),
        [("bundle", (0,))],
    ),
    "a missing bundle file": (lambda folder: (folder / entries_path(0)).unlink(), [("bundle", (0,))]),
}


def _flip_file(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("what", DAMAGES)
async def test_damage_is_noticed_and_never_served(folder: Path, store: SqliteStore, what: str) -> None:
    chain = await commit(store, Chain(), 701)
    await store.archive(256)
    await store.aclose()
    damage, calls = DAMAGES[what]
    damage(folder)
    store = await SqliteStore.open(folder, origin=ORIGIN)
    try:
        async with asyncio.timeout(5):
            for name, arguments in calls:
                with pytest.raises(Fatal):
                    await getattr(store, name)(*arguments)
            assert list(await store.read(260, 3)) == list(chain.entries[260:263])
    finally:
        await store.aclose()


@pytest.mark.parametrize(
    "change", ["floor = 0", "floor = 512", "durable_size = 700", "sealed_size = 702", "sealed_size = -1", "id = 1 - id"]
)
async def test_a_head_that_its_rows_contradict_is_refused(folder: Path, store: SqliteStore, change: str) -> None:
    await commit(store, Chain(), 701)
    await store.archive(256)
    await store.aclose()
    _run(folder, f"PRAGMA ignore_check_constraints = 1; UPDATE log SET {change}")
    with pytest.raises(Fatal):
        await SqliteStore.open(folder, origin=ORIGIN)


async def test_a_file_of_garbage_pages_is_a_typed_error(folder: Path, store: SqliteStore) -> None:
    await commit(store, Chain(), 500)
    await store.aclose()
    data = bytearray((folder / FILE_NAME).read_bytes())
    data[8192:-4096] = b"\xa5" * (len(data) - 8192 - 4096)
    (folder / FILE_NAME).write_bytes(data)
    with pytest.raises(Fatal):
        await _open_and_read(folder)


async def _open_and_read(folder: Path) -> None:
    store = await SqliteStore.open(folder, origin=ORIGIN)
    try:
        await read_all(store)
    finally:
        await store.aclose()


async def test_a_bundle_file_with_other_bytes_stops_archiving(folder: Path, store: SqliteStore) -> None:
    chain = await commit(store, Chain(), 300)
    _write(folder / entries_path(0), b"something else")
    with pytest.raises(Fatal):
        await store.archive(256)
    assert (await store.head()).floor == 0
    assert await read_all(store) == list(chain.entries)


async def test_archiving_goes_on_where_a_crash_left_it(folder: Path, store: SqliteStore) -> None:
    chain = await commit(store, Chain(), 600)
    _write(folder / entries_path(0), naive_bundle(chain.leaves, 0))
    _write((folder / entries_path(1)).with_name(".001.new"), b"torn")
    assert await store.archive(600) == 512
    assert await store.bundle(1) == naive_bundle(chain.leaves, 1)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


async def _make(folder: Path) -> None:
    store = await SqliteStore.open(folder, origin=ORIGIN, create=True)
    await store.aclose()


def _boundaries(limit: int) -> list[int]:
    """Return the sizes at which the child's groups end, up to one above the limit."""
    sizes = accumulate(cycle(GROUPS), initial=0)
    found = list(takewhile(lambda size: size <= limit, sizes))
    return [*found, found[-1] + GROUPS[(len(found) - 1) % len(GROUPS)]]


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 10, 25, 40])
async def test_a_killed_hub_has_lost_nothing_it_acknowledged(folder: Path, lines: int) -> None:
    await _make(folder)
    async with child("append", folder) as hub:
        await hub.listen(lines)
        await hub.kill()
    store = await SqliteStore.open(folder, origin=ORIGIN)
    head = await store.head()
    ends = _boundaries(hub.said.get("durable", 0))
    assert head.durable.size in {hub.said.get("durable", 0), ends[-1]}
    at = ends.index(head.durable.size)
    assert head.sealed.size in {ends[at], ends[max(0, at - 1)]}
    chain, _ = Chain().grow(head.durable.size)
    assert head.durable.root == naive_root(chain.leaf_hashes)
    assert not head.checkpoint or head.checkpoint == checkpoint(head.sealed)
    await seal(store, head.durable)
    assert (await store.head()).checkpoint == checkpoint(head.durable)
    assert await read_all(store) == list(chain.entries)
    await commit(store, chain, 5)
    await store.aclose()


@pytest.mark.parametrize("lines", [3, 11, 24])
async def test_a_kill_during_archiving_or_erasing_loses_no_byte(folder: Path, lines: int) -> None:
    await _make(folder)
    async with child("archive", folder) as hub:
        await hub.listen(lines)
        await asyncio.sleep(0.003)
        await hub.kill()
    store = await SqliteStore.open(folder, origin=ORIGIN)
    head = await store.head()
    await seal(store, head.durable)
    chain, _ = Chain().grow(head.durable.size)
    assert head.floor >= hub.said.get("floor", 0)
    for index in range((chain.size + 255) // 256):
        assert await store.bundle(index) == naive_bundle(chain.leaves, index)
    must = {start for start in _boundaries(hub.said.get("erased", 0)) if start <= hub.said.get("erased", -1)}
    for found in await read_all(store, head.floor):
        both = [entry(found.index).frame, erased(entry(found.index))]
        assert found.frame in both[1:] if found.index in must else found.frame in both
    await store.aclose()


async def test_a_kill_after_archiving_the_last_group_leaves_a_log_that_opens(folder: Path) -> None:
    await _make(folder)
    async with child("archive_the_last", folder) as hub:
        await hub.listen(1)
        await hub.kill()
    assert hub.said == {"floor": 256}
    files = LogFiles(folder)
    state = files.state()
    files.close()
    assert (state.floor, state.sealed_size, state.durable_size) == (256, 310, 310)
    store = await SqliteStore.open(folder, origin=ORIGIN)
    chain, _ = Chain().grow(310)
    head = await store.head()
    assert (head.floor, head.sealed, head.durable) == (256, chain.head, chain.head)
    assert head.checkpoint == checkpoint(chain.head)
    assert (await load_tree(ORIGIN, head, store)).root() == chain.head.root
    assert await read_all(store, 256) == list(chain.entries[256:])
    for index in range(2):
        assert await store.bundle(index) == naive_bundle(chain.leaves, index)
    await commit(store, chain, 5)
    await store.aclose()


async def test_archiving_late_does_not_lower_the_seal_on_disk(folder: Path, store: SqliteStore) -> None:
    old = await commit(store, Chain(), 300)
    before = await store.head()
    chain = await commit(store, old, 7)
    await commit(store, chain, 1)
    commits = store._commits
    assert commits is not None
    await store._writer.call(lambda: commits.drop_below(before, 256))
    now = await store._writer.call(commits.head)
    assert (now.floor, now.sealed, now.checkpoint) == (256, chain.head, checkpoint(chain.head))


async def _set_page_limit(store: SqliteStore, pages: int) -> None:
    assert store._commits is not None
    connection = store._commits._connection
    await store._writer.call(lambda: connection.pragma("max_page_count", pages))


async def test_a_full_store_changes_nothing_and_recovers(folder: Path, store: SqliteStore) -> None:
    chain = await commit(store, Chain(), 50)
    before = await store.head()
    await _set_page_limit(store, 1)
    _, group = chain.grow(500)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await store.append(chain.head, group)
    assert await store.head() == before
    assert await read_all(store) == list(chain.entries)
    await _set_page_limit(store, 2**30)
    chain = await commit(store, chain, 500)
    await store.aclose()
    store = await SqliteStore.open(folder, origin=ORIGIN)
    assert await read_all(store) == list(chain.entries)
    await store.aclose()


@pytest.fixture(params=["real", "pretended"])
def fill_disk(folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[], Path]]:
    """Make the log's disk full when called; what is returned is deleted to free it."""
    if request.param == "real":
        with small_disk(folder, megabytes=4) as place:
            yield lambda: fill(place)
        return
    sign = tmp_path / "full"

    def pretend() -> Path:
        sign.touch()
        return sign

    disk = Disk(folder.name, Full(sign))
    disk.install()
    yield pretend
    disk.uninstall()


async def test_a_full_disk_changes_nothing_and_recovers(fill_disk: Callable[[], Path], folder: Path) -> None:
    store = await SqliteStore.open(folder, origin=ORIGIN, create=True)
    chain = await commit(store, Chain(), 300)
    before = await store.head()
    filler = fill_disk()
    for count in (500, 1_000):
        with pytest.raises(Unavailable):
            await store.append(chain.head, chain.grow(count)[1])
    with pytest.raises(Unavailable):
        await store.archive(256)
    assert await store.head() == before
    assert await read_all(store) == list(chain.entries)
    filler.unlink()
    chain = await commit(store, chain, 500)
    assert await store.archive(256) == 256
    filler = fill_disk()
    await store.aclose()
    filler.unlink()
    store = await SqliteStore.open(folder, origin=ORIGIN)
    head = await store.head()
    assert head.durable == chain.head
    await seal(store, head.durable)
    assert await read_all(store, 256) == list(chain.entries[256:])
    await store.aclose()


async def test_a_failing_disk_stops_writing_until_the_log_is_opened_again(folder: Path, store: SqliteStore) -> None:
    chain = await commit(store, Chain(), 50)
    before = await store.head()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / f"{FILE_NAME}-wal").stat().st_size + 8192, hard))
    try:
        with pytest.raises(Fatal):
            await store.append(chain.head, chain.grow(500)[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for _ in range(2):
        with pytest.raises(Fatal) as caught:
            await store.append(chain.head, chain.grow(1)[1])
        assert caught.value.hint
    with pytest.raises(Fatal):
        await store.erase({0: erased(entry(0))})
    assert await store.head() == before
    assert await read_all(store) == list(chain.entries)
    await store.aclose()
    store = await SqliteStore.open(folder, origin=ORIGIN)
    head = await store.head()
    assert head == replace(before, sealed=head.sealed, checkpoint=head.checkpoint)
    await seal(store, head.durable)
    await commit(store, chain, 500)
    await store.aclose()

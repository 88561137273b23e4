"""What only the embedded store promises: how it opens, what it holds in memory, what erasure leaves in its files."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw
import pytest
from msgspec import structs

from exchange.codec import decode_frame
from exchange.errors import Fatal, Reason, Rejected, Unavailable
from exchange.ledger.tiles import entries_path
from exchange.stores import sqlite, sqlite_schema
from exchange.stores.recent import RecentEntries
from exchange.stores.sqlite import FILE_NAME, SqliteStore
from tests.contract.builders import (
    ORIGIN,
    Chain,
    commit,
    entry,
    erased,
    naive_bundle,
    naive_tile,
    read_all,
    record,
    tile,
)
from tests.contract.processes import child

T = TypeVar("T")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "news"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[SqliteStore]:
    made = await SqliteStore.open(folder, origin=ORIGIN, create=True)
    yield made
    await made.aclose()


async def _on_writer(store: SqliteStore, job: Callable[[apsw.Connection], T]) -> T:
    assert store._commits is not None
    connection = store._commits._connection
    return await store._writer.call(lambda: job(connection))


def _change(folder: Path, *queries: str) -> None:
    connection = apsw.Connection(str(folder / FILE_NAME))
    for query in queries:
        connection.execute(query)
    connection.close()


async def test_a_missing_log_is_not_made_by_opening_it(folder: Path) -> None:
    with pytest.raises(Rejected) as caught:
        await SqliteStore.open(folder, origin=ORIGIN)
    assert caught.value.reason is Reason.NOT_FOUND
    assert caught.value.hint
    assert not folder.exists()


async def test_a_log_is_made_once(folder: Path, store: SqliteStore) -> None:
    await store.aclose()
    with pytest.raises(Rejected) as caught:
        await SqliteStore.open(folder, origin=ORIGIN, create=True)
    assert caught.value.reason is Reason.CONFLICT


async def test_a_log_whose_making_was_cut_off_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_folder: Path) -> None:
        raise OSError("cut off")

    folder.mkdir()
    for name in ("", "-wal", "-shm"):
        (folder / f".{FILE_NAME}.new{name}").write_bytes(b"of a process that died")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda *_: fails(folder))
        with pytest.raises(OSError, match="cut off"):
            await SqliteStore.open(folder, origin=ORIGIN, create=True)
    with pytest.raises(Rejected) as caught:
        await SqliteStore.open(folder, origin=ORIGIN)
    assert caught.value.reason is Reason.NOT_FOUND
    made = await SqliteStore.open(folder, origin=ORIGIN, create=True)
    await commit(made, Chain(), 2)
    await made.aclose()
    assert {path.name for path in folder.iterdir()} == {FILE_NAME, "lock"}


@pytest.mark.parametrize(
    ("query", "origin", "word"),
    [
        ("PRAGMA user_version = 99", ORIGIN, "99"),
        ("PRAGMA user_version = 0", ORIGIN, "format 0"),
        ("SELECT 1", "example/other", "example/other"),
        ("DELETE FROM log", ORIGIN, "None"),
        ("UPDATE log SET durable_size = 7", ORIGIN, "7"),
    ],
)
async def test_another_schema_or_log_is_refused(
    folder: Path, store: SqliteStore, query: str, origin: str, word: str
) -> None:
    chain = await commit(store, Chain(), 2)
    await store.aclose()
    _change(folder, query)
    with pytest.raises(Fatal, match=word):
        await SqliteStore.open(folder, origin=origin)
    if query == "SELECT 1":
        again = await SqliteStore.open(folder, origin=ORIGIN)
        assert (await again.head()).sealed == chain.head
        await again.aclose()


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
async def test_a_file_that_is_no_log_is_refused(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(content)
    with pytest.raises(Fatal):
        await SqliteStore.open(folder, origin=ORIGIN)


async def test_an_old_sqlite_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_schema, "OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(Fatal) as caught:
        await SqliteStore.open(folder, origin=ORIGIN, create=True)
    assert caught.value.hint


async def test_a_second_process_is_refused_until_the_first_is_gone(folder: Path, store: SqliteStore) -> None:
    with pytest.raises(Fatal) as caught:
        await SqliteStore.open(folder, origin=ORIGIN)
    assert caught.value.reason is Reason.CONFLICT
    await store.aclose()
    async with child("hold", folder) as holder:
        await holder.listen(1)
        with pytest.raises(Fatal) as caught:
            await SqliteStore.open(folder, origin=ORIGIN)
        assert caught.value.reason is Reason.CONFLICT
        await holder.kill()
    again = await SqliteStore.open(folder, origin=ORIGIN)
    await again.aclose()


async def test_the_pragmas_that_durability_and_erasure_rest_on_are_set(store: SqliteStore) -> None:
    assert store._rows is not None
    reading = store._rows._connection
    pragmas = ("journal_mode", "synchronous", "secure_delete", "query_only")
    assert await _on_writer(store, lambda c: [c.pragma(name) for name in pragmas]) == ["wal", 2, 1, 0]
    assert await store._reader.call(lambda: [reading.pragma(name) for name in pragmas]) == ["wal", 2, 1, 1]


async def test_reads_do_not_wait_for_a_commit(folder: Path, store: SqliteStore) -> None:
    chain = await commit(store, Chain(), 600)
    await store.archive(256)
    await store.aclose()
    store = await SqliteStore.open(folder, origin=ORIGIN)
    release = threading.Event()
    busy = asyncio.create_task(store._writer.call(release.wait))
    async with asyncio.timeout(5):
        assert list(await store.read(300, 1)) == [chain.entries[300]]
        assert await store.find(chain.entries[400].statement_id) == 400
        assert await tile(store, 0, 2, 88) == naive_tile(chain.leaf_hashes, 0, 2, 88)
        assert await store.bundle(0) == naive_bundle(chain.leaves, 0)
    release.set()
    await busy
    await store.aclose()


async def test_new_and_old_entries_read_alike_wherever_memory_ends(store: SqliteStore) -> None:
    store._recent = RecentEntries(max_entries=10)
    chain = Chain()
    for count in (4, 30, 2, 7, 1):
        chain = await commit(store, chain, count)
        for start in range(chain.size):
            found = await store.read(start, 5)
            assert list(found) == list(chain.entries[start : start + 5])
    await store.erase({index: erased(entry(index)) for index in (0, 33, 43)})
    frames = [erased(e) if e.index in {0, 33, 43} else e.frame for e in chain.entries]
    assert [e.frame for e in await read_all(store)] == frames
    assert [(await store.read(at, 1))[0].frame for at in range(44)] == frames


@pytest.mark.parametrize(("max_bytes", "max_entries"), [(10_000, 1_000), (10**9, 12), (1, 1)])
def test_what_is_kept_in_memory_is_bounded(max_bytes: int, max_entries: int) -> None:
    recent = RecentEntries(max_bytes=max_bytes, max_entries=max_entries)
    chain = Chain()
    assert not recent.covers(0)
    for count in (3, 20, 1, 1, 50, 2, 2, 2):
        chain, group = chain.grow(count)
        recent.add(group.entries)
        held = recent._entries
        assert tuple(held) == chain.entries[-len(held) :]
        assert len(held) == count or (len(held) <= max_entries and sum(len(e.frame) for e in held) <= max_bytes)
        assert recent._bytes == sum(len(e.frame) for e in held)
        assert recent.covers(held[0].index)
        assert not recent.covers(held[0].index - 1)
    recent.replace_frames({chain.size - 1: b"short", 0: b"gone", 10**6: b"later"})
    assert recent.slice(chain.size - 1, chain.size) == [structs.replace(chain.entries[-1], frame=b"short")]
    recent.drop_below(chain.size - 1)
    assert recent._bytes == len(b"short")
    recent.drop_below(chain.size + 5)
    assert not recent.covers(chain.size)


async def test_a_lower_floor_asked_for_late_does_not_lower_it(store: SqliteStore) -> None:
    await commit(store, Chain(), 1_100)
    release = threading.Event()
    busy = asyncio.create_task(store._writer.call(release.wait))
    higher = asyncio.create_task(store.archive(1_024))
    while not (store._path.parent / entries_path(3)).exists():
        await asyncio.sleep(0.001)
    lower = asyncio.create_task(store.archive(256))
    await asyncio.sleep(0.02)
    release.set()
    await busy
    assert (await higher, await lower) == (1_024, 1_024)
    assert (await store.head()).floor == 1_024
    assert not store._recent.covers(1_023)
    assert store._recent.covers(1_024)


async def test_a_group_that_would_leave_a_gap_is_refused(store: SqliteStore) -> None:
    chain = await commit(store, Chain(), 3)
    _, group = chain.grow(3)
    for bad in (
        replace(group, entries=group.entries[1:]),
        replace(group, entries=group.entries[:1] + group.entries[2:]),
        replace(group, head=replace(group.head, size=5)),
    ):
        with pytest.raises(Fatal):
            await store.append(chain.head, bad)
    await commit(store, chain, 3)


def _holds(folder: Path, needle: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


@pytest.mark.parametrize("record_bytes", [60, 700, 20_000])
async def test_erased_bytes_are_in_no_file(folder: Path, store: SqliteStore, record_bytes: int) -> None:
    chain = Chain()
    for _ in range(5):
        chain = await commit(store, chain, 20, record_bytes=record_bytes)
    needles = {index: record(f"/{index}", record_bytes)[-40:] for index in range(100)}
    assert all(_holds(folder, needle) for needle in needles.values())
    reading = asyncio.create_task(_read_again_and_again(folder, store))
    gone = {index: erased(entry(index)) for index in range(0, 100, 3)}
    grown, group = chain.grow(5)
    await asyncio.gather(store.erase(gone), store.append(chain.head, group))
    reading.cancel()
    assert [index for index in gone if _holds(folder, needles[index])] == []
    assert [index for index in needles if index not in gone and not _holds(folder, needles[index])] == []
    await store.aclose()
    assert [index for index in gone if _holds(folder, needles[index])] == []
    assert grown.size == 105


async def _read_again_and_again(folder: Path, store: SqliteStore) -> None:
    """Keep the reader thread busy with cold reads."""
    assert store._rows is not None
    while True:
        await store._reader.call(lambda: store._rows and store._rows.entries(0, 100))


async def test_a_foreign_reader_delays_erasure_but_no_commit(
    folder: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_CUT_TRIES", 3)
    chain = await commit(store, Chain(), 20)
    needle = record("/7")[-40:]
    foreign = apsw.Connection(str(folder / FILE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    foreign.execute("BEGIN").execute("SELECT count(*) FROM entries").fetchall()
    async with asyncio.timeout(5):
        erasing = asyncio.create_task(store.erase({7: erased(entry(7))}))
        chain = await commit(store, chain, 1)
        with pytest.raises(Unavailable):
            await erasing
        await commit(store, chain, 1)
    assert (await store.read(7, 1))[0].frame == erased(entry(7))
    assert _holds(folder, needle)
    foreign.close()
    await store.erase({7: erased(entry(7))})
    assert _holds(folder, needle) == []


async def test_no_read_keeps_the_write_ahead_log_from_shrinking(folder: Path, store: SqliteStore) -> None:
    chain = await commit(store, Chain(), 300)
    await store.aclose()
    store = await SqliteStore.open(folder, origin=ORIGIN)
    await store.read(0, 300)
    await tile(store, 0, 0, 256)
    await tile(store, 0, 1, 44)
    await store.bundle(1)
    await store.find(entry(3).statement_id)
    chain = await commit(store, chain, 10)
    await store.erase({})
    assert (folder / f"{FILE_NAME}-wal").stat().st_size == 0
    await store.aclose()


@pytest.mark.parametrize("largest", [100, 700, 2_500])
async def test_no_piece_of_an_erased_record_is_left_anywhere_in_the_files(folder: Path, largest: int) -> None:
    source, chain = random.Random(largest), Chain()
    store = await SqliteStore.open(folder, origin=ORIGIN, create=True)
    while chain.size < 400:
        chain = await commit(store, chain, source.randrange(1, 12), record_bytes=source.randrange(60, largest))
    await store.archive(256)
    gone = source.sample(range(256, chain.size), 100)
    for at in range(0, len(gone), 7):
        await store.erase({index: erased(chain.entries[index]) for index in gone[at : at + 7]})
    files = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for index in (*range(256), *gone):
        (data,) = decode_frame(chain.entries[index].frame).records
        assert not any(data[at : at + 20] in files for at in range(2, len(data) - 20, max(20, len(data) // 16)))
    await store.aclose()


async def test_a_kept_cursor_does_not_make_the_reader_stand_still(store: SqliteStore) -> None:
    """A debugger or a profiler may keep one: what is sealed afterwards must be seen, and erased bytes be cut away."""
    assert store._rows is not None
    rows, connection = store._rows, store._rows._connection
    kept: list[apsw.Cursor] = []

    def keep(cursor: apsw.Cursor, _query: str, _values: object) -> bool:
        kept.append(cursor)
        return True

    connection.exec_trace = keep
    chain = Chain()
    for _ in range(3):
        chain = await commit(store, chain, 300)
        whole = chain.size // 256 - 1
        found = await store._reader.call(partial(rows.tile, 0, whole, 256))
        assert found.hashes == naive_tile(chain.leaf_hashes, 0, whole, 256)
        assert await store.find(chain.entries[-1].statement_id) == chain.size - 1
        assert await store.bundle(whole) == naive_bundle(chain.leaves, whole)
        assert connection.txn_state("main") == apsw.SQLITE_TXN_NONE
    assert await store._reader.call(rows.cut_log)
    assert len(kept) > 3

"""Snapshots of a fold: a start reads what is new; whatever is wrong with a snapshot, it is ignored or found out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.directory import Directory
from exchange.errors import Fatal, Rejected
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.snapshot import Snapshot
from exchange.views import snapshots
from exchange.views.directory import DIRECTORY, DirectoryView
from exchange.views.keeper import Keeper, SnapshotDiffers
from exchange.views.replay import Pace, Replay
from tests.unit.builders import digest
from tests.unit.views.directory_log import FIRST, KEY, LEAST_GROWTH, Clock, DirectoryLog, directory_log, renamed

DEADLINE_S = 20.0


def state(directory: Directory) -> dict[str, Any]:
    return dict(vars(directory))


@asynccontextmanager
async def running(keeper: Keeper[Directory]) -> AsyncIterator[None]:
    task = asyncio.create_task(keeper.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def relies(keeper: Keeper[Directory]) -> bool:
    return keeper.relied_on is not None


async def checked(keeper: Keeper[Directory]) -> None:
    """Run a keeper until it has found what its start relied on to be right."""
    assert relies(keeper)
    async with running(keeper), asyncio.timeout(DEADLINE_S):
        while relies(keeper):
            await asyncio.sleep(0.01)


async def snapshot_of(log: DirectoryLog) -> bytes:
    """Return the snapshot of the log as it stands."""
    view = await log.view(Replay(log.leaves, Directory()))
    head = (await log.store.head()).sealed
    made = await snapshots.take(DIRECTORY, view.directory.origin, view.directory, head, Pace(Clock()))
    return made.sealed(KEY)


async def log_with_snapshot(before: int = 3, after: int = 5) -> DirectoryLog:
    log = await directory_log(before)
    log.file.data = await snapshot_of(log)
    await log.say(*map(renamed, range(100, 100 + after)))
    log.store.read_indices.clear()
    return log


async def test_a_start_reads_only_what_came_after_the_snapshot() -> None:
    log = await log_with_snapshot(before=300, after=5)
    size = log.chain.size
    view = await log.view(await log.keeper().load())
    assert log.store.read_indices == set(range(size - 5, size))
    assert state(view.directory) == state(await log.folded())


async def test_without_a_snapshot_everything_is_read() -> None:
    log = await directory_log(9)
    view = await log.view(await log.keeper().load())
    assert log.store.read_indices == set(range(log.chain.size))
    assert view.directory.members["alpha"].display_name == "Name 8"


async def test_wherever_the_snapshot_was_taken_the_fold_is_the_same() -> None:
    whole = await directory_log(12)
    expected = state(await whole.folded())
    log = DirectoryLog()
    for index, body in enumerate((*FIRST, *map(renamed, range(12)))):
        await log.say(body)
        whole.file.data = await snapshot_of(log)
        replay = await whole.keeper().load()
        assert replay.range.size == index + 1
        assert state((await whole.view(replay)).directory) == expected


@pytest.mark.parametrize(
    "keeper",
    [
        {"key": SigningKey(digest("the key of somebody else"))},
        {"origin": "other.exchange/directory"},
        {"name": "debts"},
        {"format": DIRECTORY.format + 1},
    ],
    ids=["another key", "another log", "another fold", "another format"],
)
async def test_a_snapshot_of_something_else_is_ignored(keeper: dict[str, Any]) -> None:
    log = await log_with_snapshot()
    assert (await log.keeper(**keeper).load()).range.size == 0
    assert (await log.keeper().load()).range.size > 0


async def test_a_snapshot_of_another_release_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    log = await log_with_snapshot()
    monkeypatch.setattr(snapshots, "__version__", "99.0.0")
    assert (await log.keeper().load()).range.size == 0


async def test_a_snapshot_that_is_newer_than_the_log_is_ignored() -> None:
    longer, shorter = await directory_log(4), await directory_log(3)
    shorter.file.data = await snapshot_of(longer)
    assert (await shorter.keeper().load()).range.size == 0


async def test_a_snapshot_of_another_tree_of_the_same_size_is_ignored() -> None:
    other, log = DirectoryLog(), await directory_log(1)
    await other.say(*FIRST, renamed(5))
    log.file.data = await snapshot_of(other)
    assert other.chain.size == log.chain.size
    assert (await log.keeper().load()).range.size == 0


@given(data=st.data())
def test_a_damaged_snapshot_is_refused(data: st.DataObject) -> None:
    whole = Snapshot("directory", 1, "0.1.0", "x/directory", 3, digest("a root"), b"[1]\n[2]")
    sealed = whole.sealed(KEY)
    at = data.draw(st.integers(0, len(sealed) - 1))
    damaged = sealed[:at] + bytes([sealed[at] ^ data.draw(st.integers(1, 255))]) + sealed[at + 1 :]
    for bad in (damaged, sealed[:at], sealed + b"\n", sealed + b"[3]"):
        with pytest.raises(Rejected):
            Snapshot.opened(bad, KEY.public_key)
    assert Snapshot.opened(sealed, KEY.public_key) == whole


@given(st.binary(max_size=300))
def test_any_bytes_are_no_snapshot(data: bytes) -> None:
    with pytest.raises(Rejected):
        Snapshot.opened(data, KEY.public_key)


async def test_signed_rows_that_make_no_fold_are_ignored() -> None:
    log = await log_with_snapshot()
    assert log.file.data is not None
    good = Snapshot.opened(log.file.data, KEY.public_key)
    lines = good.rows.split(b"\n")
    for rows in (
        b'["nonsense"]',
        b"not json",
        b"[" * 100_000,
        b"",
        b"\n".join(lines[1:]),
        good.rows.replace(b'["key",', b'["kez",'),
    ):
        log.file.data = replace(good, rows=rows).sealed(KEY)
        assert (await log.keeper().load()).range.size == 0


async def test_what_a_start_relied_on_is_checked_from_leaf_0() -> None:
    log = await log_with_snapshot(before=40)
    keeper = log.keeper()
    await log.view(await keeper.load())
    kept = log.file.data
    await checked(keeper)
    assert log.store.read_indices == set(range(log.chain.size))
    assert log.file.data == kept


async def forged(log: DirectoryLog) -> bytes:
    """Return a snapshot that the log's key has signed and that lies: a member has a key that it never registered."""
    assert log.file.data is not None
    good = Snapshot.opened(log.file.data, KEY.public_key)
    lie = json.dumps(["key", "alpha", 1, digest("a stolen seat").hex(), 2, None], separators=(",", ":")).encode()
    return replace(good, rows=good.rows + b"\n" + lie).sealed(KEY)


async def test_a_signed_snapshot_that_the_leaves_do_not_say_is_thrown_away_loudly() -> None:
    log = await log_with_snapshot()
    log.file.data = await forged(log)
    keeper = log.keeper()
    view = await log.view(await keeper.load())
    assert len(view.directory.keys) == len((await log.folded()).keys) + 1, "it was relied on"
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(SnapshotDiffers):
            await keeper.run()
    assert await log.file.load() is None
    again = await log.view(await log.keeper().load())
    assert state(again.directory) == state(await log.folded())


async def test_a_leaf_that_was_altered_below_the_snapshot_is_found_and_the_snapshot_stays() -> None:
    log = await log_with_snapshot()
    kept = log.file.data
    log.store.alter(len(FIRST), renamed(77))
    keeper = log.keeper()
    await log.view(await keeper.load())
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(Fatal) as caught:
            await keeper.run()
    assert not isinstance(caught.value, SnapshotDiffers)
    assert log.file.data == kept


@pytest.mark.parametrize("with_snapshot", [True, False])
async def test_a_view_takes_no_leaf_that_is_not_in_the_sealed_tree(with_snapshot: bool) -> None:
    log = await log_with_snapshot()
    log.store.alter(log.chain.size - 1, renamed(77))
    replay = await log.keeper().load() if with_snapshot else Replay(log.leaves, Directory())
    with pytest.raises(Fatal):
        await log.view(replay)


async def test_a_view_in_use_takes_new_leaves_only_when_all_of_them_hold() -> None:
    log = await directory_log(3)
    view = await log.view(Replay(log.leaves, Directory()))
    before = state(await log.folded())
    await log.say(*map(renamed, range(10, 20)))
    honest = await log.folded()
    altered = log.chain.size - 2
    log.store.alter(altered, renamed(77))
    for _ in range(2):
        with pytest.raises(Fatal):
            await view.refresh()
        assert state(view.directory) == before
    log.store.alter(altered, renamed(18))
    await view.refresh()
    assert state(view.directory) == state(honest)


async def test_a_log_that_does_not_start_with_a_genesis_is_refused() -> None:
    log = DirectoryLog()
    await log.say(renamed(1))
    with pytest.raises(Fatal, match="genesis"):
        await log.folded()


async def test_a_snapshot_is_renewed_when_the_log_has_grown() -> None:
    log = await directory_log()
    keeper = log.keeper()
    view: DirectoryView = await log.view(await keeper.load())
    async with running(keeper), asyncio.timeout(DEADLINE_S):
        await log.say(*map(renamed, range(LEAST_GROWTH - len(FIRST) - 1)))
        assert await log.keeper()._file.load() is None, "one leaf is missing yet"
        await log.say(renamed(-1))
        while log.file.saved < 1:
            await asyncio.sleep(0.01)
        first = log.file.data
        await log.say(*map(renamed, range(LEAST_GROWTH)))
        while log.file.saved < 2:
            await asyncio.sleep(0.01)
    assert log.file.data != first
    assert (await log.keeper().load()).range.size == log.chain.size == keeper.size
    await view.refresh()
    assert state((await log.keeper().load()).fold) == state(view.directory)


async def test_a_snapshot_that_cannot_be_written_hurts_nobody() -> None:
    log = await directory_log(LEAST_GROWTH)
    log.file.full = True
    keeper = log.keeper()
    async with running(keeper), asyncio.timeout(DEADLINE_S):
        while keeper.size != log.chain.size:
            await asyncio.sleep(0.01)
    assert log.file.data is None


async def test_leaves_below_the_floor_are_read_from_their_bundles() -> None:
    log = await log_with_snapshot(before=600, after=3)
    expected = state(await log.folded())
    assert await log.store.archive(520) == 512
    log.store.read_indices.clear()
    assert state(await log.folded()) == expected
    assert min(log.store.read_indices) == 512
    keeper = log.keeper()
    await log.view(await keeper.load())
    await checked(keeper)

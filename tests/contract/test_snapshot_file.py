"""The contract of `SnapshotFile`, on its file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exchange.errors import Fatal, Unavailable
from exchange.stores.snapshot_file import FoldFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folds" / "directory"


async def test_what_was_saved_last_is_there_for_the_next_process(path: Path) -> None:
    assert await FoldFile(path).load() is None
    for data in (b"first", b"second " * 1_000_000):
        await FoldFile(path).save(data)
        assert await FoldFile(path).load() == data
    assert [each.name for each in path.parent.iterdir()] == ["directory"]


async def test_a_file_that_was_half_written_is_not_the_snapshot(path: Path) -> None:
    await FoldFile(path).save(b"first")
    path.with_name(".directory.new").write_bytes(b"sec")
    assert await FoldFile(path).load() == b"first"
    await FoldFile(path).save(b"second")
    assert await FoldFile(path).load() == b"second"


async def test_what_is_discarded_is_gone(path: Path) -> None:
    file = FoldFile(path)
    await file.save(b"first")
    for _ in range(2):
        await file.discard()
        assert await file.load() is None


async def test_a_snapshot_that_cannot_be_written_is_later_and_the_last_one_stays(path: Path) -> None:
    file = FoldFile(path)
    await file.save(b"first")
    path.with_name(".directory.new").mkdir()
    with pytest.raises(Unavailable):
        await file.save(b"second")
    assert await file.load() == b"first"


async def test_a_snapshot_that_cannot_be_discarded_is_fatal(path: Path) -> None:
    path.mkdir(parents=True)
    assert await FoldFile(path).load() is None
    with pytest.raises(Fatal):
        await FoldFile(path).discard()


async def test_a_snapshot_is_for_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        await FoldFile(path).save(b"first")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o077 == 0

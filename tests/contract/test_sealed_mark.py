"""The contract of `SealedMark`, on its file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.errors import Fatal, Unavailable
from exchange.stores.sealed_mark import MAX_NOTE_BYTES, SLOT_BYTES, SealedMarkFile, read_mark
from tests.contract.processes import child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "marks" / "news"


@pytest.fixture
async def mark(path: Path) -> AsyncIterator[SealedMarkFile]:
    file = SealedMarkFile(path)
    yield file
    await file.aclose()


async def _reopened(path: Path) -> bytes | None:
    file = SealedMarkFile(path)
    try:
        return await file.load()
    finally:
        await file.aclose()


async def test_a_machine_that_never_recorded_says_so(mark: SealedMarkFile, path: Path) -> None:
    assert await mark.load() is None
    assert not path.exists()
    assert read_mark(path) is None


async def test_the_last_record_is_what_is_loaded(mark: SealedMarkFile, path: Path) -> None:
    for number in range(7):
        note = b"note %d\n" % number * (number + 1)
        await mark.record(note)
        assert await mark.load() == note
        assert await _reopened(path) == note
        assert read_mark(path) == note


async def test_recording_goes_on_after_a_restart(path: Path) -> None:
    for number in range(5):
        file = SealedMarkFile(path)
        await file.record(b"%d" % number)
        await file.aclose()
        assert await _reopened(path) == b"%d" % number


async def test_records_made_at_once_end_with_the_last(mark: SealedMarkFile, path: Path) -> None:
    await asyncio.gather(*(mark.record(b"%d" % number) for number in range(20)))
    assert await _reopened(path) == b"19"


async def test_the_longest_note_fits_and_a_longer_one_is_refused(mark: SealedMarkFile, path: Path) -> None:
    await mark.record(b"x" * MAX_NOTE_BYTES)
    with pytest.raises(Fatal):
        await mark.record(b"x" * (MAX_NOTE_BYTES + 1))
    assert await _reopened(path) == b"x" * MAX_NOTE_BYTES


@pytest.mark.parametrize("records", [1, 2, 3, 4])
async def test_a_torn_write_leaves_the_record_before_it(path: Path, mark: SealedMarkFile, records: int) -> None:
    for number in range(records):
        await mark.record(b"old %d" % number * 50)
    before = path.read_bytes()
    await mark.record(b"new" * 500)
    after = path.read_bytes()
    changed = next(at for at in (0, SLOT_BYTES) if before[at : at + SLOT_BYTES] != after[at : at + SLOT_BYTES])
    old, new = b"old %d" % (records - 1) * 50, b"new" * 500
    for cut in range(0, SLOT_BYTES, 111):
        path.write_bytes(before[:changed] + after[changed : changed + cut] + before[changed + cut :])
        assert read_mark(path) == (new if cut >= len(new) + 16 else old)


async def test_a_failed_record_never_touches_the_last_good_one(
    mark: SealedMarkFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mark.record(b"first")
    await mark.record(b"good")
    good = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        for attempt in range(3):
            with pytest.raises(Fatal):
                await mark.record(b"lost %d" % attempt)
            now = path.read_bytes()
            slots = [at for at in (0, SLOT_BYTES) if now[at : at + SLOT_BYTES] == good[at : at + SLOT_BYTES]]
            assert b"good" in b"".join(now[at : at + SLOT_BYTES] for at in slots)
    await mark.record(b"last")
    assert await _reopened(path) == b"last"


@pytest.mark.parametrize("content", [b"", b"\0" * 2 * SLOT_BYTES, b"x" * 2 * SLOT_BYTES, b"short"])
async def test_a_file_without_a_whole_record_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    file = SealedMarkFile(path)
    with pytest.raises(Fatal) as caught:
        await file.load()
    assert caught.value.hint
    with pytest.raises(Fatal):
        await file.record(b"over it")
    assert path.read_bytes() == content
    await file.aclose()


async def test_a_flipped_bit_is_noticed(mark: SealedMarkFile, path: Path) -> None:
    await mark.record(b"one")
    await mark.record(b"two")
    data = bytearray(path.read_bytes())
    data[data.index(b"two")] ^= 1
    path.write_bytes(data)
    assert read_mark(path) == b"one"
    data[data.index(b"one")] ^= 1
    path.write_bytes(data)
    with pytest.raises(Fatal):
        read_mark(path)


async def test_a_file_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    file = SealedMarkFile(tmp_path / "file" / "news")
    with pytest.raises(Fatal):
        await file.record(b"note")
    await file.aclose()


async def test_closing_twice_is_closing_once_and_then_nothing_works(mark: SealedMarkFile) -> None:
    await mark.record(b"note")
    await asyncio.gather(mark.aclose(), mark.aclose())
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await mark.record(b"more")
        with pytest.raises(Unavailable):
            await mark.load()


@pytest.mark.parametrize("lines", [0, 1, 50])
async def test_what_was_recorded_survives_a_kill(path: Path, lines: int) -> None:
    async with child("mark", path) as writer:
        await writer.listen(lines)
        await writer.kill()
    said = writer.said.get("recorded", 0)
    found = await _reopened(path)
    assert found in {b"%d" % number * 100 for number in (said, said + 1)} or (not said and found is None)

"""The loss of power, and a write-ahead log that is torn or damaged: what was acknowledged is there, or is missed."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.crash_points import POINTS, Obituary
from tests.faults.file_bytes import FRAME_BYTES, Flip, Frame, wal_frames
from tests.faults.power import cut
from tests.faults.scene import NTH, Scene

pytestmark = pytest.mark.faults

SOME = 30
#: Where a file has been written and not synced; and right after.
CUTS = ("before-wal-sync", "after-wal-sync", "after-mark-write", "after-mark-sync", "after-answer")
#: What is then not on the disk, though the process had written it.
LOST = {"before-wal-sync": (False, False), "after-mark-write": (True, False)}


@pytest.mark.parametrize("point", CUTS)
async def test_power_is_lost(scene: Scene, tmp_path: Path, point: str) -> None:
    journal = tmp_path / "journal"
    await scene.serve(f"--crash={point}", f"--nth={NTH}", f"--journal={journal}")
    async with scene.under_load() as load:
        await scene.killed()
        lost = cut(journal)
        scene.notes.append(f"{lost} writes lost")
        assert (lost > 0) == (point in LOST)
        died = Obituary.read(scene.obituary)
        durable, marked = LOST.get(point, (POINTS[point].durable, POINTS[point].marked))
        assert scene.state().durable_size == (died.after if durable else died.before)
        assert scene.mark().size == (died.after if marked else died.before)
        await scene.serve()
        await load.more(SOME)


@pytest.mark.parametrize("seed", range(4))
async def test_power_is_lost_and_the_disk_kept_some(scene: Scene, tmp_path: Path, seed: int) -> None:
    journal = tmp_path / "journal"
    await scene.serve("--crash=before-wal-sync", f"--nth={NTH}", f"--journal={journal}")
    async with scene.under_load() as load:
        await scene.killed()
        scene.notes.append(f"{cut(journal, random.Random(seed))} writes lost")
        died = Obituary.read(scene.obituary)
        assert scene.state().durable_size in {died.before, died.after}
        assert scene.mark().size == died.before
        await scene.serve()
        await load.more(SOME)


@pytest.mark.short
async def test_power_is_lost_after_a_restart(scene: Scene, tmp_path: Path) -> None:
    """A commit that its process did not live to sync is there for the next one to seal: by then it must be synced."""
    journal, full = tmp_path / "journal", tmp_path / "full"
    await scene.serve("--crash=before-wal-sync", f"--nth={NTH}", f"--journal={journal}")
    async with scene.under_load() as load:
        await scene.killed()
        died = Obituary.read(scene.obituary)
        assert scene.state().durable_size == died.after
        told = len(load.acknowledged)
        # Without room nothing new is committed, and nothing synced by that; but repeats get their receipts.
        full.touch()
        hub = await scene.serve(f"--full-while={full}", f"--journal={journal}")
        await load.until(lambda: len(load.acknowledged) > told)
        hub.send(signal.SIGKILL)
        await scene.killed()
        cut(journal)
        assert scene.state().durable_size >= died.after
        await scene.serve()
        await load.more(SOME)


async def _killed_at(scene: Scene, point: str) -> tuple[Obituary, list[Frame]]:
    await scene.killed()
    died = Obituary.read(scene.obituary)
    assert died.point == point
    return died, wal_frames(scene.log / "ledger.sqlite-wal")


def _last_commit(frames: list[Frame]) -> tuple[int, int]:
    """Return where the last commit begins and ends."""
    ends = [frame.offset for frame in frames if frame.commit]
    return ends[-2] + FRAME_BYTES, ends[-1] + FRAME_BYTES


#: Bytes from the beginning or the end of the last commit.
TEARS = {
    "at its start": 0,
    "in the first header": 5,
    "after the first header": 24,
    "in a page": 2_000,
    "at its end": -1,
}


@pytest.mark.parametrize("where", TEARS)
async def test_a_torn_tail_that_nobody_was_told_of(scene: Scene, where: str) -> None:
    await scene.serve("--crash=after-append", f"--nth={NTH}")
    async with scene.under_load() as load:
        died, frames = await _killed_at(scene, "after-append")
        start, end = _last_commit(frames)
        tear = TEARS[where]
        with (scene.log / "ledger.sqlite-wal").open("r+b") as file:
            file.truncate(end + tear if tear < 0 else start + tear)
        assert scene.state().durable_size == died.before
        scene.notes.append("opens, and the outbox sends again")
        await scene.serve()
        await load.more(SOME)


@pytest.mark.parametrize("where", ["torn", "flipped"])
async def test_a_log_that_lost_what_was_acknowledged(scene: Scene, where: str) -> None:
    """It is refused until the missing bytes are back: never served, never signed again."""
    wal = scene.log / "ledger.sqlite-wal"
    await scene.serve("--crash=after-answer", f"--nth={NTH}")
    async with scene.under_load() as load:
        died, frames = await _killed_at(scene, "after-answer")
        good, (start, end) = wal.read_bytes(), _last_commit(frames)
        assert scene.mark().size == died.after
        middle = frames[len(frames) // 2].offset
        for at in (8, middle + 1_000, start, start + 30, end - 1):
            if where == "torn":
                wal.write_bytes(good[:at])
            else:
                Flip.at(wal, at)
            code, said = await scene.verify()
            assert code != 0, said
            await scene.serves_all_but_ours()
            (scene.log / "ledger.sqlite-shm").unlink(missing_ok=True)
            wal.write_bytes(good)
        scene.notes.append("refused: rolled back")
        await scene.serve()
        await load.more(SOME)

"""Each call that a commit makes of the disk fails once, with each error, before it took effect or after."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from tests.e2e.answers import get
from tests.faults.sabotage import MOVING
from tests.faults.scene import NTH, Scene

pytestmark = pytest.mark.faults

#: In the order in which a commit makes them. The first commit after a start reads what is not in memory yet.
CALLS = (
    "db.read",
    "wal.write-header",
    "wal.sync-header",
    "wal.write-frame",
    "wal.write-page",
    "wal.write-commit-frame",
    "wal.write-commit-page",
    "wal.sync-commit",
    "wal.sync-checkpoint",
    "wal.read",
    "db.write",
    "db.truncate",
    "db.sync",
    "mark.write",
    "mark.sync",
)
SHORT = {("mark.sync", "before", "EIO")}
CASES = [
    case
    for case in product(CALLS, ("before", "after"), ("EIO", "ENOSPC"))
    if not (case[0].endswith(".read") and case[1:] != ("before", "EIO"))
]
AFTERWARDS = 30
#: SQLite moves its log into the file every few groups, so that a case need not wait for it.
OFTEN = "--move-every=40"


async def test_every_call_of_a_commit_has_a_case(scene: Scene) -> None:
    trace = scene.exchange.folder / "trace"
    await scene.serve(f"--trace={trace}", OFTEN)
    async with scene.under_load() as load:
        await load.more(8 * AFTERWARDS)
    assert set(trace.read_text().split()) - {"append", "done"} == set(CALLS)


@pytest.mark.parametrize(
    ("call", "when", "error"),
    [pytest.param(*case, marks=[pytest.mark.short] * (case in SHORT), id="-".join(case)) for case in CASES],
)
async def test_a_call_fails(scene: Scene, call: str, when: str, error: str) -> None:
    nth = 1 if call == "db.read" else NTH
    await scene.serve(f"--fail={call}:{when}:{error}", f"--nth={nth}", OFTEN)
    async with scene.under_load() as load:
        await load.until(scene.obituary.exists, every_s=0.01)
        if call in MOVING or (call.startswith("wal.write") and error == "ENOSPC"):
            scene.notes.append("goes on by itself")
        else:
            scene.notes.append("stops, says so, and is started again")
            await stopped_sequencing(scene)
            await scene.stop()
            await scene.serve()
        await load.more(AFTERWARDS)


async def stopped_sequencing(scene: Scene) -> None:
    """Wait until the hub says that it takes nothing more, and why."""
    assert scene.hub is not None
    async with asyncio.timeout(30):
        while (answer := await get(scene.hub.ops_port, "/readyz"))[0] == 200:
            await asyncio.sleep(0.02)
    assert answer[0] == 503
    assert b"uk: " in answer[1], answer

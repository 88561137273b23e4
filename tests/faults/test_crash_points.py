"""SIGKILL at each named point of the commit, and again while the next opening mends it."""

from __future__ import annotations

import signal

import pytest

from tests.faults.crash_points import POINTS, RECOVERY_POINTS, Obituary
from tests.faults.scene import NTH, Scene

pytestmark = pytest.mark.faults

SHORT = {"before-commit", "after-answer"}
AFTERWARDS = 30


@pytest.mark.parametrize("point", [pytest.param(p, marks=[pytest.mark.short] * (p in SHORT)) for p in POINTS])
async def test_sigkill(scene: Scene, point: str) -> None:
    await scene.serve(f"--crash={point}", f"--nth={NTH}")
    async with scene.under_load() as load:
        await scene.killed()
        died = Obituary.read(scene.obituary)
        found = POINTS[point]
        assert scene.state().durable_size == (died.after if found.durable else died.before)
        assert scene.mark().size == (died.after if found.marked else died.before)
        await scene.serve()
        await load.more(AFTERWARDS)


@pytest.mark.parametrize("point", RECOVERY_POINTS)
async def test_sigkill_and_again_while_recovering(scene: Scene, point: str) -> None:
    await scene.serve("--crash=after-commit", f"--nth={NTH}")
    async with scene.under_load() as load:
        await scene.killed()
        died = Obituary.read(scene.obituary)
        for _ in range(2):
            scene.obituary.unlink()
            await scene.launch(f"--crash={point}")
            await scene.killed()
            assert Obituary.read(scene.obituary).point == point
            assert scene.state().durable_size == died.after
        await scene.serve()
        await load.more(AFTERWARDS)


@pytest.mark.short
async def test_sigkill_from_outside_again_and_again(scene: Scene) -> None:
    hub = await scene.serve()
    async with scene.under_load() as load:
        for _ in range(4):
            await load.more(AFTERWARDS)
            hub.send(signal.SIGKILL)
            await scene.killed()
            hub = await scene.serve()
        await load.more(AFTERWARDS)

"""What happens to the hub as a whole: a second one, an old copy, a wrong clock, a full disk, a long sleep."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from exchange_client.transport import SILENCE_S
from tests.contract.small_disks import fill, small_disk
from tests.e2e.answers import get, refusal
from tests.e2e.child_hub import ChildHub
from tests.e2e.drafts import signal as a_draft
from tests.e2e.exchange_fixture import UK
from tests.faults.load import LOOPS
from tests.faults.scene import MODULE, Scene, steady_port

pytestmark = pytest.mark.faults

SOME = 30
HOUR_MS = 3_600_000


async def test_a_second_hub(scene: Scene) -> None:
    await scene.serve()
    async with scene.under_load() as load:
        await load.more(SOME)
        second = await ChildHub.launch(scene.exchange, module=MODULE, port=steady_port())
        assert "another process has this log open" in await second.refused()
        await second.aclose()
        scene.notes.append("the second is refused")
        await load.more(SOME)


async def test_an_old_copy(scene: Scene, tmp_path: Path) -> None:
    await scene.serve()
    async with scene.under_load() as load:
        await load.more(SOME)
        await scene.stop()
        shutil.copytree(scene.log, tmp_path / "old")
        hub = await scene.serve()
        await load.more(SOME)
        hub.send(signal.SIGKILL)
        await scene.killed()
        shutil.move(scene.log, tmp_path / "newest")
        shutil.copytree(tmp_path / "old", scene.log)
        for flags in ((), ("--adopt",)):
            await scene.serves_all_but_ours(*flags)
        scene.notes.append("refused: rolled back")
        code, said = await scene.verify()
        assert code == 1, said
        shutil.rmtree(scene.log)
        shutil.move(tmp_path / "newest", scene.log)
        await scene.serve()
        await load.more(SOME)


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS], ids=["forward", "back"])
async def test_a_clock_that_jumps(scene: Scene, by_ms: int) -> None:
    clock = scene.exchange.folder / "clock"
    clock.write_text(str(by_ms))
    hub = await scene.serve(f"--clock={clock}")
    async with scene.under_load() as load:
        await load.more(SOME)
        hub.send(signal.SIGUSR1)
        async with asyncio.timeout(30):
            while (answer := await get(hub.ops_port, "/readyz"))[0] == 200:
                await asyncio.sleep(0.02)
        assert b"clock" in answer[1]
        size = scene.state().durable_size
        said = await refusal(hub.party("beta").publish(a_draft("beta", UK)))
        assert said.code is grpc.StatusCode.UNAVAILABLE
        assert "clock" in said.message
        assert scene.state().durable_size == size
        scene.notes.append("stops sequencing, says so, and is started again")
        await scene.stop()
        await scene.serve()
        await load.more(SOME)


@pytest.mark.parametrize("by_ms", [4_000, -4_000], ids=["forward", "back"])
async def test_a_clock_that_is_set_right(scene: Scene, by_ms: int) -> None:
    """A step that no ledger suffers from: `exchange verify` sees that no time goes back."""
    clock = scene.exchange.folder / "clock"
    clock.write_text(str(by_ms))
    hub = await scene.serve(f"--clock={clock}")
    async with scene.under_load() as load:
        await load.more(SOME)
        hub.send(signal.SIGUSR1)
        await load.more(SOME)
        scene.notes.append("goes on")


@pytest.fixture
def fill_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[], Path]]:
    """Make the data folder's disk full when called; what is returned is deleted to free it."""
    sign = tmp_path / "full"

    def pretend() -> Path:
        sign.touch()
        return sign

    with ExitStack() as mounts:
        if request.param == "real":
            disk = mounts.enter_context(small_disk(tmp_path / "exchange" / "data", megabytes=8))
            yield lambda: fill(disk)
        else:
            yield pretend


@pytest.mark.parametrize("fill_disk", ["real", "pretended"], indirect=True)
async def test_a_full_disk(fill_disk: Callable[[], Path], scene: Scene, tmp_path: Path) -> None:
    hub = await scene.serve(f"--full-while={tmp_path / 'full'}")
    async with scene.under_load() as load:
        await load.more(SOME)
        filler = fill_disk()
        for _ in range(3):
            said = await refusal(hub.party("beta").publish(a_draft("beta", UK)))
            assert said.code is grpc.StatusCode.UNAVAILABLE
            assert "full" in said.message
        told = len(load.acknowledged)
        await asyncio.sleep(1)  # the fault itself
        assert len(load.acknowledged) <= told + LOOPS, "acknowledged without room for it"
        assert (await get(hub.ops_port, "/readyz"))[0] == 200
        scene.notes.append("says come again, and goes on by itself")
        filler.unlink()
        await load.more(SOME)


async def test_a_hub_that_sleeps_longer_than_clients_wait(scene: Scene) -> None:
    hub = await scene.serve()
    async with scene.under_load() as load:
        await load.more(SOME)
        hub.send(signal.SIGSTOP)
        await asyncio.sleep(SILENCE_S + 2)  # the fault itself
        hub.send(signal.SIGCONT)
        scene.notes.append(f"asleep for {SILENCE_S + 2:.0f} s")
        await load.more(SOME)

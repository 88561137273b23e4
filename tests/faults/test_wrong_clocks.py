"""Clocks that jump, both ways: of a hub that shares a store, and of the store's servers and Sentinels."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.contract.machines import HERE
from tests.contract.redis_server import running
from tests.contract.redis_sets import watched
from tests.e2e.answers import get
from tests.e2e.shared_store import stopped
from tests.faults.hubs import SOME, Report, loaded
from tests.faults.wrong_clocks import environment, jump

pytestmark = pytest.mark.faults

HOUR_S = 3_600
BOTH_WAYS = pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])


@BOTH_WAYS
async def test_the_clock_of_a_hub_jumps(tmp_path: Path, report: Report, by_s: int) -> None:
    """It stops, and says so; the other one goes on."""
    clock = tmp_path / "clock"
    clock.write_text(str(1_000 * by_s))
    async with (
        running(tmp_path / "server") as server,
        loaded(tmp_path, server.url, report, f"--clock={clock}") as hubs,
    ):
        hub = hubs.running[0]
        hub.send(signal.SIGUSR1)
        async with asyncio.timeout(30):
            while (answer := await get(hub.ops_port, "/readyz"))[0] == 200:
                await asyncio.sleep(0.02)
        assert b"clock" in answer[1]
        await hubs.load.more(SOME)
        assert (await get(hubs.running[1].ops_port, "/readyz"))[0] == 200
        await stopped(hub)
        await hubs.again(0)
        hubs.notes.append("it stops, the other goes on")


@BOTH_WAYS
async def test_the_clocks_of_a_store_jump(tmp_path: Path, report: Report, by_s: int) -> None:
    """Nothing in the store goes by them: neither order, nor what is kept for how long."""
    (tmp_path / "servers").mkdir()
    environments = [environment(tmp_path / "servers" / f"clock{number}") for number in range(6)]
    async with (
        watched(tmp_path / "servers", (HERE,) * 6, environments) as servers,
        loaded(tmp_path, servers.url, report) as hubs,
    ):
        for off in (by_s, 0):
            for each in (servers.servers[0], servers.servers[2], *servers.sentinels):
                await jump(each, off)
                await hubs.load.more(SOME)
        hubs.notes.append("there, and back again")

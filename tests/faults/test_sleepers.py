"""Who sleeps is worse than who is dead: a master, a replica, a hub, a publisher of a shared store; and some that die."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.contract.redis_sets import following, watched
from tests.e2e.sdk_clients import client_config
from tests.faults.hubs import SOME, Report, loaded
from tests.faults.speaker import Speaker

pytestmark = pytest.mark.faults

#: Longer than Sentinels wait, and than a hub waits for an answer.
ASLEEP_S = 7.0


async def test_the_master_sleeps(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    """It wakes up as a second master, with the commands that were on their way to it."""
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report):
        old = await servers.master()
        old.send(signal.SIGSTOP)
        new = await servers.master_other_than(old)
        await asyncio.sleep(ASLEEP_S)  # the fault itself
        old.send(signal.SIGCONT)
        async with asyncio.timeout(30):
            while b"role:slave" not in await old.ask("INFO", "replication"):
                await asyncio.sleep(0.1)
        assert await servers.master() is new


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["is killed", "sleeps"])
async def test_a_replica(ends: AsyncExitStack, tmp_path: Path, report: Report, how: signal.Signals) -> None:
    """Publishing waits for it, and goes on by itself."""
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report) as hubs:
        master, replica, _ = servers.servers
        replica.send(how)
        await hubs.not_safe()
        told = len(hubs.load.acknowledged)
        await asyncio.sleep(ASLEEP_S)  # the fault itself
        assert len(hubs.load.acknowledged) == told, "acknowledged without a replica that could be promoted"
        if how is signal.SIGKILL:
            await replica.stop(how)
            await replica.start(*following(master))
        else:
            replica.send(signal.SIGCONT)


async def test_a_hub_sleeps(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    """It wakes up in the middle of a group that another has gone past."""
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report) as hubs:
        for number in (0, 1):
            hubs.running[number].send(signal.SIGSTOP)
            await hubs.load.more(SOME)
            await asyncio.sleep(ASLEEP_S)  # the fault itself
            hubs.running[number].send(signal.SIGCONT)
            await hubs.load.more(SOME)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["is killed", "sleeps"])
async def test_a_publisher(ends: AsyncExitStack, tmp_path: Path, report: Report, how: signal.Signals) -> None:
    """What it had signed is in its outbox: all of that gets its receipt, once."""
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report) as hubs:
        ports = (f"localhost:{hub.port}" for hub in hubs.running)
        folder = tmp_path / "clients" / "speaker"
        config = client_config(hubs.exchanges[0], 0, "gamma", folder, addresses=tuple(ports))
        speaker = await Speaker.start(config, hubs.load)
        ends.push_async_callback(speaker.aclose)
        await speaker.begins(SOME)
        for hub in hubs.running:  # so that nothing is answered
            hub.send(signal.SIGSTOP)
        await speaker.waits()
        if how is signal.SIGKILL:
            await speaker.end(how)
        else:
            speaker.process.send_signal(how)
        for hub in hubs.running:
            hub.send(signal.SIGCONT)
        if how is signal.SIGKILL:
            await speaker.again()
        else:
            await asyncio.sleep(ASLEEP_S)  # the fault itself
            speaker.process.send_signal(signal.SIGCONT)
        await speaker.begins(SOME)
        assert speaker.left == 0
        await speaker.end(signal.SIGTERM)
        if how is signal.SIGKILL:
            assert speaker.found == 1
            hubs.notes.append("one was in its outbox")

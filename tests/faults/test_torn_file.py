"""A server of a shared store whose file is torn, or whose disk is full."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from exchange.errors import Reason
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.tiles import encode_bundle, entries_path
from exchange.stores.redis_scripts import Keys
from tests.contract.redis_server import RedisServer, running
from tests.contract.redis_sets import following, watched
from tests.contract.small_disks import fill, small_disk
from tests.e2e.exchange_fixture import UK
from tests.e2e.shared_store import stopped
from tests.e2e.warm_command_line import on_the_command_line
from tests.faults.append_only import commands, last_of, tear
from tests.faults.hubs import Hubs, Report, loaded

pytestmark = pytest.mark.faults

HEAD = Keys(UK).head
#: Groups that are torn off.
LOST = 3


def torn_off(server: RedisServer, groups: int) -> bytes:
    """Tear off the last groups of the log, the first of them in the middle; return the whole file."""
    file = server.append_only_file()
    sizes = [word for command in commands(file) if (word := command.writes(HEAD, b"durable_size")) is not None]
    return tear(file, sizes[-groups].at)


async def rolled_back(hubs: Hubs) -> None:
    """Wait until both hubs say that the store is behind, and have stopped."""
    for number, hub in enumerate(hubs.running):
        await hubs.says(Reason.ROLLED_BACK, number)
        assert hub.process.returncode is None


async def test_the_last_seal_is_torn_off(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    """What a hub has signed it says again: nothing is missing."""
    server = await ends.enter_async_context(running(tmp_path / "server"))
    async with loaded(tmp_path, server.url, report) as hubs:
        async with hubs.load.rest():
            await server.stop(signal.SIGKILL)
            file = server.append_only_file()
            tear(file, last_of(file, HEAD, b"sealed_size").at)
            await server.start()
        hubs.notes.append("sealed again")


async def test_what_was_acknowledged_is_torn_off(ends: AsyncExitStack, tmp_path: Path, report: Report) -> None:
    """The hubs stop the log; with the right file they go on."""
    server = await ends.enter_async_context(running(tmp_path / "server"))
    async with loaded(tmp_path, server.url, report) as hubs:
        await server.stop(signal.SIGKILL)
        whole = torn_off(server, LOST)
        await server.start()
        await rolled_back(hubs)
        told = len(hubs.load.acknowledged)
        await hubs.plain.tally()
        await server.stop(signal.SIGKILL)
        server.append_only_file().write_bytes(whole)
        await server.start()
        assert len(hubs.load.acknowledged) == told, "acknowledged on a store that has lost something"
        for number in (0, 1):
            await stopped(hubs.running[number])
            await hubs.again(number)
        hubs.notes.append("the hubs stop the log until the right file is there")


async def test_a_master_is_back_with_a_torn_file_before_anybody_noticed(
    ends: AsyncExitStack, tmp_path: Path, report: Report
) -> None:
    """Its replicas follow it, and forget, too. What every subscriber has puts it right."""
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report) as hubs:
        master = servers.servers[0]
        for sentinel in servers.sentinels:
            sentinel.send(signal.SIGSTOP)
        async with hubs.load.rest():
            await master.stop(signal.SIGKILL)
            torn_off(master, LOST)
            await master.start()
            await master.has_replicas(2)
        for sentinel in servers.sentinels:
            sentinel.send(signal.SIGCONT)
        await rolled_back(hubs)
        await hubs.plain.tally()
        for hub in hubs.running:
            await stopped(hub)
        said = await put_back(hubs, tmp_path / "mirror")
        for number in (0, 1):
            await hubs.again(number)
        hubs.notes.append(f"the hubs stop the log; {said} leaves put back from what a subscriber has")


async def put_back(hubs: Hubs, mirror: Path) -> int:
    """Write what one subscriber has as a mirror, and recover from it; return how many leaves were missing."""
    exchange = hubs.exchanges[0]
    heard = [each.leaf for each in hubs.load.heard["beta"]]
    sizes = {open_checkpoint(each.checkpoint, exchange.verifier(UK)).size: each for each in hubs.load.acknowledged}
    size = max(sizes)
    assert len(heard) >= size
    bundle = mirror / entries_path(0, size)
    bundle.parent.mkdir(parents=True)
    bundle.write_bytes(encode_bundle(heard[:size]))
    (mirror / "checkpoint").write_bytes(sizes[size].checkpoint)
    settings = ("--log", "uk", "--config", exchange.folder / "hub.toml")
    code, said = await on_the_command_line("recover", "--from", mirror, *settings, "--json")
    assert code == 0, said
    return int(json.loads(said.splitlines()[-1])["written"])


async def test_a_killed_master_with_a_torn_file_comes_back_too_late(
    ends: AsyncExitStack, tmp_path: Path, report: Report
) -> None:
    servers = await ends.enter_async_context(watched(tmp_path / "servers"))
    async with loaded(tmp_path, servers.url, report):
        old = servers.servers[0]
        await old.stop(signal.SIGKILL)
        torn_off(old, LOST)
        new = await servers.master_other_than(old)
        await old.start(*following(new))


@asynccontextmanager
async def full_disk(disk: Path, server: RedisServer, hubs: Hubs) -> AsyncIterator[None]:
    """Fill a server's disk until it ends itself, for the length of a block."""
    filler = fill(disk)
    assert server.process is not None
    async with asyncio.timeout(30):
        assert await server.process.wait() != 0
    hubs.notes.append("the server ended itself")
    yield
    filler.unlink()


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small disk, for one of a set's servers."""
    with small_disk(tmp_path / "servers" / f"server{request.param}", megabytes=16) as place:
        yield place


@pytest.mark.parametrize("disk", [0], ids=[""], indirect=True)
async def test_the_disk_of_the_only_server_is_full(disk: Path, tmp_path: Path, report: Report) -> None:
    async with running(disk) as server, loaded(tmp_path, server.url, report) as hubs:
        async with full_disk(disk, server, hubs):
            pass
        await server.start()


@pytest.mark.parametrize("disk", [0, 1], ids=["master", "replica"], indirect=True)
async def test_the_disk_of_one_of_three_is_full(disk: Path, tmp_path: Path, report: Report) -> None:
    async with watched(tmp_path / "servers") as servers, loaded(tmp_path, servers.url, report) as hubs:
        master = servers.servers[0]
        (full,) = [each for each in servers.servers if each.folder == disk]
        async with full_disk(disk, full, hubs):
            if full is master:
                master = await servers.master_other_than(full)
            else:
                await hubs.not_safe()
        await full.start(*following(master))

"""Hubs on a real server of Redis's protocol: one over a restart, two at once of which one is killed, and replicas."""

from __future__ import annotations

import asyncio
import shutil
import signal as signals
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from exchange.codec import erased_frame
from exchange.domain.bodies import Erasure, ErasureReason
from exchange.domain.kinds import Kind
from exchange.domain.statement import signal_ids
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.note import Verifier
from exchange.stores.redis import RedisStore
from exchange.stores.redis_place import parse_place
from exchange.v1 import publish_pb2
from exchange.v1 import statement_pb2 as pb
from tests.contract.redis_server import RedisServer, running
from tests.e2e.answers import check_receipt, refusal
from tests.e2e.child_hub import ChildHub
from tests.e2e.drafts import Draft, restricted, signal
from tests.e2e.exchange_fixture import NAME, TIMEOUT_S, UK, Exchange, Party
from tests.e2e.follower import Follower
from tests.e2e.shared_store import founded, stopped, stored_leaves, tallied, verified
from tests.e2e.warm_command_line import on_the_command_line
from tests.faults.crash_points import Obituary
from tests.faults.load import Load
from tests.faults.scene import MODULE, NTH, steady_port

pytestmark = pytest.mark.e2e

AFTERWARDS = 20


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One server for the module."""
    async with running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
async def exchange(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    """The exchange that the module's tests share: only its log grows."""
    return await founded(tmp_path_factory.mktemp("exchange"), server.url)


async def test_from_publish_to_subscribe_over_a_restart(exchange: Exchange) -> None:
    verifier = exchange.verifier(UK)
    hub = await ChildHub.start(exchange)
    alpha = hub.party("alpha")
    statement = signal("alpha", UK).sign(alpha.key)
    receipt = await alpha.publish(statement)
    check_receipt(receipt, statement, verifier)
    before = await Follower.start(hub.party("beta"), verifier)
    await before.reach(receipt.index + 1)
    hub.send(signals.SIGKILL)
    await hub.ended()
    await hub.aclose()
    hub = await ChildHub.start(exchange)
    alpha = hub.party("alpha")
    assert (await alpha.publish(statement)).leaf == receipt.leaf
    after = await Follower.start(
        hub.party("beta"), verifier, cursor=receipt.index + 1, last_checkpoint=before.last_note
    )
    later = await alpha.publish(signal("alpha", UK))
    await after.reach(later.index + 1)
    await after.stop()
    await verified(exchange)
    code, found = await on_the_command_line("doctor", "--config", exchange.folder / "hub.toml")
    assert code == 0, found
    assert "0 replicas connected, 0 promotable" in found
    await stopped(hub)


async def test_two_hubs_are_one_when_one_is_killed_between_append_and_seal(
    exchange: Exchange, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = exchange.beside(exchange.folder.parent / "second")
    obituary = exchange.folder / "obituary.json"
    crash = (f"--obituary={obituary}", "--crash=after-append", f"--nth={NTH}")
    async with AsyncExitStack() as ends:
        first = await ChildHub.start(exchange, *crash, module=MODULE, port=steady_port())
        ends.push_async_callback(first.aclose)
        second = await ChildHub.start(other, "--adopt")
        ends.push_async_callback(second.aclose)
        folder = tmp_path_factory.mktemp("clients")
        async with Load.running(exchange, first.port, second.port, folder=folder) as load:
            assert await first.ended(timeout_s=60) == -signals.SIGKILL
            await load.more(AFTERWARDS)
            again = await ChildHub.start(exchange, port=first.port)
            ends.push_async_callback(again.aclose)
            await load.more(AFTERWARDS)
            await load.finish()
        tally = await tallied(load, exchange, other)
        assert tally.clean, tally
        assert len(await asyncio.to_thread(stored_leaves, exchange)) >= Obituary.read(obituary).after
        await verified(exchange)
        await verified(other)


async def test_either_hub_serves_at_once_what_the_other_has_said_and_nothing_that_it_has_erased(
    exchange: Exchange,
) -> None:
    other = exchange.beside(exchange.folder.parent / "third")
    async with AsyncExitStack() as ends:
        hubs = [await ChildHub.start(exchange), await ChildHub.start(other, "--adopt")]
        for hub in hubs:
            ends.push_async_callback(hub.aclose)
        verifier, alpha = exchange.verifier(UK), hubs[0].party("alpha")
        readers = [hub.party("beta") for hub in hubs]
        for _ in range(10):
            # The other hub need not have heard of it when it is asked to go on behind it.
            receipt = await alpha.publish(signal("alpha", UK))
            behind = await Follower.start(
                readers[1], verifier, cursor=receipt.index + 1, last_checkpoint=receipt.checkpoint
            )
            await behind.stop()
        said = signal("alpha", UK)
        receipt = await alpha.publish(said)
        for reader in readers:
            assert (await _entry(reader, verifier, receipt.index)).records
        (id_,) = signal_ids(UK, "alpha", said.records)
        await alpha.publish(Draft(UK, "alpha", Kind.ERASURE, Erasure((id_,), ErasureReason.ON_REQUEST)))
        async with asyncio.timeout(TIMEOUT_S):
            for reader in readers:
                while (await _entry(reader, verifier, receipt.index)).records:
                    await asyncio.sleep(0.1)


async def test_what_was_lost_and_comes_back_at_one_hub_is_served_by_both(exchange: Exchange) -> None:
    hub = await ChildHub.start(exchange)
    said = restricted("alpha", UK, ["beta"]).sign(hub.party("alpha").key)
    receipt = await hub.party("alpha").publish(said)
    await stopped(hub)
    place, folder = parse_place(exchange.store, exchange.folder), exchange.folders.bundle_files("uk")
    store = await RedisStore.open(place, folder, origin=UK)
    await store.erase({receipt.index: erased_frame(receipt.leaf)})
    await store.aclose()
    async with AsyncExitStack() as ends:
        hubs = [
            await ChildHub.start(each, "--adopt") for each in (exchange, exchange.beside(exchange.folder.parent / "4"))
        ]
        for each in hubs:
            ends.push_async_callback(each.aclose)
        verifier, readers = exchange.verifier(UK), [each.party("beta") for each in hubs]
        for reader in readers:
            assert not (await _entry(reader, verifier, receipt.index)).records
        said.resubmission = True
        assert (await acknowledged(hubs[0].party("alpha"), said)).leaf == receipt.leaf
        async with asyncio.timeout(TIMEOUT_S):
            for reader in readers:
                while list((await _entry(reader, verifier, receipt.index)).records) != list(said.records):
                    await asyncio.sleep(0.05)
    await verified(exchange)


async def test_a_key_that_is_copied_later_is_found_by_a_hub_that_serves(exchange: Exchange) -> None:
    other, origin = exchange.beside(exchange.folder.parent / "5"), f"{NAME}/later"
    await stopped(await ChildHub.start(other, "--adopt"))
    async with AsyncExitStack() as ends:
        hubs = [await ChildHub.start(each) for each in (exchange, other)]
        for hub in hubs:
            ends.push_async_callback(hub.aclose)
        await exchange.new_log(origin)
        await hubs[0].registrar.community(origin)
        await hubs[0].registrar.join("alpha", origin)
        alpha = hubs[1].party("alpha")
        async with asyncio.timeout(TIMEOUT_S):
            while "not open on this hub" not in (await refusal(alpha.publish(signal("alpha", origin)))).message:
                await asyncio.sleep(0.1)
        shutil.copy(exchange.folders.key("later"), other.folders.key("later"))
        assert (await acknowledged(alpha, signal("alpha", origin).sign(alpha.key))).index == 0


async def _entry(reader: Party, verifier: Verifier, index: int) -> pb.Entry:
    """Return an entry as a feed serves it now."""
    stream = await Follower.start(reader, verifier, cursor=index)
    await stream.until(lambda: bool(stream.entries))
    await stream.stop()
    return stream.entries[0]


async def acknowledged(party: Party, statement: pb.Statement) -> publish_pb2.Receipt:
    """Publish until it is acknowledged."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await party.publish(statement)
            except grpc.aio.AioRpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE


async def test_what_is_not_on_every_replica_is_not_acknowledged(tmp_path: Path) -> None:
    async with AsyncExitStack() as ends:
        master = await ends.enter_async_context(running(tmp_path / "master"))
        of = ("--replicaof", f"127.0.0.1 {master.port}")
        replicas = [await ends.enter_async_context(running(tmp_path / f"replica{n}", *of)) for n in range(2)]
        await master.has_replicas(2)
        exchange = await founded(tmp_path, f"{master.url}?replicas=2")
        hub = await ChildHub.start(exchange)
        ends.push_async_callback(hub.aclose)
        alpha, verifier = hub.party("alpha"), exchange.verifier(UK)
        reader = await Follower.start(hub.party("beta"), verifier)
        first = await alpha.publish(signal("alpha", UK))
        await reader.reach(first.index + 1)
        replicas[1].send(signals.SIGSTOP)
        statement = signal("alpha", UK).sign(alpha.key)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await alpha.publish(statement)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert open_checkpoint(await alpha.checkpoint(UK), verifier).size == first.index + 1
        assert reader.next == first.index + 1
        replicas[1].send(signals.SIGCONT)
        receipt = await acknowledged(alpha, statement)
        assert receipt.index == first.index + 1
        check_receipt(receipt, statement, verifier)
        await reader.reach(receipt.index + 1)
        await reader.stop()

"""Killing, draining and starting again, with the hub as a real process."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal as signals
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange import codec
from exchange.ledger.checkpoint import Checkpoint, open_checkpoint
from exchange.ledger.proofs import verify_consistency
from exchange.stores.sealed_mark import read_mark
from exchange.stores.sqlite_reader import LogFiles, LogState
from exchange.v1 import ledger_pb2, publish_pb2
from exchange.v1 import statement_pb2 as pb
from tests.e2e.answers import check_receipt, is_ready
from tests.e2e.child_hub import ChildHub
from tests.e2e.drafts import record, signal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, Exchange, Party
from tests.e2e.follower import Follower
from tests.e2e.warm_command_line import on_the_command_line

pytestmark = pytest.mark.e2e

HOUR_MS = 3_600_000
#: Those of the exchange's communities.
RETENTION_DAYS = 400


@pytest.fixture
async def exchange(tmp_path: Path) -> Exchange:
    return await Exchange.found(tmp_path)


@pytest.fixture
async def hub(exchange: Exchange) -> AsyncIterator[ChildHub]:
    child = await ChildHub.start(exchange)
    await child.populate()
    yield child
    await child.aclose()


async def again(hub: ChildHub, *flags: str) -> ChildHub:
    """End the first process's connections and start the next one on the same data."""
    await hub.aclose()
    return await ChildHub.start(hub.exchange, *flags)


async def stopped(hub: ChildHub) -> Exchange:
    hub.send(signals.SIGTERM)
    assert await hub.ended() == 0
    await hub.aclose()
    assert '"level": "error"' not in hub.log.read_text()
    return hub.exchange


class Pipeline:
    """A publisher that keeps a stream full and remembers every receipt it got."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.sent: dict[bytes, pb.Statement] = {}
        self.receipts: dict[bytes, publish_pb2.Receipt] = {}
        self.acknowledged = asyncio.Event()
        self._stop = False

    async def _requests(self) -> AsyncIterator[publish_pb2.PublishStreamRequest]:
        while not self._stop:
            drafts = [signal(self.party.member, UK) for _ in range(8)]
            statements = [draft.sign(self.party.key) for draft in drafts]
            self.sent |= {message.payload: message for message in statements}
            yield publish_pb2.PublishStreamRequest(statements=statements)
            await asyncio.sleep(0)

    async def run(self) -> None:
        try:
            async for answer in self.party.publishing.PublishStream(self._requests()):
                for result in answer.results:
                    if result.HasField("receipt"):
                        leaf = codec.decode_leaf(result.receipt.leaf)
                        self.receipts[leaf.payload] = result.receipt
                if len(self.receipts) >= 200:
                    self.acknowledged.set()
        except grpc.aio.AioRpcError:
            self._stop = True


async def check_survived(hub: ChildHub, pipelines: list[Pipeline]) -> int:
    """Every acknowledged receipt is at its index, and its checkpoint is consistent with the present one."""
    verifier = hub.exchange.verifier(UK)
    reader = hub.party("gamma")
    now = open_checkpoint(await reader.checkpoint(UK), verifier)
    leaves = [entry.leaf for entry in await all_entries(reader, now.size)]
    seen: dict[int, Checkpoint] = {}
    for pipeline in pipelines:
        for payload, receipt in pipeline.receipts.items():
            _, checkpoint = check_receipt(receipt, pipeline.sent[payload], verifier)
            assert leaves[receipt.index] == receipt.leaf
            assert seen.setdefault(checkpoint.size, checkpoint) == checkpoint
    for old in seen.values():
        request = ledger_pb2.GetConsistencyProofRequest(origin=UK, old_size=old.size)
        answer = await reader.ledger.GetConsistencyProof(request, timeout=TIMEOUT_S)
        verify_consistency(
            old_size=old.size, new_size=now.size, old_root=old.root, new_root=now.root, proof=answer.proof
        )
    return now.size


async def all_entries(party: Party, size: int) -> list[pb.Entry]:
    entries: list[pb.Entry] = []
    while len(entries) < size:
        request = ledger_pb2.ListEntriesRequest(origin=UK, start=len(entries))
        entries += (await party.ledger.ListEntries(request, timeout=TIMEOUT_S)).entries
    return entries


async def test_sigkill_loses_nothing_that_was_acknowledged(hub: ChildHub) -> None:
    verifier = hub.exchange.verifier(UK)
    follower = await Follower.start(hub.party("gamma"), verifier)
    pipelines = [Pipeline(hub.party(member)) for member in ("alpha", "beta")]
    tasks = [asyncio.create_task(pipeline.run()) for pipeline in pipelines]
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(*(pipeline.acknowledged.wait() for pipeline in pipelines))
    hub.send(signals.SIGKILL)
    assert await hub.ended() == -signals.SIGKILL
    await asyncio.gather(*tasks)
    ended = await follower.end()
    assert ended is not None
    assert ended.code is grpc.StatusCode.UNAVAILABLE
    second = await again(hub)
    try:
        size = await check_survived(second, pipelines)
        resumed = await Follower.start(
            second.party("gamma"), verifier, cursor=follower.next, last_checkpoint=follower.last_note
        )
        receipt = await second.party("alpha").publish(signal("alpha", UK))
        assert receipt.index == size
        await resumed.reach(size + 1)
        indices = [leaf.index for leaf in (*follower.leaves, *resumed.leaves)]
        assert indices == list(range(size + 1))
        await resumed.stop()
        await check_resubmission(second, pipelines[0])
    finally:
        await second.aclose()


async def check_resubmission(hub: ChildHub, pipeline: Pipeline) -> None:
    """What was sent without an answer is sent again: each statement has exactly one place."""
    party = hub.party(pipeline.party.member)
    results = await party.stream(list(pipeline.sent.values()))
    assert all(result.HasField("receipt") for result in results)
    assert len({result.receipt.index for result in results}) == len(pipeline.sent)
    for result in results:
        payload = codec.decode_leaf(result.receipt.leaf).payload
        if payload in pipeline.receipts:
            assert result.receipt.repeated_statement
            assert result.receipt.index == pipeline.receipts[payload].index


async def test_killed_again_and_again_the_log_goes_on(hub: ChildHub) -> None:
    children = [hub]
    pipelines: list[Pipeline] = []
    try:
        for _ in range(3):
            pipeline = Pipeline(children[-1].party("alpha"))
            task = asyncio.create_task(pipeline.run())
            await asyncio.wait_for(pipeline.acknowledged.wait(), TIMEOUT_S)
            children[-1].send(signals.SIGKILL)
            await children[-1].ended()
            await task
            pipelines.append(pipeline)
            children.append(await again(children[-1]))
            await check_survived(children[-1], pipelines)
    finally:
        await children[-1].aclose()


async def test_a_sigkill_after_archiving_the_last_group(hub: ChildHub) -> None:
    """The clock goes on by more than the retention, so that the hub archives all; the seal is in its memory only."""
    alpha = hub.party("alpha")
    await alpha.stream([signal("alpha", UK).sign(alpha.key) for _ in range(255)])
    assert (await alpha.publish(signal("alpha", UK))).index == 255
    hub.send(signals.SIGKILL)
    await hub.ended()
    assert stored(hub.exchange).sealed_size == 255
    later = await again(hub, f"--clock-offset-ms={RETENTION_DAYS * 24 * HOUR_MS + HOUR_MS}", "--accept-clock")
    async with asyncio.timeout(TIMEOUT_S):
        while stored(later.exchange).floor == 0:
            await asyncio.sleep(0.01)
    await verified(later.exchange)
    later.send(signals.SIGKILL)
    assert await later.ended() == -signals.SIGKILL
    state = stored(later.exchange)
    assert (state.floor, state.sealed_size, state.durable_size) == (256, 256, 256)
    last = await again(later)
    try:
        assert (await last.party("alpha").publish(signal("alpha", UK))).index == 256
        await verified(last.exchange)
    finally:
        await last.aclose()


def stored(exchange: Exchange) -> LogState:
    """Return what the log's file says."""
    files = LogFiles(exchange.folders.log("uk"))
    try:
        return files.state()
    finally:
        files.close()


async def verified(exchange: Exchange) -> None:
    """Run `exchange verify` beside the hub."""
    code, said = await on_the_command_line("verify", exchange.folder / "data", "--genesis", exchange.pin.hex())
    assert code == 0, said


async def test_sigterm_drains(hub: ChildHub) -> None:
    verifier = hub.exchange.verifier(UK)
    streams = [await Follower.start(hub.party("beta"), verifier) for _ in range(3)]
    receipt = await hub.party("alpha").publish(signal("alpha", UK))
    for stream in streams:
        await stream.reach(receipt.index + 1)
    _held = await held(hub.party("alpha"))
    assert await is_ready(hub.ops_port)
    hub.send(signals.SIGTERM)
    for stream in streams:
        assert await stream.end() is None
        assert stream.draining is not None
        assert stream.draining.cursor == receipt.index + 1
    # The call whose request does not come holds the drain for its grace: the hub says meanwhile that it is not ready.
    assert hub.process.returncode is None
    assert not await is_ready(hub.ops_port)
    assert await hub.ended() == 0
    second = await again(hub)
    resumed = await Follower.start(
        second.party("beta"), verifier, cursor=receipt.index + 1, last_checkpoint=streams[0].last_note
    )
    await second.party("alpha").publish(signal("alpha", UK))
    await resumed.reach(receipt.index + 2)
    await resumed.stop()
    await second.aclose()


async def held(party: Party) -> Any:
    """Return a call that the hub has taken, and whose request does not come."""
    channel: Any = party.channel
    call = channel.stream_stream("/exchange.v1.FeedService/Subscribe")()
    await call.initial_metadata()
    return call


async def test_an_idle_publisher_does_not_hold_up_the_drain(hub: ChildHub) -> None:
    idle = hub.party("alpha").publishing.PublishStream()
    await idle.write(publish_pb2.PublishStreamRequest(statements=[signal("alpha", UK).sign(hub.party("alpha").key)]))
    answered = await idle.read()
    assert answered is not grpc.aio.EOF
    hub.send(signals.SIGTERM)
    assert await idle.read() is grpc.aio.EOF
    assert await hub.ended(timeout_s=TIMEOUT_S) == 0


async def test_a_second_signal_ends_the_drain(hub: ChildHub) -> None:
    _held = await held(hub.party("alpha"))
    stream = await Follower.start(hub.party("beta"), hub.exchange.verifier(UK))
    hub.send(signals.SIGTERM)
    await stream.end()
    hub.send(signals.SIGTERM)
    assert await hub.ended(timeout_s=TIMEOUT_S) != 0
    assert '"stopped"' not in hub.log.read_text()


async def test_a_second_hub_on_the_same_data_is_refused(hub: ChildHub) -> None:
    second = await ChildHub.launch(hub.exchange)
    assert "another process has this log open" in await second.refused()
    await second.aclose()
    assert (await hub.party("alpha").publish(signal("alpha", UK))).index == 0


async def test_an_old_copy_of_the_store_is_refused(hub: ChildHub) -> None:
    alpha = hub.party("alpha")
    await alpha.publish(signal("alpha", UK))
    exchange = await stopped(hub)
    store, copy = exchange.folders.log("uk"), exchange.folder / "copy"
    shutil.copytree(store, copy)
    second = await ChildHub.start(exchange)
    await second.party("alpha").publish(signal("alpha", UK))
    await stopped(second)
    shutil.rmtree(store)
    shutil.copytree(copy, store)
    mark = read_mark(exchange.folders.mark("uk"))
    for flags in ((), ("--adopt",)):
        third = await ChildHub.launch(exchange, *flags)
        await third.serves_all_but(UK)
        await third.aclose()
    assert read_mark(exchange.folders.mark("uk")) == mark


async def test_another_tree_of_the_same_size_is_refused(hub: ChildHub) -> None:
    exchange = await stopped(hub)
    store, copy, mark = exchange.folders.log("uk"), exchange.folder / "copy", exchange.folders.mark("uk")
    shutil.copytree(store, copy)
    kept = mark.read_bytes()
    second = await ChildHub.start(exchange)
    await second.party("alpha").publish(signal("alpha", UK))
    await stopped(second)
    newer = mark.read_bytes()
    shutil.rmtree(store)
    shutil.copytree(copy, store)
    mark.write_bytes(kept)
    third = await ChildHub.start(exchange)
    await third.party("beta").publish(signal("beta", UK))
    await stopped(third)
    mark.write_bytes(newer)
    fourth = await ChildHub.launch(exchange)
    await fourth.serves_all_but(UK)
    await fourth.aclose()


async def test_a_log_without_a_mark_needs_adopt(hub: ChildHub) -> None:
    await hub.party("alpha").publish(signal("alpha", UK))
    exchange = await stopped(hub)
    for name in ("uk", "directory"):
        exchange.folders.mark(name).unlink()
    second = await ChildHub.launch(exchange)
    assert (await second.refused()).startswith("rolled_back ")
    await second.aclose()
    third = await ChildHub.start(exchange, "--adopt")
    assert (await third.party("alpha").publish(signal("alpha", UK))).index == 1
    await stopped(third)


async def test_adopting_once_is_enough(hub: ChildHub) -> None:
    await hub.party("alpha").publish(signal("alpha", UK))
    exchange = await stopped(hub)
    for name in ("uk", "directory"):
        exchange.folders.mark(name).unlink()
    await stopped(await ChildHub.start(exchange, "--adopt"))
    again = await ChildHub.start(exchange)
    await again.aclose()


async def test_a_clock_that_cannot_be_believed_is_refused(hub: ChildHub) -> None:
    await hub.party("alpha").publish(signal("alpha", UK))
    exchange = await stopped(hub)
    for offset in (2 * HOUR_MS, -2 * HOUR_MS):
        wrong = await ChildHub.launch(exchange, f"--clock-offset-ms={offset}")
        assert (await wrong.refused()).startswith("config ")
        await wrong.aclose()
    accepted = await ChildHub.start(exchange, f"--clock-offset-ms={2 * HOUR_MS}", "--accept-clock")
    late = signal("alpha", UK)
    receipt = await accepted.party("alpha").publish(
        late.but(created_at_ms=late.created_at_ms + 2 * HOUR_MS, expires_at_ms=late.created_at_ms + 4 * HOUR_MS)
    )
    assert receipt.index == 1
    await stopped(accepted)
    behind = await ChildHub.launch(exchange)
    assert (await behind.refused()).startswith("config ")
    await behind.aclose()


async def test_the_log_of_the_hub_holds_nothing_of_a_record(hub: ChildHub) -> None:
    alpha = hub.party("alpha")
    values = [secrets.token_bytes(32) for _ in range(3)]
    case = "case-ref-0815"
    good = signal("alpha", UK, records=[record(value, case_ref=case) for value in values])
    bad = signal("alpha", UK, records=[record(values[0].hex().encode(), case_ref=case)])
    await alpha.publish(good)
    for draft in (bad, good.but(ids=(b"x" * 32,) * 3)):
        with pytest.raises(grpc.aio.AioRpcError):
            await alpha.publish(draft)
    await alpha.stream([draft.sign(alpha.key) for draft in (good, bad)])
    exchange = await stopped(hub)
    log = (exchange.folder / "hub.log").read_text()
    assert '"event": "serving"' in log
    assert '"event": "stopped"' in log
    assert case not in log
    for value in values:
        assert value.hex() not in log.lower()
        assert repr(value)[2:-1] not in log

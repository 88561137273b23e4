"""What each limit of the member-facing port does to who runs into it, and that nobody else notices.

`docs/hardening.md` names the test of each setting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from h2.errors import ErrorCodes

from exchange.api import messages, server
from exchange.api.publish import MEMBER_WINDOW, WINDOW
from exchange.config import Connections, Ops, Quotas, Tiles
from exchange.domain.bodies import Quota
from exchange.errors import Fatal, Reason
from exchange.ports import Head
from exchange.publish.intake import Candidate
from exchange.publish.waiting import Receipt
from exchange.v1 import feed_pb2, publish_pb2
from exchange_client import ExchangeClient
from tests.e2e.answers import check_receipt, read_refusal, refusal
from tests.e2e.drafts import record, signal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, Exchange, LocalHub, World, open_world
from tests.e2e.follower import Follower
from tests.e2e.raw_http2 import RawConnection
from tests.e2e.sdk_clients import a_signal, client_config
from tests.e2e.test_standing import eventually, live_streams, stalled, told

pytestmark = pytest.mark.e2e


@contextlib.asynccontextmanager
async def hub_with(folder: Path, **sections: object) -> AsyncIterator[World]:
    world = await open_world(folder, threshold=1, **({"ops": Ops(listen=""), "tiles": Tiles()} | sections))
    try:
        yield world
    finally:
        await world.aclose()


async def served(world: World) -> None:
    """Check that an ordinary member is served, now."""
    await world.party("alpha").publish(signal("alpha", UK))


async def test_no_message_of_a_feed_is_larger_than_a_message_may_be(tmp_path: Path) -> None:
    method = "/exchange.v1.FeedService/Subscribe"
    async with hub_with(tmp_path) as world:
        beta = world.party("beta")
        (await stalled(world, beta)).cancel()
        size = (await world.heads())[UK].sealed.size
        stub: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = beta.channel.unary_stream(method)
        raw = stub(feed_pb2.SubscribeRequest(origin=UK).SerializeToString())
        largest = reached = 0
        while reached < size:
            message = await raw.read()
            assert isinstance(message, bytes)
            largest = max(largest, len(message))
            reached += len(feed_pb2.SubscribeResponse.FromString(message).entries)
        raw.cancel()
        assert 500_000 < largest <= messages.MAX_MESSAGE_BYTES


async def test_metadata_over_the_hard_limit_is_refused_and_the_connection_lives(world: World) -> None:
    await served(world)
    alpha = world.party("alpha")
    request = publish_pb2.PublishRequest(statement=signal("alpha", UK).sign(alpha.key))
    async with world.unchanged():
        fat = alpha.publishing.Publish(request, metadata=(("padding", "x" * 20_000),), timeout=TIMEOUT_S)
        assert (await refusal(fat)).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    slim = await alpha.publishing.Publish(request, metadata=(("padding", "x" * 4_000),), timeout=TIMEOUT_S)
    assert slim.receipt.leaf


async def test_calls_over_the_limit_of_a_connection_wait_in_the_client(world: World) -> None:
    await world.registrar.enrol("many")
    await world.registrar.say(Quota("many", records_per_minute=0, statements_per_minute=0, streams=200))
    party, verifier = world.party("many"), world.exchange.verifier(UK)
    size = (await world.heads())[UK].sealed.size
    live = [await Follower.start(party, verifier, cursor=size) for _ in range(128)]
    one_more = asyncio.create_task(Follower.start(party, verifier, cursor=size))
    receipt = await world.party("alpha").publish(signal("alpha", UK))
    for follower in live:
        await follower.reach(receipt.index + 1)
    assert not one_more.done()
    assert live_streams(world, "many") == 128
    await live.pop().stop()
    live.append(await one_more)
    await live[-1].reach(receipt.index + 1)
    for follower in live:
        await follower.stop()


async def test_calls_over_the_limit_of_the_hub_are_told_to_come_again(tmp_path: Path) -> None:
    async with hub_with(tmp_path, connections=Connections(calls=4)) as world:
        verifier = world.exchange.verifier(UK)
        live = [await Follower.start(world.party("beta"), verifier) for _ in range(4)]
        refused = await refusal(served(world))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.UNAVAILABLE.value)
        assert refused.retry_ms
        await live.pop().stop()
        await eventually(lambda: live_streams(world, "beta") == 3)
        await served(world)
        for follower in live:
            await follower.stop()


async def test_a_handshake_that_is_not_finished_is_cut_and_members_are_served(tmp_path: Path) -> None:
    async with hub_with(tmp_path, connections=Connections(handshake_s=1)) as world:
        silent = [await asyncio.open_connection("127.0.0.1", world.app.port) for _ in range(200)]
        for _, writer in silent[:100]:
            writer.write(b"\x16\x03\x01\x02\x00\x01\x00")  # the first bytes of a ClientHello, and then nothing
        await served(world)
        async with asyncio.timeout(TIMEOUT_S):
            for reader, _ in silent:
                with contextlib.suppress(ConnectionError):
                    assert len(await reader.read()) < 100
        for _, writer in silent:
            writer.close()
        await served(world)


async def test_a_connection_without_a_call_is_closed(tmp_path: Path) -> None:
    async with (
        hub_with(tmp_path, connections=Connections(idle_s=1)) as world,
        RawConnection.open(world.exchange, world.app.port, "alpha") as idle,
    ):
        await idle.until(lambda: idle.closed)
        goodbye = idle.goodbye()
        assert goodbye is not None
        assert goodbye.additional_data == b"connection idle"


async def test_at_a_connections_age_everyone_goes_on_without_gap_or_loss(tmp_path: Path) -> None:
    """Several times over: a subscriber gets every entry once, a publisher a receipt for every signal."""
    async with hub_with(tmp_path / "hub", connections=Connections(age_s=1, age_grace_s=1)) as world:
        alpha = client_config(world.exchange, world.app.port, "alpha", tmp_path / "alpha")
        beta = client_config(world.exchange, world.app.port, "beta", tmp_path / "beta")
        old = world.exchange.party(world.app.port, "gamma")
        stream = await Follower.start(old, world.exchange.verifier(UK))
        async with ExchangeClient(alpha) as a, ExchangeClient(beta) as b, a.publisher(UK) as publisher:
            seen: list[int] = []

            async def follow() -> None:
                async for delivery in b.subscribe(UK):
                    seen.append(delivery.index)  # noqa: PERF401 - looked at while it grows

            following = asyncio.create_task(follow())
            published = 0
            aged = 0
            while aged < 3:
                outcomes = await publisher.publish([a_signal() for _ in range(3)], timeout_s=TIMEOUT_S)
                assert all(outcome.receipt is not None for outcome in outcomes)
                published += 3
                if stream.finished:
                    assert stream.ended is not None
                    assert stream.ended.code is grpc.StatusCode.UNAVAILABLE
                    aged += 1
                    stream = await Follower.start(old, world.exchange.verifier(UK), cursor=stream.next)
                await asyncio.sleep(0.05)
            size = (await world.heads())[UK].sealed.size
            await eventually(lambda: bool(seen) and seen[-1] == size - 1)
            following.cancel()
            assert seen == list(range(size))
        await stream.stop()
        await old.channel.close()


async def test_a_peer_that_hangs_is_found_by_keepalive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = server.options
    names = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
    quick = dict.fromkeys(names, 500)
    monkeypatch.setattr(server, "options", lambda c: tuple((name, quick.get(name, v)) for name, v in real(c)))
    async with (
        hub_with(tmp_path) as world,
        RawConnection.open(world.exchange, world.app.port, "alpha") as peer,
    ):
        request = feed_pb2.SubscribeRequest(origin=UK).SerializeToString()
        peer.call("FeedService/Subscribe", request)
        peer.flush()
        await eventually(lambda: live_streams(world, "alpha") == 1)
        peer.stop_reading()
        await eventually(lambda: live_streams(world, "alpha") == 0)


@pytest.mark.parametrize("streaming", [False, True], ids=["idle", "beside_a_live_stream"])
async def test_a_flood_of_pings_ends_its_connection(world: World, *, streaming: bool) -> None:
    async with RawConnection.open(world.exchange, world.app.port, "alpha") as peer:
        if streaming:
            peer.call("FeedService/Subscribe", feed_pb2.SubscribeRequest(origin=UK).SerializeToString())
        for number in range(100):
            peer.h2.ping(number.to_bytes(8, "big"))
        peer.flush()
        await peer.until(lambda: peer.goodbye() is not None)
        goodbye = peer.goodbye()
        assert goodbye is not None
        assert goodbye.error_code == ErrorCodes.ENHANCE_YOUR_CALM
        assert goodbye.additional_data == b"too_many_pings"
        await peer.until(lambda: peer.closed)
    await served(world)


async def test_the_port_is_not_shared_with_a_second_server(world: World, tmp_path: Path) -> None:
    other = await Exchange.found(tmp_path)
    with pytest.raises(ExceptionGroup) as caught:
        await LocalHub().start(other.config(listen=f"127.0.0.1:{world.app.port}"))
    (error,) = caught.value.exceptions
    assert isinstance(error, Fatal)
    assert error.reason is Reason.CONFIG


@contextlib.asynccontextmanager
async def held_up(world: World) -> AsyncIterator[asyncio.Event]:
    """Keep the community's sequencer from building groups inside the block; the event tells that it holds one up."""
    sequencer, may, holds = world.app._logs[UK].sequencer, asyncio.Event(), asyncio.Event()
    ready = sequencer._ready

    async def later(head: Head) -> None:
        holds.set()
        await may.wait()
        await ready(head)

    sequencer._ready = later
    try:
        yield holds
    finally:
        may.set()
        sequencer._ready = ready


@pytest.mark.parametrize("timeout", [None, 1e6], ids=["no_deadline", "absurd_deadline"])
async def test_a_publish_without_a_sane_deadline_gets_the_hubs(tmp_path: Path, timeout: float | None) -> None:  # noqa: ASYNC109
    async with hub_with(tmp_path, connections=Connections(call_s=1)) as world:
        alpha = world.party("alpha")
        request = publish_pb2.PublishRequest(statement=signal("alpha", UK).sign(alpha.key))
        async with held_up(world):
            refused = await refusal(alpha.publishing.Publish(request, timeout=timeout))
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.UNAVAILABLE.value)
            assert refused.retry_ms
        again = await alpha.publishing.Publish(request, timeout=TIMEOUT_S)
        assert again.receipt.index == 0


async def test_what_was_said_before_the_deadline_is_in_the_log_once(world: World) -> None:
    alpha = world.party("alpha")
    statement = signal("alpha", UK).sign(alpha.key)
    request = publish_pb2.PublishRequest(statement=statement)
    size = (await world.heads())[UK].sealed.size
    async with held_up(world) as holds:
        # What ended on its way to the sequencer was never said: a slow machine is given longer.
        for deadline_s in (0.3, 1, 3, 10, 20):
            refused = await refusal(alpha.publishing.Publish(request, timeout=deadline_s))
            assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
            if holds.is_set():
                break
        assert holds.is_set(), "the statement never reached the sequencer"
    other = await alpha.publish(signal("alpha", UK))
    again = await alpha.publishing.Publish(request, timeout=TIMEOUT_S)
    check_receipt(again.receipt, statement, world.exchange.verifier(UK))
    assert (again.receipt.index, again.receipt.repeated_statement) == (size, True)
    assert other.index == size + 1


async def test_a_stream_that_is_not_read_is_ended_and_may_come_again(tmp_path: Path) -> None:
    async with hub_with(tmp_path, connections=Connections(stalled_s=1)) as world:
        verifier = world.exchange.verifier(UK)
        reader = await Follower.start(world.party("gamma"), verifier)
        sleeper = world.exchange.party(world.app.port, "beta")
        call = await stalled(world, sleeper)
        await eventually(lambda: told(world, Reason.STALLED) == 1)
        read = 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while isinstance(message := await call.read(), feed_pb2.SubscribeResponse):
                read += len(message.entries)
        ended = read_refusal(caught.value)
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.STALLED.value)
        assert ended.retry_ms
        size = (await world.heads())[UK].sealed.size
        await reader.reach(size)
        assert read < size
        again = await Follower.start(sleeper, verifier, cursor=read)
        await again.reach(size)
        for follower in (reader, again):
            await follower.stop()
        await sleeper.channel.close()


async def test_a_publisher_that_does_not_read_its_answers_is_ended_too(tmp_path: Path) -> None:
    async with hub_with(tmp_path, connections=Connections(stalled_s=1)) as world:
        alpha = world.exchange.party(world.app.port, "alpha")
        bad = signal("alpha", UK, records=[record(b"short") for _ in range(20)]).sign(alpha.key)
        requests = [publish_pb2.PublishStreamRequest(statements=[bad] * 100)] * 400
        call = alpha.publishing.PublishStream(iter(requests))
        await eventually(lambda: told(world, Reason.STALLED) == 1)
        assert not call.done()
        await served(world)
        await alpha.channel.close()


async def test_streams_of_one_member_share_its_window(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, sequencer = world.party("alpha"), world.app._logs[UK].sequencer
    offered, offer = 0, sequencer.offer

    def counting(candidate: Candidate) -> asyncio.Future[Receipt]:
        nonlocal offered
        offered += 1
        return offer(candidate)

    monkeypatch.setattr(sequencer, "offer", counting)
    one = publish_pb2.PublishStreamRequest(statements=[signal("alpha", UK).sign(alpha.key)])
    async with held_up(world):
        calls = [alpha.publishing.PublishStream(iter([one] * WINDOW)) for _ in range(8)]
        await eventually(lambda: offered == MEMBER_WINDOW)
        for _ in range(5):
            assert await world.party("beta").checkpoint(UK)
        assert offered == MEMBER_WINDOW < len(calls) * WINDOW
        # Whoever goes gives back what it held, and the others go on.
        calls.pop(0).cancel()
        await eventually(lambda: offered > MEMBER_WINDOW)
    for call in calls:
        answers = [answer async for answer in call]
        results = [result for answer in answers for result in answer.results]
        assert len(results) == WINDOW
        assert all(result.HasField("receipt") for result in results)
        # What was decided together is answered together.
        assert len(answers) < WINDOW


async def test_health_and_reflection_are_not_on_the_members_port(world: World) -> None:
    alpha = world.party("alpha")
    for method in ("grpc.health.v1.Health/Check", "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
        stub: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = alpha.channel.stream_stream(f"/{method}")
        call = stub(iter([b""]), timeout=TIMEOUT_S)
        assert (await refusal(call.read())).code is grpc.StatusCode.UNIMPLEMENTED


async def reset_at_once(peer: RawConnection, count: int) -> None:
    """Open calls and reset each right away."""
    for _ in range(count):
        peer.h2.reset_stream(peer.call("DirectoryService/WhoAmI", end=False), ErrorCodes.CANCEL)
        peer.flush()
        await asyncio.sleep(0)


async def test_a_flood_of_resets_leaves_nothing_behind(world: World) -> None:
    async with RawConnection.open(world.exchange, world.app.port, "beta") as peer:
        await reset_at_once(peer, 1_000)
        await served(world)
        last = peer.call("DirectoryService/WhoAmI")
        peer.flush()
        await peer.until(lambda: peer.status(last) is not None or peer.closed)
    await eventually(lambda: world.app._intake._quotas.live("beta", stream=False) == 0)


async def test_opening_and_cancelling_is_charged_to_its_member(tmp_path: Path) -> None:
    async with hub_with(tmp_path, quotas=Quotas(calls_per_minute=100)) as world:
        party, verifier = world.party("beta"), world.exchange.verifier(UK)

        async def open_and_cancel() -> None:
            for _ in range(1_000):  # fewer than two a second are given back
                await (await Follower.start(party, verifier)).stop()

        refused = await refusal(open_and_cancel())
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVER_QUOTA.value)
        assert refused.retry_ms
        await eventually(lambda: not world.app._intake._quotas._open)
        await served(world)


async def test_calls_at_once_of_one_member_are_bounded(tmp_path: Path) -> None:
    async with hub_with(tmp_path, quotas=Quotas(calls=3)) as world:
        alpha = world.party("alpha")
        async with held_up(world):
            waiting = [asyncio.create_task(alpha.publish(signal("alpha", UK))) for _ in range(3)]
            await eventually(lambda: world.app._intake._quotas.live("alpha", stream=False) == 3)
            refused = await refusal(alpha.checkpoint(UK))
            assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVER_QUOTA.value)
            assert await world.party("beta").checkpoint(UK)
        assert {(await receipt).index for receipt in waiting} == {0, 1, 2}
        assert await alpha.checkpoint(UK)

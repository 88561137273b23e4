"""Standing changes while streams live: suspension, leaving, lifting, new communities, and readers that do not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from exchange import codec
from exchange.codec_bodies import kind_of
from exchange.domain.bodies import (
    Body,
    Community,
    Key,
    Membership,
    State,
    Suspension,
)
from exchange.domain.identifiers import IndicatorType, Origin
from exchange.domain.kinds import Role
from exchange.errors import Reason
from exchange.ledger.ed25519 import SigningKey
from exchange.v1 import directory_pb2, feed_pb2, publish_pb2
from exchange.v1 import statement_pb2 as pb
from tests.e2e.answers import Refusal, refusal
from tests.e2e.drafts import Draft, record, signal, video
from tests.e2e.exchange_fixture import DIRECTORY, NAME, OPERATOR, SIDE, TIMEOUT_S, UK, Party, World
from tests.e2e.follower import Follower

pytestmark = pytest.mark.e2e

#: "At once", on a shared machine.
AT_ONCE_S = 3.0


async def eventually(happened: Callable[[], bool], *, timeout_s: float = TIMEOUT_S) -> None:
    """Return when something has happened inside the hub; fail at the deadline."""
    async with asyncio.timeout(timeout_s):
        while not happened():
            await asyncio.sleep(0.01)


def live_streams(world: World, member: str) -> int:
    """How many streams of a member the hub counts: those that are not over on the wire, cut or not."""
    return world.app._intake._quotas.live(member, stream=True)


def told(world: World, reason: Reason) -> float:
    """How many calls and streams the hub has ended for a reason, whether or not anybody has read that."""
    found = world.app.metrics.registry.get_sample_value("signal_exchange_rejected_total", {"reason": reason.value})
    return found or 0


async def caught_up(world: World, member: str, role: Role = Role.PIPELINE) -> Follower:
    size = (await world.heads())[UK].sealed.size
    return await Follower.start(world.party(member, role), world.exchange.verifier(UK), cursor=size)


def denied(found: Refusal | None) -> bool:
    return found is not None and found.code is grpc.StatusCode.PERMISSION_DENIED


async def test_suspension_cuts_live_streams_and_leaves_the_leaves(world: World) -> None:
    await world.registrar.enrol("sus.reader")
    streams = [await caught_up(world, "sus.reader"), await caught_up(world, "sus.reader", Role.LIAISON)]
    bystander = await caught_up(world, "beta")
    await world.registrar.suspend("sus.reader")
    for stream in streams:
        ended = await stream.end(timeout_s=AT_ONCE_S)
        assert denied(ended), ended
        assert not stream.entries
    again = await caught_up(world, "sus.reader")
    me = await world.party("sus.reader").directory.WhoAmI(directory_pb2.WhoAmIRequest(), timeout=TIMEOUT_S)
    assert me.suspended
    receipt = await world.party("alpha").publish(signal("alpha", UK))
    await again.reach(receipt.index + 1)
    assert [entry.state for entry in again.entries] == [pb.RECORD_STATE_NOT_FOR_YOU]
    await bystander.reach(receipt.index + 1)
    assert [entry.state for entry in bystander.entries] == [pb.RECORD_STATE_PRESENT]
    await world.registrar.suspend("sus.reader", state=State.ENDED)
    assert denied(await again.end(timeout_s=AT_ONCE_S))
    restored = await Follower.start(world.party("sus.reader"), world.exchange.verifier(UK), cursor=receipt.index)
    await restored.reach(receipt.index + 1)
    assert [entry.state for entry in restored.entries] == [pb.RECORD_STATE_PRESENT]
    for stream in (bystander, restored):
        await stream.stop()


async def test_suspension_cuts_a_live_publish_stream(world: World) -> None:
    await world.registrar.enrol("sus.stream")
    party = world.party("sus.stream")
    call = party.publishing.PublishStream(timeout=TIMEOUT_S)
    await call.write(publish_pb2.PublishStreamRequest(statements=[signal("sus.stream", UK).sign(party.key)]))
    answer = await call.read()
    assert isinstance(answer, publish_pb2.PublishStreamResponse)
    assert answer.results[0].HasField("receipt")
    await world.registrar.suspend("sus.stream")
    async with asyncio.timeout(AT_ONCE_S):
        assert denied(await refusal(call.read()))


async def test_nothing_is_sequenced_after_its_publishers_suspension(world: World) -> None:
    await world.registrar.enrol("racer")
    party = world.party("racer")
    start = (await world.heads())[UK].sealed.size
    statements = [signal("racer", UK).sign(party.key) for _ in range(600)]
    call = party.publishing.PublishStream(timeout=TIMEOUT_S)
    for at in range(0, len(statements), 20):
        await call.write(publish_pb2.PublishStreamRequest(statements=statements[at : at + 20]))
    await call.read()
    index = await world.registrar.say(Suspension("racer", 0, State.ACTIVE, "a test"))
    call.cancel()
    follower = await Follower.start(world.party("gamma"), world.exchange.verifier(UK), cursor=start)
    receipt = await world.party("alpha").publish(signal("alpha", UK))
    await follower.reach(receipt.index + 1)
    await follower.stop()
    judged = [leaf.directory_size for leaf in follower.leaves[:-1]]
    assert judged
    assert max(judged) <= index
    assert follower.leaves[-1].directory_size == index + 1


@pytest.mark.parametrize("what", ["key", "role"])
async def test_a_revoked_key_or_role_loses_its_streams_for_good(world: World, what: str) -> None:
    member = f"revoked.{what}"
    await world.registrar.enrol(member)
    party, stream = world.party(member), await caught_up(world, member)
    liaison = await caught_up(world, member, Role.LIAISON)
    if what == "key":
        await world.registrar.say(Key(member, Role.PIPELINE, party.key.public_key, State.ENDED))
    else:
        await world.registrar.suspend(member, Role.PIPELINE)
    assert denied(await stream.end(timeout_s=AT_ONCE_S))
    assert (await refusal(caught_up(world, member))).code is grpc.StatusCode.PERMISSION_DENIED
    await liaison.until(lambda: bool(liaison.heartbeats))
    await liaison.stop()


async def test_who_leaves_a_community_keeps_its_leaves_and_says_nothing_more(world: World) -> None:
    await world.registrar.enrol("leaver", communities=(UK, SIDE))
    party, stream = world.party("leaver"), await caught_up(world, "leaver")
    side = await Follower.start(party, world.exchange.verifier(SIDE))
    await world.registrar.say(Membership("leaver", UK, State.ENDED))
    assert denied(await stream.end(timeout_s=AT_ONCE_S))
    async with world.unchanged():
        refused = await refusal(party.publish(signal("leaver", UK)))
        assert refused.reason == Reason.NOT_PERMITTED.value
    leaves = await caught_up(world, "leaver")
    receipt = await world.party("alpha").publish(signal("alpha", UK))
    await leaves.reach(receipt.index + 1)
    assert [entry.state for entry in leaves.entries] == [pb.RECORD_STATE_NOT_FOR_YOU]
    await world.registrar.say(Membership("leaver", UK, State.ACTIVE))
    assert denied(await leaves.end(timeout_s=AT_ONCE_S))
    back = await Follower.start(party, world.exchange.verifier(UK), cursor=receipt.index)
    await back.reach(receipt.index + 1)
    assert [entry.state for entry in back.entries] == [pb.RECORD_STATE_PRESENT]
    for follower in (back, side):
        await follower.stop()


async def stalled(
    world: World, party: Party
) -> grpc.aio.UnaryStreamCall[feed_pb2.SubscribeRequest, feed_pb2.SubscribeResponse]:
    """Subscribe, take the hello, read nothing more while far more comes than fits into any window."""
    size = (await world.heads())[UK].sealed.size
    call = party.feed.Subscribe(feed_pb2.SubscribeRequest(origin=UK, cursor=size))
    await call.read()
    alpha = world.party("alpha")
    for _ in range(24):
        records = [video(1_400) for _ in range(12)]
        await alpha.publish(signal("alpha", UK, records=records, indicator_types=(IndicatorType.VPDQ,)))
    return call


async def _read_out(call: grpc.aio.UnaryStreamCall[feed_pb2.SubscribeRequest, feed_pb2.SubscribeResponse]) -> None:
    """Read what was on its way, to the stream's end."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_suspension_cuts_a_stream_that_nobody_reads(world: World) -> None:
    await world.registrar.enrol("stalled")
    party = world.party("stalled")
    call, before = await stalled(world, party), told(world, Reason.NOT_PERMITTED)
    await world.registrar.suspend("stalled")
    await eventually(lambda: told(world, Reason.NOT_PERMITTED) == before + 1, timeout_s=AT_ONCE_S)
    assert live_streams(world, "stalled") == 1
    async with asyncio.timeout(AT_ONCE_S):
        assert denied(await refusal(_read_out(call)))
    await eventually(lambda: live_streams(world, "stalled") == 0, timeout_s=AT_ONCE_S)


async def test_a_stream_that_nobody_reads_holds_nobody_up_and_ends_with_its_client(world: World) -> None:
    await world.registrar.enrol("sleeper")
    fast = await caught_up(world, "beta")
    call = await stalled(world, world.party("sleeper"))
    size = (await world.heads())[UK].sealed.size
    await fast.reach(size)
    await fast.stop()
    assert live_streams(world, "sleeper") == 1
    call.cancel()
    await eventually(lambda: live_streams(world, "sleeper") == 0)


def _hub_readers() -> int:
    return sum("_Stream._read" in getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())


async def test_a_publisher_that_never_reads_leaves_no_task_behind(world: World) -> None:
    alpha = world.party("alpha")
    bad = signal("alpha", UK, records=[record(b"short") for _ in range(20)]).sign(alpha.key)
    request = publish_pb2.PublishStreamRequest(statements=[bad] * 100)
    before, taken, most = _hub_readers(), 0, 400

    async def requests() -> AsyncIterator[publish_pb2.PublishStreamRequest]:
        nonlocal taken
        while taken < most:
            taken += 1
            yield request

    async with world.unchanged():
        call = alpha.publishing.PublishStream(requests())
        # Answers pile up unread until the hub takes no more requests.
        at_last_look = -1
        while taken != at_last_look:
            at_last_look = taken
            await asyncio.sleep(0.5)
        assert taken < most
        assert _hub_readers() == before + 1
        call.cancel()
        await eventually(lambda: live_streams(world, "alpha") == 0)
        await eventually(lambda: _hub_readers() == before, timeout_s=AT_ONCE_S)


async def publish_soon(party: Party, draft: Draft) -> publish_pb2.Receipt:
    """Publish as soon as a new community's log is open; the hub says "later" until then."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return await party.publish(draft)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.02)


async def test_a_community_created_while_serving_is_opened(world: World) -> None:
    origin = f"{NAME}/born"
    await world.exchange.new_log(origin)
    await world.registrar.community(origin)
    await world.registrar.say(Membership("alpha", origin, State.ACTIVE))
    await world.registrar.say(Membership("beta", origin, State.ACTIVE))
    receipt = await publish_soon(world.party("alpha"), signal("alpha", origin))
    assert receipt.index == 0
    follower = await Follower.start(world.party("beta"), world.exchange.verifier(origin))
    await follower.reach(1)
    assert codec.decode_header(follower.leaves[0].payload, strict=True).origin == origin
    await follower.stop()


def _filed(world: World, body: Body) -> pb.Statement:
    return Draft(DIRECTORY, OPERATOR, kind_of(body), body).sign(world.operator.key)


def _community(world: World, origin: str, key: bytes | None = None) -> Community:
    return Community(origin, "x", key or world.exchange.log_keys[origin], 0, 400, 365, 30, False)


def _open_slowly(world: World, monkeypatch: pytest.MonkeyPatch, changes: int) -> None:
    """Let the hub open its next community only when so many changes of the directory have come."""
    communities = world.app._communities
    opened, size = communities._open_log, world.app._view.directory.size + changes

    async def slowly(origin: Origin) -> None:
        await world.app._view.reached(size)
        await opened(origin)

    monkeypatch.setattr(communities, "_open_log", slowly)


async def test_two_communities_created_at_once_are_both_opened(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    origins = [f"{NAME}/twin-{number}" for number in range(4)]
    for origin in origins:
        await world.exchange.new_log(origin)
    _open_slowly(world, monkeypatch, len(origins))
    results = await world.operator.stream([_filed(world, _community(world, origin)) for origin in origins])
    assert all(result.HasField("receipt") for result in results)
    await eventually(lambda: set(origins) <= set(world.app._logs), timeout_s=AT_ONCE_S)


async def test_a_suspension_right_after_a_new_community_cuts_streams_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.registrar.enrol("unlucky")
    party = world.party("unlucky")
    call = party.publishing.PublishStream(timeout=TIMEOUT_S)
    await call.write(publish_pb2.PublishStreamRequest(statements=[signal("unlucky", UK).sign(party.key)]))
    await call.read()
    origin = f"{NAME}/distraction"
    await world.exchange.new_log(origin)
    _open_slowly(world, monkeypatch, 2)
    bodies: list[Body] = [_community(world, origin), Suspension("unlucky", 0, State.ACTIVE, "a test")]
    await world.operator.stream([_filed(world, body) for body in bodies])
    try:
        async with asyncio.timeout(AT_ONCE_S):
            assert denied(await refusal(call.read()))
    finally:
        call.cancel()


async def test_a_community_whose_log_is_elsewhere_is_left_alone(world: World) -> None:
    origin = f"{NAME}/elsewhere"
    world.exchange.log_keys[origin] = SigningKey(b"e" * 32).public_key
    await world.registrar.community(origin)
    await world.registrar.say(Membership("alpha", origin, State.ACTIVE))
    refused = await refusal(world.party("alpha").publish(signal("alpha", origin)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.UNAVAILABLE.value)
    assert refused.retry_ms
    assert (await refusal(world.party("alpha").checkpoint(origin))).code is grpc.StatusCode.UNAVAILABLE
    await world.party("alpha").publish(signal("alpha", UK))

"""Calls that are held: begun and not gone on with, answered and not read, cut and not let go.

Each is counted against its member for as long as gRPC holds it, so a member holds what its quota allows and no more,
however it goes about it, and others are served meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from h2.errors import ErrorCodes
from structlog.testing import capture_logs

from exchange.api.feed import FeedServicer
from exchange.config import Connections, Quotas
from exchange.errors import Reason
from exchange.v1 import feed_pb2
from tests.e2e.answers import refusal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, World
from tests.e2e.follower import Follower
from tests.e2e.raw_http2 import RawConnection
from tests.e2e.test_hardening import hub_with, served
from tests.e2e.test_standing import eventually, live_streams, stalled, told

pytestmark = pytest.mark.e2e

#: What one member may hold, far below what the hub may, and both below what is tried.
MOST, HUB, TRIED = 3, 20, 40
QUOTAS = Quotas(calls=MOST, streams=MOST)
OK, RESOURCE_EXHAUSTED, UNAVAILABLE = (
    str(code.value[0]) for code in map(grpc.StatusCode.__getitem__, ("OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"))
)
WHO_AM_I, SUBSCRIBE = "DirectoryService/WhoAmI", "FeedService/Subscribe"
SUBSCRIPTION = feed_pb2.SubscribeRequest(origin=UK).SerializeToString()


def held(world: World) -> int:
    """How many calls and streams of beta the hub counts."""
    return sum(world.app._intake._quotas.live("beta", stream=stream) for stream in (False, True))


def rpcs(world: World, method: str, code: str) -> float:
    """How many calls of a method have ended so."""
    labels = {"method": method, "code": code}
    return world.app.metrics.registry.get_sample_value("signal_exchange_rpc_total", labels) or 0


def count(peer: RawConnection, calls: Iterable[int], status: str | None) -> int:
    """How many of these calls stand so; None is one that has no status yet."""
    return sum(peer.status(number) == status for number in calls)


@pytest.mark.parametrize("method", [WHO_AM_I, SUBSCRIBE])
async def test_a_call_whose_request_never_comes_is_counted_and_ended(tmp_path: Path, method: str) -> None:
    async with (
        hub_with(tmp_path, connections=Connections(calls=HUB, call_s=2), quotas=QUOTAS) as world,
        RawConnection.open(world.exchange, world.app.port, "beta") as peer,
    ):
        calls = [peer.call(method, None, end=False) for _ in range(TRIED)]
        peer.flush()
        await peer.until(lambda: count(peer, calls, RESOURCE_EXHAUSTED) == TRIED - MOST)
        await served(world)
        await peer.until(lambda: count(peer, calls, None) == 0)
        assert count(peer, calls, UNAVAILABLE) == MOST
        await eventually(lambda: held(world) == 0)
        assert await world.party("beta").checkpoint(UK)


async def test_a_call_takes_one_request(world: World) -> None:
    channel: Any = world.party("beta").channel
    before = held(world)
    for method in (WHO_AM_I, SUBSCRIBE):
        none = channel.stream_unary(f"/exchange.v1.{method}")(iter([]), timeout=TIMEOUT_S)
        refused = await refusal(none)
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.MALFORMED.value)
    two = channel.stream_stream(f"/exchange.v1.{SUBSCRIBE}")(iter([SUBSCRIPTION] * 2), timeout=TIMEOUT_S)
    refused = await refusal(two.read())
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.MALFORMED.value)
    await eventually(lambda: held(world) == before)


async def test_an_answer_ends_a_call_whatever_its_client_leaves_open(tmp_path: Path) -> None:
    async with (
        hub_with(tmp_path, connections=Connections(calls=HUB), quotas=QUOTAS) as world,
        RawConnection.open(world.exchange, world.app.port, "beta") as peer,
    ):
        for _ in range(TRIED):
            number = peer.call(WHO_AM_I, end=False)
            peer.flush()
            await peer.until(lambda number=number: peer.status(number) is not None)  # type: ignore[misc]
            assert peer.status(number) == OK
            await eventually(lambda: held(world) == 0)


async def test_answers_that_nobody_reads_are_counted_until_they_are_let_go(tmp_path: Path) -> None:
    async with (
        hub_with(tmp_path, connections=Connections(calls=HUB, call_s=1), quotas=QUOTAS) as world,
        RawConnection.open(world.exchange, world.app.port, "beta") as peer,
    ):
        peer.let_in(0)
        calls = [peer.call(WHO_AM_I) for _ in range(TRIED)]
        peer.flush()
        await peer.until(lambda: count(peer, calls, RESOURCE_EXHAUSTED) == TRIED - MOST)
        await served(world)
        assert world.app._intake._quotas.live("beta", stream=False) == count(peer, calls, None) == MOST
        one, *rest = [number for number in calls if peer.status(number) is None]
        peer.h2.reset_stream(one, ErrorCodes.CANCEL)
        peer.flush()
        await eventually(lambda: held(world) == MOST - 1)
        peer.let_in(1_000)
        peer.flush()
        await peer.until(lambda: count(peer, rest, OK) == MOST - 1)
        await eventually(lambda: held(world) == 0)


async def test_a_stream_that_was_cut_is_counted_until_it_is_let_go(tmp_path: Path) -> None:
    async with (
        hub_with(tmp_path, connections=Connections(calls=HUB, stalled_s=1), quotas=QUOTAS) as world,
        RawConnection.open(world.exchange, world.app.port, "beta") as peer,
    ):
        peer.let_in(0)
        first = [peer.call(SUBSCRIBE, SUBSCRIPTION) for _ in range(MOST)]
        peer.flush()
        await eventually(lambda: told(world, Reason.STALLED) == MOST)
        more = [peer.call(SUBSCRIBE, SUBSCRIPTION) for _ in range(TRIED)]
        peer.flush()
        await peer.until(lambda: count(peer, more, RESOURCE_EXHAUSTED) == TRIED)
        await served(world)
        assert live_streams(world, "beta") == count(peer, first, None) == MOST
        one, *rest = first
        peer.h2.reset_stream(one, ErrorCodes.CANCEL)
        peer.flush()
        await eventually(lambda: held(world) == MOST - 1)
        peer.let_in(1_000)
        peer.flush()
        await peer.until(lambda: count(peer, rest, UNAVAILABLE) == MOST - 1)
        await eventually(lambda: held(world) == 0)
        follower = await Follower.start(world.party("beta"), world.exchange.verifier(UK))
        await follower.stop()


async def test_a_connections_age_ends_what_its_client_holds(tmp_path: Path) -> None:
    connections = Connections(calls=HUB, stalled_s=1, age_s=4, age_grace_s=1)
    async with (
        hub_with(tmp_path, connections=connections, quotas=QUOTAS) as world,
        RawConnection.open(world.exchange, world.app.port, "beta") as peer,
    ):
        await hold_all(world, peer)
        await peer.until(lambda: peer.closed)
        await eventually(lambda: held(world) == 0)


async def test_a_hub_that_goes_away_gives_back_what_is_held(tmp_path: Path) -> None:
    async with (
        hub_with(tmp_path, connections=Connections(calls=HUB, stalled_s=1), quotas=QUOTAS) as world,
        RawConnection.open(world.exchange, world.app.port, "beta") as peer,
    ):
        await hold_all(world, peer)
        await world.hub.stop()
        await eventually(lambda: held(world) == 0)
        assert not world.app._intake._quotas._open


async def hold_all(world: World, peer: RawConnection) -> None:
    """Hold all that a member may: streams that were cut, answers, and a call that is only begun."""
    peer.let_in(0)
    for _ in range(MOST):
        peer.call(SUBSCRIBE, SUBSCRIPTION)
    for _ in range(MOST - 1):
        peer.call(WHO_AM_I)
    peer.call(WHO_AM_I, None, end=False)
    peer.flush()
    await eventually(lambda: told(world, Reason.STALLED) == MOST)
    assert held(world) == 2 * MOST


async def test_refusals_that_nobody_reads_fill_nothing(tmp_path: Path) -> None:
    """A connection that takes no more bytes keeps refused calls too: they are nobody's, and must take nobody's place."""
    async with (
        hub_with(tmp_path, connections=Connections(calls=HUB), quotas=QUOTAS) as world,
        RawConnection.open(world.exchange, world.app.port, "beta") as peer,
    ):
        (await stalled(world, world.party("gamma"))).cancel()
        peer.let_in(2**30)
        peer.h2.increment_flow_control_window(2**30)
        peer.stop_reading()
        peer.call(SUBSCRIBE, SUBSCRIPTION)
        peer.flush()
        await eventually(lambda: live_streams(world, "beta") == 1)
        await quiet_feeds(world)
        for _ in range(TRIED):
            peer.call(WHO_AM_I)
        peer.flush()
        await eventually(lambda: told(world, Reason.OVER_QUOTA) == TRIED - MOST)
        await served(world)
        assert rpcs(world, "WhoAmI", "RESOURCE_EXHAUSTED") == 0, "they have left"


async def test_a_client_that_goes_is_no_error_of_anybodys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Gone before it has said anything, and gone while it is written to: the call was cancelled, and that is all."""
    async with (
        hub_with(tmp_path) as world,
        RawConnection.open(world.exchange, world.app.port, "beta") as peer,
    ):
        (await stalled(world, world.party("gamma"))).cancel()
        calls = [peer.call(SUBSCRIBE, None, end=False) for _ in range(MOST)]
        calls += [peer.call(SUBSCRIBE, SUBSCRIPTION) for _ in range(MOST)]
        peer.flush()
        await eventually(lambda: held(world) == len(calls))
        await quiet_feeds(world)
        for number in calls:
            peer.h2.reset_stream(number, ErrorCodes.CANCEL)
        peer.flush()
        await eventually(lambda: held(world) == 0)
        await eventually(lambda: rpcs(world, "Subscribe", "CANCELLED") == len(calls) + 1)
        assert rpcs(world, "Subscribe", "INTERNAL") == told(world, Reason.MALFORMED) == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def quiet_feeds(world: World) -> None:
    """Wait until nothing is written to the community's feeds any more."""
    at_last_look, written = -1.0, world.app.metrics.feed_messages.labels(UK)._value
    while written.get() != at_last_look:
        at_last_look = written.get()
        await asyncio.sleep(0.5)


async def test_what_grpc_itself_fails_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a client that has gone, but grpc does not cancel the call: then it is an error of ours."""

    async def fails(*_: object) -> bytes:
        raise grpc.aio.InternalError("a write has failed")

    monkeypatch.setattr(FeedServicer, "_hello", fails)
    async with hub_with(tmp_path) as world:
        with capture_logs() as logs:
            refused = await refusal(Follower.start(world.party("beta"), world.exchange.verifier(UK)))
        assert refused.code is grpc.StatusCode.INTERNAL
        assert "incident" in refused.message
        await eventually(
            lambda: rpcs(world, "Subscribe", "INTERNAL") > 0
        )  # a call is counted when its end has been told
        assert (rpcs(world, "Subscribe", "INTERNAL"), rpcs(world, "Subscribe", "CANCELLED")) == (1, 0)
    assert [(each["event"], each["log_level"]) for each in logs] == [("unexpected_error", "error")]

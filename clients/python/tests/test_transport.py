"""Connections: one that fails is left by those who noticed, and stays for the others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from exchange.errors import OverQuota, Reason, Rejected, Unauthenticated, Unavailable
from exchange.v1 import feed_pb2, feed_pb2_grpc, ledger_pb2
from exchange_client import transport
from exchange_client.connections import Moved
from exchange_client.transport import Transport
from exchange_client.wire import Filter


class FakeChannel:
    """Remembers its address, and whether it was closed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> list[FakeChannel]:
    made: list[FakeChannel] = []

    def secure_channel(address: str, *_: Any, **__: Any) -> FakeChannel:
        made.append(FakeChannel(address))
        return made[-1]

    monkeypatch.setattr(grpc.aio, "secure_channel", secure_channel)
    return made


@pytest.fixture
def used(tmp_path: Path, channels: list[FakeChannel]) -> Transport:
    client, _ = client_of(FakeHub(), tmp_path)
    return Transport(replace(client._config, addresses=("one:1", "two:2")), client._identity)


async def test_a_failure_leads_to_the_next_address_and_leaves_other_calls_alone(
    used: Transport, channels: list[FakeChannel]
) -> None:
    async with used._connections.using() as feed:
        with pytest.raises(Unavailable):
            async with used._connections.using() as connection:
                assert connection is feed
                raise Unavailable("gone")
        assert not channels[0].closed
        async with used._connections.using():
            pass
        assert [channel.address for channel in channels] == ["one:1", "two:2"]
    assert [channel.closed for channel in channels] == [True, False]
    await used.aclose()
    assert channels[1].closed


async def test_two_that_notice_the_same_failure_move_on_once(used: Transport, channels: list[FakeChannel]) -> None:
    async def notice() -> None:
        async with used._connections.using():
            await asyncio.sleep(0)
            raise Unavailable("gone")

    await asyncio.gather(notice(), notice(), return_exceptions=True)
    async with used._connections.using():
        pass
    assert [channel.address for channel in channels] == ["one:1", "two:2"]
    await used.aclose()


@pytest.mark.parametrize("error", [OverQuota("slow", retry_after_ms=1), Rejected(Reason.INVALID, "no")])
async def test_a_refusal_is_no_reason_to_move(used: Transport, channels: list[FakeChannel], error: Exception) -> None:
    for _ in range(2):
        with pytest.raises(type(error)):
            async with used._connections.using():
                raise error
    assert len(channels) == 1
    await used.aclose()


async def test_a_call_that_was_cancelled_under_us_is_a_failure_and_our_own_cancellation_is_not(
    used: Transport,
) -> None:
    with pytest.raises(Unavailable):
        async with used._connections.using():
            raise asyncio.CancelledError
    started = asyncio.Event()

    async def work() -> None:
        async with used._connections.using():
            started.set()
            await asyncio.sleep(60)

    task = asyncio.ensure_future(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await used.aclose()


async def test_after_a_renewal_new_calls_use_a_new_channel_and_the_old_one_lives_until_its_last_call(
    used: Transport, channels: list[FakeChannel]
) -> None:
    left: list[str] = []
    async with used._connections.using() as old:
        old.leaving.add(lambda: left.append("asked"))
        await used.renew()
        assert left == ["asked"]
        async with used._connections.using() as new:
            assert new is not old
        assert [channel.closed for channel in channels] == [False, False]
    # The same hub: nothing was wrong with it.
    assert [(channel.address, channel.closed) for channel in channels] == [("one:1", True), ("one:1", False)]
    await used.renew()
    assert channels[1].closed
    await used.aclose()


async def test_what_ends_because_of_a_renewal_says_so(used: Transport, channels: list[FakeChannel]) -> None:
    with pytest.raises(Moved):
        async with used._connections.using():
            await used.renew()
            raise Unavailable("the call was cancelled")
    async with used._connections.using():
        pass
    assert [channel.address for channel in channels] == ["one:1", "one:1"]
    await used.aclose()


async def test_a_connection_whose_certificate_is_refused_is_not_used_again(
    used: Transport, channels: list[FakeChannel]
) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            async with used._connections.using():
                raise Unauthenticated("expired")
    assert [(channel.address, channel.closed) for channel in channels] == [("one:1", True), ("one:1", True)]
    await used.aclose()


async def test_a_closed_client_says_so(used: Transport) -> None:
    await used.aclose()
    await used.aclose()
    with pytest.raises(Rejected, match="closed"):
        await used.who_am_i()


async def test_a_silent_feed_and_a_draining_hub_are_left(
    used: Transport, channels: list[FakeChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SILENCE_S", 0.02)
    messages: list[Any] = [feed_pb2.SubscribeResponse(draining=feed_pb2.Draining(cursor=3))]

    class Call:
        async def read(self) -> Any:
            if not messages:
                await asyncio.sleep(60)
            return messages.pop()

        def cancel(self) -> None:
            pass

    class Stub:
        def __init__(self, channel: Any) -> None:
            self.Subscribe = lambda request: Call()

    monkeypatch.setattr(feed_pb2_grpc, "FeedServiceStub", Stub)
    with pytest.raises(Unavailable) as caught:
        async for message in used.subscribe(UK, 0, b"", Filter()):
            assert message.draining
    assert caught.value.reason is Reason.DRAINING
    with pytest.raises(Unavailable, match="silent"):
        async for _ in used.subscribe(UK, 0, b"", Filter()):
            pass
    assert [channel.address for channel in channels] == ["one:1", "two:2"]
    assert all(channel.closed for channel in channels)


@pytest.mark.parametrize(
    ("indices", "following", "asked_on"),
    [
        ([5], 6, True),
        ([5, 8], 20, True),
        ([5, 8], 0, False),
        ([], 0, False),
        ([], 9, False),
        ([4, 8], 9, False),
        ([8, 5], 9, False),
        ([5, 5], 9, False),
        ([5, 9], 9, False),
    ],
)
def test_a_hub_that_answers_out_of_order_is_not_asked_on(indices: list[int], following: int, asked_on: bool) -> None:
    answer = ledger_pb2.ListLostRecordsResponse(indices=indices, next=following)
    assert transport._moves_on(5, answer) is asked_on

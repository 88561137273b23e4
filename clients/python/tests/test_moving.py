"""Streams that are moved to a new connection: what is under way is finished, and nothing waits."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from clients.python.tests.speech import signal, statement
from exchange_client import backoff
from exchange_client.connections import Moved


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


async def test_a_stream_that_is_to_be_left_is_finished_and_the_next_one_goes_on(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        assert (await session.publish([signal("a")]))[0].error is None
        transport.streams[0].leave()
        assert (await session.publish([signal("b")]))[0].error is None
    assert len(transport.streams) == 2
    assert len(hub.uk.entries) == 2
    assert [len(message) for message in transport.sent] == [1, 1]


async def test_a_feed_that_moves_goes_on_without_a_pause(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 3_600.0)
    for _ in range(7):
        hub.commit(statement(hub))
    client, transport = client_of(hub, tmp_path)
    transport.per_message = 1
    transport.feed_faults.extend([(3, Moved())] * 2)
    async with client, asyncio.timeout(5), contextlib.aclosing(client.subscribe(UK)) as stream:
        found = [await anext(stream) for _ in range(7)]
    assert [d.index for d in found] == list(range(7))
    assert [cursor for cursor, _ in transport.subscriptions] == [0, 2, 4]

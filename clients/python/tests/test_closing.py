"""A publisher can be closed at any moment, also while its stream is just ending by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, FakeStream, client_of
from clients.python.tests.speech import signal
from exchange.domain.statement import Statement
from exchange.errors import Unavailable

DEADLINE_S = 20.0


async def test_a_publisher_closes_while_its_stream_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sending, ended, released = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def send(stream: FakeStream, statements: Sequence[Statement]) -> None:
        """Take long to end, as a write to a connection that is being closed may."""
        sending.set()
        await stream._answers.put(Unavailable("the hub is gone", retry_after_ms=0))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
            await released.wait()

    monkeypatch.setattr(FakeStream, "send", send)
    client, _ = client_of(FakeHub(), tmp_path)
    async with asyncio.timeout(DEADLINE_S), client:
        session = await client.open_publisher(UK)
        await session.__aenter__()
        publishing = asyncio.create_task(session.publish([signal("T-1")]))
        await sending.wait()
        await ended.wait()  # the stream has ended, and its sender has not
        closing = asyncio.create_task(session.__aexit__(None, None, None))
        await asyncio.sleep(0)
        released.set()
        await closing
        assert session._task is not None
        assert session._task.cancelled()
        (outcome,) = await publishing
        assert outcome.kept
        assert outcome.receipt is None

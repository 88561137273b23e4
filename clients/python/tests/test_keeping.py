"""What a client does by itself while it is open goes on whatever it meets, and closing closes everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.python.tests.fake_hub import DAY_MS, UK, FakeHub, client_of
from clients.python.tests.speech import signal
from clients.python.tests.test_identity import certificate, of_a_form_that_nobody_knows
from exchange.errors import Unavailable
from exchange.ops import clocks
from exchange_client import client, outbox
from exchange_client.state import StateFile
from tests.authorities import Issued


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOOK_EVERY_S", 0.005)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.002)


def put(folder: Path, issued: Issued) -> None:
    (folder / "certificate").write_bytes(issued.pem)
    (folder / "key").write_bytes(issued.key_pem)


@pytest.mark.parametrize("issued", [of_a_form_that_nobody_knows(), certificate("")], ids=["form", "no name"])
async def test_files_that_cannot_be_used_do_not_end_the_following(tmp_path: Path, issued: Issued) -> None:
    own, transport = client_of(FakeHub(), tmp_path)
    own._identity._now_ms = clocks.wall_ms
    transport.renew_faults.append(RuntimeError("not now"))
    async with own:
        put(tmp_path, issued)
        await until(lambda: bool(own.identity.problem))
        put(tmp_path, certificate())
        await until(lambda: bool(transport.renewals) and not own.identity.problem)
        assert not own._keeping.done()
    assert own._state.closed
    assert transport.renewals == 1
    assert not transport.renew_faults


async def test_whatever_it_meets_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own, _ = client_of(FakeHub(), tmp_path)
    own._identity._now_ms = clocks.wall_ms
    rounds: list[str] = []

    def look() -> bool:
        rounds.append("one more")
        if len(rounds) < 5:
            raise RecursionError("of no kind that anybody thought of")
        return False

    monkeypatch.setattr(own._identity, "look", look)
    with caplog.at_level(logging.ERROR, "exchange_client"):
        async with own:
            await until(lambda: "of no kind" in own.identity.problem)
            await until(lambda: not own.identity.problem)
    assert len(rounds) >= 5
    assert len([record for record in caplog.records if "of no kind" in record.getMessage()]) == 1


async def test_what_was_kept_for_a_day_goes_while_a_publisher_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A program may publish for months and never close: what is in its outbox are records in clear."""
    monkeypatch.setattr(outbox, "PRUNE_EVERY_S", 0.005)
    prune, rounds = outbox.prune, list[int]()

    async def counted(state: StateFile, now_ms: int) -> None:
        rounds.append(now_ms)
        if len(rounds) == 1:
            raise Unavailable("the disk is full")
        await prune(state, now_ms)

    monkeypatch.setattr(outbox, "prune", counted)
    hub = FakeHub()
    own, _ = client_of(hub, tmp_path)
    async with own, own.publisher(UK) as session:
        await session.publish([signal("T-1")])
        hub.now += DAY_MS
        due = len(rounds) + 3
        await until(lambda: len(rounds) >= due)
        (kept,) = await session.outbox.kept()
        assert kept.records
        hub.now += 1
        due = len(rounds) + 2
        await until(lambda: len(rounds) >= due)
        assert await session.outbox.kept() == []
        assert await session.outbox.signal_ids("T-1")
    assert own._pruning.cancelled()
    assert caplog.text.count("was not pruned: the disk is full") == 1


async def test_closing_closes_everything_whatever_one_part_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, transport = client_of(FakeHub(), tmp_path)
    closed: list[str] = []

    class Following:
        async def store(self) -> None:
            closed.append("subscription")
            raise OSError("the disk is full")

    async def aclose() -> None:
        closed.append("transport")
        raise OSError("the connection is gone")

    monkeypatch.setattr(transport, "aclose", aclose)
    monkeypatch.setattr(own, "_subscribers", [Following(), Following()])
    with pytest.raises(OSError, match="is gone"):
        async with own:
            pass
    assert closed == ["subscription", "subscription", "transport"]
    assert own._state.closed
    assert own._keeping.done()

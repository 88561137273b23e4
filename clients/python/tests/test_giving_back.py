"""What a hub has lost of ours, and still is in the outbox, it is given back."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from clients.python.tests.speech import signal
from exchange.domain.bodies import ErasureReason
from exchange.domain.statement import Statement
from exchange.errors import Denied, Reason, Rejected, Unavailable
from exchange_client import Publisher, backoff, giving_back


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    monkeypatch.setattr(backoff, "LONGEST_S", 0.002)


async def said(hub: FakeHub, folder: Path, count: int) -> tuple[list[int], list[Statement]]:
    """A run that publishes so many statements; return where they lie, and what its outbox keeps of them."""
    client, _ = client_of(hub, folder)
    async with client, client.publisher(UK) as session:
        places = []
        for n in range(count):
            (outcome,) = await session.publish([signal(f"T-{n}")])
            assert outcome.receipt is not None
            places.append(outcome.receipt.index)
        return places, await session.outbox.kept()


async def looked(session: Publisher) -> None:
    async with asyncio.timeout(5):
        await session.giving_back.looked()


def sent(transport: Any) -> list[Statement]:
    return [statement for batch in transport.sent for statement in batch]


async def test_what_the_hub_has_lost_is_sent_again_by_the_next_run(tmp_path: Path, caplog: Any) -> None:
    hub = FakeHub()
    places, kept = await said(hub, tmp_path, 4)
    client, transport = client_of(hub, tmp_path)
    transport.lost = [places[1], places[3], 10_000]
    hub.now += 60_000
    with caplog.at_level(logging.WARNING, "exchange_client"):
        async with client, client.publisher(UK) as session:
            await looked(session)
            assert session.giving_back.given == 2
            assert session.left == 0
            assert await session.outbox.kept() == kept
    assert [each.payload for each in sent(transport)] == [kept[1].payload, kept[3].payload]
    assert all(each.resubmission and each.records for each in sent(transport))
    assert "lost the records of 3 statements of ours: 2 were sent again, 1 are not in this outbox" in caplog.text


async def test_what_we_have_erased_is_given_to_nobody(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        one, two = await session.publish([signal("T-1"), signal("T-2")])
        (alone,) = await session.publish([signal("T-3")])
        for outcome in (one, alone):
            assert outcome.signal_id is not None
            await session.erase([outcome.signal_id], reason=ErasureReason.ON_REQUEST)
        together, third = (each.receipt.index for each in (two, alone) if each.receipt is not None)
    client, transport = client_of(hub, tmp_path)
    transport.lost = [together, third]
    async with client, client.publisher(UK) as session:
        await looked(session)
        assert session.giving_back.given == 1
    (again,) = sent(transport)
    assert len(again.records) == 2  # the ids of all of them hold it together; the hub leaves out what was erased


async def test_nothing_is_sent_where_nothing_is_lost(tmp_path: Path) -> None:
    hub = FakeHub()
    await said(hub, tmp_path, 2)
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        await looked(session)
    assert (sent(transport), transport.asked_for_lost) == ([], 1)


async def test_many_are_sent_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving_back, "AT_ONCE", 2)
    hub = FakeHub()
    places, kept = await said(hub, tmp_path, 5)
    client, transport = client_of(hub, tmp_path)
    transport.lost = places
    async with client, client.publisher(UK) as session:
        await looked(session)
    assert [each.payload for each in sent(transport)] == [each.payload for each in kept]
    assert max(map(len, transport.sent)) == 2


async def test_a_hub_that_broke_off_is_asked_again(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        (outcome,) = await session.publish([signal()])
        await looked(session)
        assert outcome.receipt is not None
        transport.lost = [outcome.receipt.index]
        transport.lost_faults.extend([Unavailable("still reading", retry_after_ms=1)] * 2)
        transport.streams[-1].cancel()  # nobody has anything to say, and still
        async with asyncio.timeout(5):
            while not session.giving_back.given:
                await asyncio.sleep(0.001)
        transport.lost = []
    assert sent(transport)[-1].resubmission
    assert transport.asked_for_lost == 4


@pytest.mark.parametrize("error", [Rejected(Reason.UNIMPLEMENTED, "no such call"), Denied("suspended")])
async def test_a_hub_that_does_not_say_is_no_trouble(tmp_path: Path, error: Rejected) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    transport.lost_faults.append(error)
    async with client, client.publisher(UK) as session:
        await looked(session)
        (outcome,) = await session.publish([signal()])
    assert outcome.receipt is not None
    assert transport.asked_for_lost == 1


async def test_nobody_waits_for_a_hub_that_is_away(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    transport.lost_faults.extend([Unavailable("away", retry_after_ms=50)] * 100)
    async with client, client.publisher(UK) as session:
        await looked(session)


async def test_what_is_refused_stays_in_the_outbox(tmp_path: Path) -> None:
    hub = FakeHub()
    places, kept = await said(hub, tmp_path, 1)
    client, transport = client_of(hub, tmp_path)
    transport.lost = places
    transport.refusals.append(Denied("suspended"))
    async with client, client.publisher(UK) as session:
        await looked(session)
        assert await session.outbox.kept() == kept


async def test_an_outbox_without_records_does_not_ask(tmp_path: Path) -> None:
    client, transport = client_of(FakeHub(), tmp_path)
    async with client:
        async with await client._open_publisher(UK, "acknowledgements") as session:
            await looked(session)
        assert transport.asked_for_lost == 0

"""What one run left in its outbox, the next one sends and tells of."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.fake_hub import START_MS, UK, FakeHub, client_of
from clients.python.tests.speech import sha, signal
from exchange.errors import Denied, ExchangeError, InvalidStatement, Reason, Rejected, Unavailable, Violation
from exchange_client import Indicator, Outcome, Signal, VideoFrame, backoff, put_off


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    monkeypatch.setattr(backoff, "LONGEST_S", 0.002)


SIGNALS = [
    signal("T-1", quality=70),
    signal("T-2", indicators=(sha(), Indicator(2, frames=(VideoFrame(0, 90, b"x" * 32),)))),
    signal("T-3", audience=("alpha", "beta"), target_class=2, observed_at_ms=START_MS, guidance_clause="4.2"),
    signal("T-4", derived_from=(b"d" * 32,), backfill=True, source_action=3, lawful_basis=1),
]


async def left(hub: FakeHub, folder: Path, signals: list[Signal]) -> list[Outcome]:
    """A run that signs and gets no receipt."""
    client, transport = client_of(hub, folder)
    transport.stream_faults.extend([Denied("suspended")] * 2)
    async with client, client.publisher(UK) as session:
        outcomes = await session.publish(signals)
    assert [(outcome.kept, type(outcome.error)) for outcome in outcomes] == [(True, Denied)] * len(signals)
    return outcomes


async def told(session: Any) -> list[Outcome]:
    return [outcome async for outcomes in session.earlier() for outcome in outcomes]


async def test_each_signal_of_an_earlier_run_is_told_with_its_receipt(tmp_path: Path) -> None:
    hub = FakeHub()
    before = await left(hub, tmp_path, SIGNALS)
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        assert session.left == len(SIGNALS)
        after = await told(session)
        assert session.left == 0
        assert await told(session) == []
        assert await session.outbox.pending() == []
    assert sorted((o.signal.case_ref, o.signal_id) for o in after) == sorted(
        (o.signal.case_ref, o.signal_id) for o in before
    )
    assert sorted((o.signal for o in after), key=lambda s: s.case_ref) == SIGNALS
    assert all(o.receipt is not None and o.error is None and not o.kept for o in after)


async def test_what_is_refused_then_is_told_too_and_what_is_not_over_stays(tmp_path: Path) -> None:
    hub = FakeHub()
    await left(hub, tmp_path, SIGNALS[:2])
    client, transport = client_of(hub, tmp_path)
    transport.refusals.append(InvalidStatement((Violation("created_at_ms", "is too old"),), reason=Reason.CLOCK_SKEW))
    async with client, client.publisher(UK) as session:
        outcomes = await told(session)
        assert await session.outbox.kept() == []
    assert [(o.signal, o.receipt, o.kept) for o in outcomes] == [(s, None, False) for s in SIGNALS[:2]]
    assert isinstance(outcomes[0].error, Rejected)


async def test_whoever_stops_asking_is_told_again(tmp_path: Path) -> None:
    hub = FakeHub()
    await left(hub, tmp_path, SIGNALS[:1])
    client, transport = client_of(hub, tmp_path)
    transport.refusals.append(Unavailable("later", retry_after_ms=100))
    async with client, client.publisher(UK) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await told(session)
        assert session.left == 1
        (outcome,) = await told(session)
    assert outcome.receipt is not None


async def test_a_refusal_for_good_is_not_kept_and_a_key_that_is_not_in_force_is(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        transport.refusals.append(Rejected(Reason.INVALID, "wrong"))
        (refused,) = await session.publish([signal()])
        transport.refusals.extend([Rejected(Reason.WRONG_KEY, "revoked")] * 2)
        (kept,) = await session.publish([signal()])
        (bad,) = await session.publish([replace(signal(), expires_at_ms=1)])
        assert len(await session.outbox.pending()) == 1
    assert (refused.kept, kept.kept, bad.kept) == (False, True, False)


async def test_a_break_is_said_and_so_is_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client, transport = client_of(FakeHub(), tmp_path)
    transport.stream_faults.extend([Unavailable("the hub is away", retry_after_ms=0)] * 3)
    with caplog.at_level(logging.WARNING, "exchange_client"):
        async with client, client.publisher(UK) as session:
            await session.publish([signal()])
            await session.publish([signal()])
    assert [record.getMessage() for record in caplog.records] == [
        "publishing broke off: the hub is away",
        "publishing goes on: connected again",
    ]


async def test_a_wait_for_a_hub_that_puts_off_is_said_once_and_so_is_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(put_off, "SAY_EVERY_S", 3_600.0)
    client, transport = client_of(FakeHub(), tmp_path)
    closed = Unavailable("this log is not open on this hub", retry_after_ms=0, hint="ask its operator")
    with caplog.at_level(logging.WARNING, "exchange_client"):
        async with client, client.publisher(UK) as session:
            transport.refusals.extend([closed] * 4)
            await session.publish([signal("T-1"), signal("T-2", backfill=True)])
            # Soon after: what a quota puts off in a bulk is said once a minute at most.
            transport.refusals.append(closed)
            await session.publish([signal("T-3")])
            session._put_off._say_from_s = 0.0
            transport.refusals.extend([Unavailable("draining", retry_after_ms=0), Rejected(Reason.INVALID, "wrong")])
            await session.publish([signal("T-4")])
    over = "publishing goes on: nothing is put off any more"
    assert [record.getMessage() for record in caplog.records] == [
        "publishing waits: this log is not open on this hub; ask its operator",
        over,
        "publishing waits: draining",
        over,
    ]


async def test_the_end_of_a_wait_is_not_said_where_all_were_told_that_it_failed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are in the outbox still: no hub has taken them."""
    client, transport = client_of(FakeHub(), tmp_path)
    with caplog.at_level(logging.WARNING, "exchange_client"):
        async with client, client.publisher(UK) as session:
            transport.refusals.append(Unavailable("this log is not open on this hub", retry_after_ms=60_000))
            waiting = asyncio.create_task(session.publish([signal("T-1")]))
            while transport.refusals or not caplog.records:
                await asyncio.sleep(0.001)
            session._fail_all(Rejected(Reason.NOT_PERMITTED, "suspended"))
            (failed,) = await waiting
            (taken,) = await session.publish([signal("T-2")])
    assert (failed.receipt, taken.error) == (None, None)
    assert [record.getMessage() for record in caplog.records] == ["publishing waits: this log is not open on this hub"]


async def test_what_is_refused_is_in_the_outbox_until_it_was_told(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    transport.refusals.extend([Rejected(Reason.INVALID, "wrong"), Unavailable("later", retry_after_ms=60_000)])
    two = [signal("T-1"), signal("T-2", backfill=True)]
    async with client, client.publisher(UK) as session:
        waiting = asyncio.create_task(session.publish(two))
        while transport.refusals:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert len(await session.outbox.pending()) == 2
    client, transport = client_of(hub, tmp_path)
    transport.refusals.append(Rejected(Reason.INVALID, "wrong"))
    async with client, client.publisher(UK) as session:
        outcomes = await told(session)
        assert await session.outbox.pending() == []
    assert [(o.signal.case_ref, o.kept, o.receipt is None) for o in outcomes] == [
        ("T-1", False, True),
        ("T-2", False, False),
    ]


async def test_each_is_told_at_once_and_then_forgotten(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    transport.refusals.extend([Rejected(Reason.INVALID, "wrong"), Unavailable("later", retry_after_ms=60_000)])
    heard: list[tuple[int, ExchangeError | None]] = []
    two = [signal("T-1"), signal("T-2", backfill=True)]
    async with client, client.publisher(UK) as session:
        tell = lambda place, outcome: heard.append((place, outcome.error))  # noqa: E731
        waiting = asyncio.create_task(session.publish(two, tell=tell))
        while len(await session.outbox.pending()) != 1:
            await asyncio.sleep(0.001)
        assert [(place, type(error)) for place, error in heard] == [(0, Rejected)]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert len(await session.outbox.pending()) == 1


async def test_whoever_cannot_be_told_is_told_by_the_next_run(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    transport.refusals.append(Rejected(Reason.INVALID, "wrong"))

    def tell(place: int, outcome: Outcome) -> None:
        raise BrokenPipeError

    async with client, client.publisher(UK) as session:
        with pytest.raises(BrokenPipeError):
            await session.publish([signal("T-1")], tell=tell)
        assert len(await session.outbox.pending()) == 1

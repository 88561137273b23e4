"""What a subscription acknowledges: what its consumer is done with, with the lag of it, each counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.python.tests.fake_hub import START_MS, UK, FakeHub, client_of
from clients.python.tests.speech import delivery, received, sha, statement
from exchange import codec
from exchange.domain.bodies import Acknowledgement, LagCell, Opinion, Retraction
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.life import MAX_CELLS_BYTES, cell_bytes
from exchange.domain.statement import Header
from exchange.errors import Denied, InvalidStatement, OverQuota, Rejected, Unavailable, Violation
from exchange_client import Delivery, Signals, acknowledging, backoff, delivery_lag
from exchange_client.acknowledging import Clock, clock_of
from exchange_client.delivery_lag import DeliveryLag, Part
from exchange_client.state import StateFile
from exchange_client.wire import Probed

TIMEOUT_S = 20.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    monkeypatch.setattr(backoff, "LONGEST_S", 0.002)
    monkeypatch.setattr(acknowledging, "EVERY_S", 0.01)


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


def acknowledged(hub: FakeHub) -> list[Acknowledgement]:
    """What the community's ledger has of acknowledgements."""
    leaves = [codec.decode_leaf(entry.leaf) for entry in hub.uk.entries]
    found = [codec.decode_header(leaf.payload, strict=False).body for leaf in leaves]
    return [body for body in found if isinstance(body, Acknowledgement)]


async def until(right: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not right():
            await asyncio.sleep(0.005)


def took(lag_ms: int, index: int = 0, publisher: str = "alpha", **changes: Any) -> Delivery:
    """A delivery of a signal that was so long under way."""
    made = delivery(received(sha()), publisher=publisher, index=index, **changes)
    return replace(made, delivered_at_ms=START_MS + lag_ms)


def said(
    body: Retraction | Opinion | Acknowledgement, index: int, lag_ms: int = 0, publisher: str = "alpha"
) -> Delivery:
    header = Header(UK, codec.kind_of(body), publisher, START_MS, bytes(16), (), body)
    return Delivery(UK, index, b"", START_MS, False, header, "present", Signals(), START_MS + lag_ms, True)


async def test_lag_is_counted_by_publisher_label_election_and_sort(tmp_path: Path) -> None:
    lag = DeliveryLag(StateFile(tmp_path / "s.sqlite"), UK, "beta")
    entries = [
        took(0),
        took(3),
        took(3, label=Label.MISLEADING_SCAM),
        took(4, election=b"e" * 32),
        took(5, publisher="gamma"),
        said(Retraction((bytes(32),), 1), 0, lag_ms=9),
        # None of these are: its own, what came late, backfill, what was not for us, and what says no signal.
        took(5, publisher="beta"),
        replace(took(5), late=True),
        took(5, backfill=True),
        replace(took(5), signals=Signals(), state="not_for_you"),
        said(Opinion((bytes(32),), 1, 1), 0),
    ]
    for index, each in enumerate(entries):
        lag.note(replace(each, index=index))
    assert lag.due is not None
    harassment = Label.HARASSMENT_TARGETED
    assert lag.due.through == len(entries) - 1
    assert lag.due.cells == (
        LagCell("alpha", 0, b"", True, (0, 0, 0, 0, 1)),
        *sorted(
            [
                LagCell("alpha", harassment, b"", False, (1, 0, 1)),
                LagCell("alpha", harassment, b"e" * 32, False, (0, 0, 0, 1)),
                LagCell("alpha", Label.MISLEADING_SCAM, b"", False, (0, 0, 1)),
            ],
            key=lambda cell: (cell.label, cell.election),
        ),
        LagCell("gamma", harassment, b"", False, (0, 0, 0, 1)),
    )


async def test_what_was_counted_is_not_counted_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    first = DeliveryLag(StateFile(path), UK, "beta")
    await first.load()
    first.note(took(1, 0))
    first.note(took(1, 1))
    await first.store()
    first.note(took(1, 2))  # dies before this is on disk, and before the position is
    again = DeliveryLag(StateFile(path), UK, "beta")
    await again.load()
    for index in (0, 1, 2, 3):
        again.note(took(1, index))
    assert again.due is not None
    assert [cell.counts for cell in again.due.cells] == [(0, 4)]
    assert again.due.through == 3


async def test_a_damaged_row_is_refused(tmp_path: Path) -> None:
    for text in ("nonsense", "[[1]]", '[["x", true, []]]', '[[1, true, [["a", 1, "zz", true, []]]]]'):
        state = StateFile(tmp_path / "s.sqlite")
        await state.run(lambda c, text=text: c.execute("INSERT OR REPLACE INTO lag VALUES (?, 1, ?)", (UK, text)))  # type: ignore[misc]
        with pytest.raises(Rejected, match="damaged"):
            await DeliveryLag(state, UK, "beta").load()
        await state.aclose()


async def test_what_does_not_fit_into_one_acknowledgement_goes_into_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_lag, "MAX_CELLS", 2)
    lag = DeliveryLag(StateFile(tmp_path / "s.sqlite"), UK, "me")
    for index, publisher in enumerate(["alpha", "beta", "alpha", "gamma", "alpha", "beta"]):
        lag.note(took(1, index, publisher))
    found = []
    while lag.due is not None:
        part = lag.take()
        found.append((part.through, [cell.publisher for cell in part.cells]))
    assert found == [(2, ["alpha", "beta"]), (4, ["alpha", "gamma"]), (5, ["beta"])]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["alpha", "beta" * 15]), st.integers(0, 40)), max_size=60))
def test_a_part_knows_how_large_it_is(notes: list[tuple[str, int]]) -> None:
    part = Part(0)
    for publisher, bit in notes:
        assert part.note((publisher, 1, b"", False), 1 << bit >> 1)
    assert part._bytes == sum(map(cell_bytes, part.cells)) <= MAX_CELLS_BYTES
    assert Part.of_json(part.to_json()) == part
    again = Part.of(Acknowledgement(0, cells=part.cells))
    assert (again.cells, again._bytes) == (part.cells, part._bytes)
    again.add(part)
    assert [sum(cell.counts) for cell in again.cells] == [2 * sum(cell.counts) for cell in part.cells]


async def test_a_subscription_acknowledges_what_its_consumer_is_done_with(hub: FakeHub, tmp_path: Path) -> None:
    for _ in range(3):
        hub.commit(statement(hub))
    hub.now += 5
    client, transport = client_of(hub, tmp_path, "beta")
    transport.clock_ahead_ms = 7
    async with client, aclosing(client.subscribe(UK, acknowledges=True)) as deliveries:
        for _ in range(3):
            await anext(deliveries)
        await until(lambda: bool(acknowledged(hub)))
        first = acknowledged(hub)[-1]
        # The third is in hand, so it is not done with.
        assert first.processed_through == 1
        assert (first.clock_offset_ms, first.clock_error_ms) == (-7, 1)
        coming = asyncio.ensure_future(anext(deliveries))
        await until(lambda: acknowledged(hub)[-1].processed_through >= 2)
        assert (await coming).kind == Kind.ACKNOWLEDGEMENT
    assert sum(sum(cell.counts) for each in acknowledged(hub) for cell in each.cells) == 3
    assert {cell.counts for each in acknowledged(hub) for cell in each.cells} <= {(0, 0, 0, 1), (0, 0, 0, 2)}
    through = [each.processed_through for each in acknowledged(hub)]
    assert through == sorted(set(through))


async def test_acknowledgements_alone_are_not_acknowledged(hub: FakeHub, tmp_path: Path) -> None:
    hub.commit(statement(hub))
    client, transport = client_of(hub, tmp_path, "beta")
    async with client, aclosing(client.subscribe(UK, acknowledges=True)) as deliveries:
        await anext(deliveries)
        reading = asyncio.ensure_future(anext(deliveries))
        assert (await reading).kind == Kind.ACKNOWLEDGEMENT
        reading = asyncio.ensure_future(anext(deliveries))
        await asyncio.sleep(0.1)
        assert len(acknowledged(hub)) == 1
        hub.commit(statement(hub))
        assert (await reading).kind == Kind.SIGNAL
        following = asyncio.ensure_future(anext(deliveries))
        assert (await following).kind == Kind.ACKNOWLEDGEMENT
    assert [each.processed_through for each in acknowledged(hub)] == [0, 2]
    assert len([each for batch in transport.sent for each in batch]) == 2


async def test_over_quota_is_waited_out(hub: FakeHub, tmp_path: Path) -> None:
    hub.commit(statement(hub))
    client, transport = client_of(hub, tmp_path, "beta")
    transport.refusals.append(OverQuota("once a minute", retry_after_ms=1))
    async with client, aclosing(client.subscribe(UK, acknowledges=True)) as deliveries:
        await anext(deliveries)
        assert (await anext(deliveries)).kind == Kind.ACKNOWLEDGEMENT
    assert [each.processed_through for each in acknowledged(hub)] == [0]


async def test_where_another_of_ours_is_ahead_what_was_counted_is_said_later(hub: FakeHub, tmp_path: Path) -> None:
    hub.commit(statement(hub))
    client, transport = client_of(hub, tmp_path, "beta")
    behind = Violation("acknowledgement.processed_through", "must lie above the last one that you acknowledged")
    transport.refusals.append(InvalidStatement((behind,)))
    async with client, aclosing(client.subscribe(UK, acknowledges=True)) as deliveries:
        await anext(deliveries)
        reading = asyncio.ensure_future(anext(deliveries))
        await until(lambda: bool(transport.sent))
        hub.commit(statement(hub))
        await reading
        assert (await anext(deliveries)).kind == Kind.ACKNOWLEDGEMENT
    assert [(each.processed_through, sum(each.cells[0].counts)) for each in acknowledged(hub)] == [(1, 2)]


@pytest.mark.parametrize("error", [Denied("suspended"), Unavailable("away", retry_after_ms=0)])
async def test_what_is_signed_and_not_in_the_ledger_is_said_once_by_the_next_run(
    hub: FakeHub, tmp_path: Path, error: Denied | Unavailable
) -> None:
    hub.commit(statement(hub))
    client, transport = client_of(hub, tmp_path, "beta")
    transport.stream_faults.extend([error] * 100)
    transport.commits_before_failing = isinstance(error, Unavailable)
    async with client, aclosing(client.subscribe(UK, acknowledges=True)) as deliveries:
        await anext(deliveries)
        reading = asyncio.ensure_future(anext(deliveries))
        await until(lambda: len(transport.sent) > 3)
        reading.cancel()
        await asyncio.wait((reading,))
    assert len({s.payload for batch in transport.sent for s in batch}) == 1
    client, _ = client_of(hub, tmp_path, "beta")
    hub.commit(statement(hub))
    async with client, aclosing(client.subscribe(UK, acknowledges=True)) as deliveries:
        async with asyncio.timeout(TIMEOUT_S):
            async for each in deliveries:
                if each.kind == Kind.SIGNAL and each.index:
                    client.acknowledge(each)
                    break
        await until(lambda: len(acknowledged(hub)) == 2)
    assert sum(sum(cell.counts) for each in acknowledged(hub) for cell in each.cells) == 2


async def test_whoever_leaves_says_the_last_word(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit(statement(hub))
    client, _ = client_of(hub, tmp_path, "beta")
    monkeypatch.setattr(acknowledging, "EVERY_S", 3600.0)
    async with client, aclosing(client.subscribe(UK, acknowledges=True)) as deliveries:
        client.acknowledge(await anext(deliveries))
        assert acknowledged(hub) == []
    assert [each.processed_through for each in acknowledged(hub)] == [0]


async def test_a_client_that_is_closed_first_leaves_it_to_the_next_run(hub: FakeHub, tmp_path: Path) -> None:
    hub.commit(statement(hub))
    client, _ = client_of(hub, tmp_path, "beta")
    async with client:
        deliveries = client.subscribe(UK, acknowledges=True)
        await anext(deliveries)
    await deliveries.aclose()


async def test_one_pipelines_subscription_acknowledges(hub: FakeHub, tmp_path: Path) -> None:
    hub.commit(statement(hub))
    client, _ = client_of(hub, tmp_path, "beta")
    async with client, aclosing(client.subscribe(UK, acknowledges=True)) as first:
        await anext(first)
        with pytest.raises(Rejected, match="already"):
            await anext(client.subscribe(UK, acknowledges=True))
        await first.aclose()
        async with aclosing(client.subscribe(UK, cursor=0, acknowledges=True)) as second:
            await anext(second)
        object.__setattr__(client._config, "role", "liaison")
        with pytest.raises(Rejected, match="only a pipeline"):
            await anext(client.subscribe(UK, acknowledges=True))


async def test_the_narrowest_reading_of_the_hubs_clock_counts() -> None:
    # Asked, heard; the hub is 100 before us, and says so in the middle.
    times = iter([0, 80, 100, 110, 200, 190])  # set back in between: that is no reading
    hubs = iter([140, 205, 330])

    async def probe() -> Probed:
        return Probed(0, 0, next(hubs))

    assert await clock_of(probe, lambda: next(times)) == Clock(-100, 5)

    async def nobody() -> Probed:
        raise Unavailable("away", retry_after_ms=0)

    assert await clock_of(nobody, lambda: 0) == Clock()

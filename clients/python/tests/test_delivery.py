"""What a subscriber gets: signals that are taken apart when they are looked at, and a loop that others get too."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from clients.python.tests.speech import received, statement
from exchange.domain.identifiers import IndicatorType
from exchange_client import Indicator, Signals, breath


def test_signals_are_a_sequence_of_values_and_equal_to_the_same_ones() -> None:
    first, second, third = (received(Indicator(IndicatorType.IMAGE_SHA256, bytes([at]) * 32)) for at in range(3))
    ids = [each.signal_id for each in (first, second, third)]
    signals = Signals(ids, [first, second, third])
    assert list(signals) == [first, second, third]
    assert signals.ids == tuple(ids)
    assert (len(signals), signals[1], signals[-1], third in signals) == (3, second, third, True)
    assert signals[1:] == Signals(ids[1:], [second, third])
    assert signals == (first, second, third) != Signals()
    assert hash(signals) == hash((first, second, third))
    assert signals != [first, second, third]
    assert not Signals()
    assert repr(signals) == f"Signals({[first, second, third]!r})"
    with pytest.raises(IndexError):
        signals[3]


def test_there_are_as_many_ids_as_records() -> None:
    with pytest.raises(ValueError, match="2 ids of 1 records"):
        Signals([bytes(32)] * 2, [received()])


@pytest.mark.parametrize("processes", [0, 1])
async def test_while_a_large_message_is_worked_through_others_get_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """Else a process that checks signatures is not fed meanwhile, and nothing of the consumer's own runs."""
    monkeypatch.setattr(breath, "LONGEST_S", 0.0)
    hub, count, turns = FakeHub(), 50, 0
    for _ in range(count):
        hub.commit(statement(hub))
    client, transport = client_of(hub, tmp_path)
    transport.per_message = count

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with client, asyncio.timeout(60), contextlib.aclosing(client.subscribe(UK, processes=processes)) as stream:
        beside = asyncio.create_task(another())
        found = [await anext(stream)]  # by then the whole message is verified
        verifying, turns = turns, 0
        found += [await anext(stream) for _ in range(count - 1)]
        beside.cancel()
    assert verifying >= count
    assert turns >= count - 1
    assert len({delivery.delivered_at_ms for delivery in found}) == 1  # when it was here, not when it was wanted

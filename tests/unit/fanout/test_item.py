"""What a hub holds of its newest entries costs it no pauses: the garbage collector has nothing to look at in them."""

from __future__ import annotations

import gc

from exchange.domain.identifiers import IndicatorType
from exchange.fanout.item import item_of
from tests.unit.builders import ALPHA, signal_statement
from tests.unit.fanout.fakes import entry_of

COUNT = 200


def test_entries_and_items_are_not_of_the_collectors_concern() -> None:
    """Else tens of thousands of them are looked at in one young collection, which comes when as many more are there."""
    entries = [entry_of(signal_statement(ALPHA, seed=str(number)), number) for number in range(COUNT)]
    items = [item_of(entry) for entry in entries]
    assert not any(map(gc.is_tracked, (*entries, *items)))
    assert {item.indicator_types for item in items} == {(IndicatorType.PDQ,)}
    assert len({id(item.indicator_types) for item in items}) == 1

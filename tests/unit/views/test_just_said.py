"""What was just put into a log: found by its place, bounded, and never more than a help."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange import codec
from exchange.codec import SequencedHeader
from exchange.views.just_said import JustSaid
from tests.unit.builders import NOW_MS, pdq_record, signal_statement

WORDS = signal_statement(records=[pdq_record("1"), pdq_record("2")]).statement
HEADER = codec.decode_header(WORDS.payload, strict=True)


def said(index: int) -> SequencedHeader:
    return SequencedHeader(replace(HEADER, created_at_ms=index), NOW_MS, late=False, directory_size=1)


def group(first: int, size: int) -> list[SequencedHeader]:
    return [said(index) for index in range(first, first + size)]


def test_each_is_found_by_its_place() -> None:
    just = JustSaid()
    just.put(5, group(5, 3))
    just.put(8, group(8, 1))
    just.put(20, group(20, 2))
    assert [just.at(index) for index in range(4, 10)] == [None, *group(5, 4), None]
    assert [just.at(index) for index in (19, 21, 22)] == [None, said(21), None]


def test_what_was_passed_is_let_go_of() -> None:
    just = JustSaid()
    just.put(0, group(0, 2))
    assert just.at(7) is None
    assert just.at(1) is None
    just.put(3, group(3, 2))  # told after it was read
    just.put(8, group(8, 1))
    assert just.at(8) == said(8)


@pytest.mark.parametrize("most", [0, 5, 6, 9])
def test_it_holds_no_more_than_its_bound(most: int) -> None:
    just = JustSaid(most)
    for first in range(0, 40, 2):
        just.put(first, group(first, 2))  # each with two signals: six in all
    held = [index for index in range(40) if just.at(index) is not None]
    assert held == ([38, 39] if most >= 6 else [])

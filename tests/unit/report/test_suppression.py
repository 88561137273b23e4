"""No small number that is kept back can be worked out, by somebody who knows all that is published, and the rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.report.suppression import SMALLEST_LEAST, TOGETHER, is_few, parts_of

#: Of each number of parts, the largest total of which every division is tried.
TOTALS = {1: 12, 2: 16, 3: 16, 4: 17, 5: 12}
LEASTS = (3, 4, 5)


def published(numbers: Mapping[str, int], least: int) -> tuple[Any, ...]:
    """Return everything that a reader is told."""
    total = sum(numbers.values())
    return ("few" if is_few(total, least) else total, parts_of(numbers, least))


def divisions(parts: int) -> Iterator[dict[str, int]]:
    for values in product(range(TOTALS[parts] + 1), repeat=parts):
        if sum(values) <= TOTALS[parts]:
            yield {f"part-{place}": value for place, value in enumerate(values)}


@pytest.mark.parametrize("least", LEASTS)
@pytest.mark.parametrize("parts", TOTALS)
def test_of_every_publication_there_are_several_things_that_it_may_mean(parts: int, least: int) -> None:
    meanings: dict[tuple[Any, ...], list[dict[str, int]]] = {}
    for numbers in divisions(parts):
        meanings.setdefault(published(numbers, least), []).append(numbers)
    told = []
    for (_, shown), possible in meanings.items():
        for name in possible[0]:
            hidden = shown is None or dict(shown.shown)[name] is None
            values = {numbers[name] for numbers in possible}
            if hidden and len(values) == 1 and is_few(next(iter(values)), least):
                told.append((possible[0], name))
    assert told == []


numbers_of_parts = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 60), max_size=12)


@given(numbers=numbers_of_parts, least=st.integers(SMALLEST_LEAST, 12))
def test_no_small_number_is_shown_and_what_is_shown_is_so(numbers: dict[str, int], least: int) -> None:
    found = parts_of(numbers, least)
    if found is None:
        assert any(is_few(number, least) for number in numbers.values())
        return
    assert [name for name, _ in found.shown] == list(numbers)
    kept = [name for name, number in found.shown if number is None]
    assert all(number in (None, numbers[name]) for name, number in found.shown)
    assert {name for name, number in numbers.items() if is_few(number, least)} <= set(kept)
    assert found.together == sum(numbers[name] for name in kept)
    if found.all_few:
        assert all(is_few(numbers[name], least) for name in kept)


@given(numbers=numbers_of_parts, least=st.integers(SMALLEST_LEAST, 12), order=st.randoms(use_true_random=False))
def test_what_is_kept_back_may_be_exchanged_and_nothing_that_is_told_changes(
    numbers: dict[str, int], least: int, order: Any
) -> None:
    """The independent reason: exchanging the hidden numbers among their places makes the very same publication."""
    found = parts_of(numbers, least)
    if found is None:
        return
    kept = [name for name, number in found.shown if number is None]
    others = [numbers[name] for name in kept]
    order.shuffle(others)
    assert parts_of({**numbers, **dict(zip(kept, others, strict=True))}, least) == found
    if kept and len(numbers) >= TOGETHER:
        assert len(kept) >= min(TOGETHER, sum(number > 0 for number in numbers.values()))


def test_a_total_that_is_small_is_not_divided() -> None:
    assert parts_of({"a": 2, "b": 2}, 5) is None
    nothing = parts_of({"a": 0, "b": 0}, 5)
    assert nothing is not None
    assert nothing.shown == (("a", 0), ("b", 0))


def test_one_small_part_takes_others_with_it() -> None:
    found = parts_of({"a": 100, "b": 3, "c": 20, "d": 50, "e": 90}, 5)
    assert found is not None
    assert found.shown == (("a", 100), ("b", None), ("c", None), ("d", None), ("e", 90))
    assert (found.together, found.all_few) == (73, False)


def test_many_small_parts_are_said_to_be_small() -> None:
    found = parts_of({"a": 100, "b": 3, "c": 2, "d": 4}, 5)
    assert found is not None
    assert (found.together, found.all_few) == (9, True)

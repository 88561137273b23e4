"""Buckets of lag: they add up, and a quantile bounds what was measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.lag import BUCKETS, Histogram, added, bucket_of, upper_bound_ms

LAGS = st.lists(st.integers(-5_000, 1 << 40), min_size=1, max_size=200)


def counted(lags: list[int]) -> Histogram:
    histogram = Histogram.empty()
    for lag in lags:
        histogram.note(lag)
    return histogram


def test_the_first_buckets() -> None:
    assert [bucket_of(lag) for lag in (-1, 0, 1, 2, 3, 4, 1_000)] == [0, 0, 1, 2, 2, 3, 10]
    assert bucket_of(1 << 60) == BUCKETS - 1
    assert upper_bound_ms(10) == 1_024


@given(LAGS, LAGS)
def test_counts_of_two_are_those_of_both(ours: list[int], theirs: list[int]) -> None:
    assert added([counted(ours).trimmed, counted(theirs).trimmed]).counts == counted(ours + theirs).counts


@given(st.lists(st.integers(0, (1 << 30) - 1), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_above_what_was_measured_and_at_most_twice_it(lags: list[int], share: float) -> None:
    bound = counted(lags).quantile_ms(share)
    exact = sorted(lags)[max(1, -int(-share * len(lags) // 1)) - 1]
    assert bound is not None
    assert exact < bound <= max(1, 2 * exact)


def test_nothing_has_no_quantile() -> None:
    assert Histogram.empty().quantile_ms(0.5) is None
    assert Histogram.empty().trimmed == ()

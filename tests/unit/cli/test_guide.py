"""How long a platform took, as the guide tells it: only where there is enough to tell."""

from __future__ import annotations

from exchange.cli.guide import LEAST_COUNT, _measured
from exchange.guide.whole import Measured


def test_a_measured_time_is_an_upper_bound_of_enough_cases() -> None:
    assert _measured([]) is None
    assert _measured([(0, 0, 0, LEAST_COUNT - 1)]) is None
    assert _measured([(0, 0, 0, LEAST_COUNT - 2), (0, 0, 0, 0, 0, 2)]) == Measured(LEAST_COUNT, 8, 32)

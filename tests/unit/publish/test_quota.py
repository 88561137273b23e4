"""Budgets: a minute's worth at once, refilled evenly, each member its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.bodies import Quota
from exchange.errors import OverQuota, Reason, Rejected
from exchange.publish.quota import Limits, Quotas
from tests.unit.builders import make_directory, tell
from tests.unit.publish.fakes import FakeClock

DIRECTORY = make_directory()
LIMITS = Limits(records_per_minute=600, statements_per_minute=60, streams=2)


def quotas(clock: FakeClock, limits: Limits = LIMITS) -> Quotas:
    return Quotas(limits, lambda: clock.monotonic)


def refused(budget: Quotas, member: str, *, records: int = 0) -> int:
    """Return after how long to come again."""
    with pytest.raises(OverQuota) as caught:
        budget.take(DIRECTORY, member, records=records)
    assert caught.value.reason is Reason.OVER_QUOTA
    return caught.value.retry_after_ms


def test_a_minutes_worth_at_once_and_then_one_a_second() -> None:
    clock = FakeClock()
    budget = quotas(clock)
    for _ in range(60):
        budget.take(DIRECTORY, "alpha", records=0)
    assert refused(budget, "alpha") == 1_000
    clock.pass_ms(999)
    assert refused(budget, "alpha") == 1
    clock.pass_ms(1)
    budget.take(DIRECTORY, "alpha", records=0)
    refused(budget, "alpha")


def test_silence_saves_up_no_more_than_a_minute() -> None:
    clock = FakeClock()
    budget = quotas(clock)
    budget.take(DIRECTORY, "alpha", records=600)
    clock.pass_ms(86_400_000)
    budget.take(DIRECTORY, "alpha", records=600)
    assert refused(budget, "alpha", records=60) == 6_000


def test_one_member_does_not_use_up_anothers() -> None:
    budget = quotas(FakeClock())
    budget.take(DIRECTORY, "alpha", records=600)
    refused(budget, "alpha", records=1)
    budget.take(DIRECTORY, "beta", records=600)


def test_the_directory_gives_a_member_its_own() -> None:
    directory = tell(make_directory(), Quota("alpha", 5, 0, 1))
    budget = quotas(FakeClock())
    assert budget.limits(directory, "alpha") == Limits(5, 60, 1)
    assert budget.limits(directory, "beta") == LIMITS == budget.limits(directory, "stranger")
    with pytest.raises(OverQuota):
        for _ in range(2):
            budget.take(directory, "alpha", records=3)


def test_a_lowered_limit_holds_at_once() -> None:
    clock = FakeClock()
    budget = quotas(clock)
    budget.take(DIRECTORY, "alpha", records=0)
    lowered = tell(make_directory(), Quota("alpha", 5, 0, 0))
    budget.take(lowered, "alpha", records=5)
    with pytest.raises(OverQuota):
        budget.take(lowered, "alpha", records=1)


def test_what_is_refused_costs_nothing() -> None:
    budget = quotas(FakeClock(), Limits(records_per_minute=10, statements_per_minute=2))
    budget.take(DIRECTORY, "alpha", records=10)
    refused(budget, "alpha", records=10)
    budget.take(DIRECTORY, "alpha", records=0)


def test_what_can_never_fit_is_not_put_off() -> None:
    budget = quotas(FakeClock(), Limits(records_per_minute=600, statements_per_minute=1))
    with pytest.raises(Rejected) as caught:
        budget.take(DIRECTORY, "alpha", records=601)
    assert caught.value.reason is Reason.TOO_LARGE
    budget.take(DIRECTORY, "alpha", records=600)


@given(per_minute=st.integers(1, 100_000), share=st.floats(0.01, 1))
def test_who_waits_as_told_is_served(per_minute: int, share: float) -> None:
    clock = FakeClock()
    budget = quotas(clock, Limits(records_per_minute=per_minute, statements_per_minute=1_000))
    budget.take(DIRECTORY, "alpha", records=per_minute)
    wanted = max(1, int(per_minute * share))
    clock.pass_ms(refused(budget, "alpha", records=wanted))
    budget.take(DIRECTORY, "alpha", records=wanted)


def test_streams_and_calls_are_counted_apart() -> None:
    budget = quotas(FakeClock(), replace(LIMITS, calls=1))
    for what, most in ((True, 2), (False, 1)):
        held = [budget.hold(DIRECTORY, "alpha", stream=what) for _ in range(most)]
        with pytest.raises(OverQuota):
            budget.hold(DIRECTORY, "alpha", stream=what)
        assert budget.live("alpha", stream=what) == budget.held == most
        held.append(budget.hold(DIRECTORY, "beta", stream=what))
        held.append(budget.hold(DIRECTORY, "alpha", stream=not what))
        assert budget.held == most + 2
        for give_back in held:
            give_back()
        assert budget.live("alpha", stream=what) == budget.held == 0
    assert not budget._open


def test_what_is_given_back_can_be_had_again() -> None:
    budget = quotas(FakeClock(), replace(LIMITS, calls=1))
    for _ in range(3):
        give_back = budget.hold(DIRECTORY, "alpha", stream=False)
        with pytest.raises(OverQuota):
            budget.hold(DIRECTORY, "alpha", stream=False)
        give_back()


def test_opening_and_cancelling_is_charged() -> None:
    clock = FakeClock()
    budget = quotas(clock, replace(LIMITS, calls_per_minute=60))
    for _ in range(60):
        budget.hold(DIRECTORY, "alpha", stream=False)()
    with pytest.raises(OverQuota) as caught:
        budget.hold(DIRECTORY, "alpha", stream=True)
    assert caught.value.retry_after_ms == 1_000
    assert budget.live("alpha", stream=True) == budget.held == 0
    clock.pass_ms(1_000)
    budget.hold(DIRECTORY, "alpha", stream=True)

"""The watched clock: believed while it goes evenly, and never again after a jump."""

from __future__ import annotations

import pytest

from exchange.errors import Fatal, Reason, Unavailable
from exchange.publish.clock import JUMP_MS, LONG_PAUSE_MS
from tests.unit.builders import NOW_MS
from tests.unit.publish.fakes import FakeClock


def test_time_passes() -> None:
    clock = FakeClock()
    watched = clock.watched()
    assert watched.now_ms() == NOW_MS
    clock.pass_ms(86_400_000)
    assert watched.now_ms() == NOW_MS + 86_400_000


@pytest.mark.parametrize("by_ms", [JUMP_MS + 1, -JUMP_MS - 1, 3_600_000])
def test_a_jump_latches_even_when_it_is_undone(by_ms: int) -> None:
    clock = FakeClock()
    watched = clock.watched()
    clock.wall += by_ms
    with pytest.raises(Unavailable) as caught:
        watched.now_ms()
    assert caught.value.retry_after_ms >= 10_000
    clock.wall -= by_ms
    for _ in range(2):
        with pytest.raises(Unavailable):
            watched.now_ms()
        with pytest.raises(Unavailable):
            watched.receive_ms(0)
    assert clock.watched().now_ms() == NOW_MS, "a hub that is started again has looked"


def test_a_suspended_machine_is_a_jump() -> None:
    """The monotonic clock of Linux stands still while the machine sleeps."""
    clock = FakeClock()
    watched = clock.watched()
    clock.wall += 60_000
    with pytest.raises(Unavailable):
        watched.now_ms()


@pytest.mark.parametrize("by_ms", [JUMP_MS, -JUMP_MS])
def test_small_steps_are_taken(by_ms: int) -> None:
    clock = FakeClock()
    watched = clock.watched()
    for step in range(1, 4):
        clock.wall += by_ms
        assert watched.now_ms() == NOW_MS + step * by_ms


def test_received_at_never_falls() -> None:
    clock = FakeClock()
    watched = clock.watched()
    assert watched.receive_ms(0) == NOW_MS
    assert watched.receive_ms(NOW_MS + JUMP_MS) == NOW_MS + JUMP_MS
    with pytest.raises(Unavailable, match="behind the newest entry"):
        watched.receive_ms(NOW_MS + JUMP_MS + 1)
    clock.pass_ms(1)
    assert watched.receive_ms(NOW_MS + JUMP_MS + 1) == NOW_MS + JUMP_MS + 1, "it does not latch: time will pass"


@pytest.mark.parametrize("ahead_ms", [-JUMP_MS, 0, LONG_PAUSE_MS])
def test_a_start_soon_after_the_last_entry(ahead_ms: int) -> None:
    FakeClock().watched().check_start(NOW_MS - ahead_ms, accept=False)


@pytest.mark.parametrize("ahead_ms", [-JUMP_MS - 1, LONG_PAUSE_MS + 1])
def test_a_start_at_another_time_must_be_accepted(ahead_ms: int) -> None:
    watched = FakeClock().watched()
    with pytest.raises(Fatal) as caught:
        watched.check_start(NOW_MS - ahead_ms, accept=False)
    assert caught.value.reason is Reason.CONFIG
    assert caught.value.hint
    watched.check_start(NOW_MS - ahead_ms, accept=True)


def test_the_first_start_of_a_log() -> None:
    FakeClock().watched().check_start(0, accept=False)

"""The clocks that everything else is given: whoever needs the time takes one of these as a parameter."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return milliseconds of a clock that never jumps."""
    return time.monotonic_ns() // 1_000_000


def worked_s() -> float:
    """Return the seconds of processor time that this thread has had: how busy it is, not how busy the machine is."""
    return time.thread_time()

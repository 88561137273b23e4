"""What subscribers saw: how many entries had come at which moment, and what that says of latency."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from tests.bench.histogram import Histogram
from tests.bench.processes import Turn

#: Latencies are told for windows of so many seconds, to show whether they grow.
WINDOW_S = 10


class Arrivals:
    """One stream's arrivals: after message ``i``, ``counts[i]`` entries had come, at ``times[i]``."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.counts: list[int] = []
        self.times: list[int] = []
        self.total = 0

    def add(self, entries: int) -> bool:
        """Note a message; return whether all has come. Raises AssertionError when more comes than was sent."""
        self.total += entries
        self.counts.append(self.total)
        self.times.append(time.monotonic_ns())
        assert self.total <= self.expected, f"{self.total} entries where {self.expected} were sent"
        return self.total == self.expected

    def latencies(self, started_ns: int, period_ns: float) -> list[Histogram]:
        """Return latencies by window, each entry counted from when it was *due*: no coordinated omission."""
        counts = np.diff(np.array([0, *self.counts]))
        arrived = np.repeat(np.array(self.times, dtype=np.float64), counts)
        due = started_ns + np.arange(self.total) * period_ns
        window = ((due - started_ns) / 1e9 / WINDOW_S).astype(np.int64)
        latency = arrived - due
        return [Histogram.of(latency[window == number]) for number in range(int(window[-1]) + 1)]


async def findings(turn: Turn, streams: list[Arrivals], *, latency: bool) -> dict[str, Any]:
    """Return what all streams of a worker saw. For latencies, the start of the load is told with the next "go"."""
    found: dict[str, Any] = {
        "first_ns": min(stream.times[0] for stream in streams),
        "last_ns": max(stream.times[-1] for stream in streams),
        "messages": sum(len(stream.times) for stream in streams),
        "entries": sum(stream.total for stream in streams),
    }
    if latency:
        start = await turn.go()
        by_stream = [stream.latencies(start["started_ns"], start["period_ns"]) for stream in streams]
        windows = [Histogram.merged(parts) for parts in zip(*by_stream, strict=True)]
        found["windows"] = [window.to_json() for window in windows]
    return found


async def open_loop(total: int, rate: float, tick_s: float, send: Any) -> int:
    """Call ``send(first, last)`` for what is due, each tick, whatever became of the last call; return the start."""
    started = time.monotonic_ns()
    sent = 0
    while sent < total:
        await asyncio.sleep(tick_s)
        due = min(total, int((time.monotonic_ns() - started) * rate / 1e9) + 1)
        if due > sent:
            await send(sent, due)
            sent = due
    return started

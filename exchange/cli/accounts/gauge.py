"""How far a long job has come: a bar where somebody watches, a line now and then where nobody does."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

from exchange.cli.output import say, say_progress
from exchange_client import Progress

#: Between two signs of life.
_ON_TERMINAL_S = 0.2
_ON_PIPE_S = 10.0
#: What the rate is taken over.
_WINDOW_S = 20.0
_WIDTH = 24


class Gauge:
    """Shows progress on standard error."""

    def __init__(self, whole: Callable[[], float | None], clock_s: Callable[[], float]) -> None:
        """``whole`` returns how many there will have been in the end, as far as can be told."""
        self._whole = whole
        self._clock = clock_s
        self._every_s = _ON_TERMINAL_S if sys.stderr.isatty() else _ON_PIPE_S
        self._shown_s = clock_s()
        self._seen: deque[tuple[float, int]] = deque([(self._shown_s, 0)])
        self._longest = 0

    def show(self, progress: Progress) -> None:
        """Take note, and show it when it is time."""
        now = self._clock()
        self._seen.append((now, progress.read))
        while now - self._seen[0][0] > _WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        if now - self._shown_s < self._every_s:
            return
        self._shown_s = now
        text = self.text(progress)
        if sys.stderr.isatty():
            self._longest = max(self._longest, len(text))
            say_progress(text.ljust(self._longest))
        else:
            say(text, err=True)

    def text(self, progress: Progress) -> str:
        """Return how far it has come, in one line."""
        (begun, first), (last, read) = self._seen[0], self._seen[-1]
        rate = (read - first) / (last - begun) if last > begun else 0.0
        parts = [f"{progress.read:,} read", f"{progress.evaluated:,} evaluated", f"{rate:,.0f}/s"]
        if progress.left:
            parts.append(f"{progress.left:,} left")
        whole = self._whole()
        if whole is None:
            return ", ".join(parts)
        done = min(1.0, progress.read / max(whole, 1.0))
        if rate:
            parts.append(_duration((1 - done) * whole / rate))
        filled = int(done * _WIDTH)
        return f"[{'#' * filled}{'-' * (_WIDTH - filled)}] {done:4.0%}  {', '.join(parts)}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s to go"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min to go"
    return f"{seconds / 3_600:.1f} h to go"

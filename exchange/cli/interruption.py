"""SIGINT and SIGTERM as a wish that work under way may still answer: the first asks it to end, the second ends it.

Work can be stuck where no wish reaches it: whoever reads what it prints has stopped reading. It is ended then as any
other process is. Whatever must outlive that is on disk.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

#: So long a wish may go unheard: then whoever should hear it is stuck.
DEAF_S: Final = 10.0
#: A second wish ends what is stuck sooner, but two may come together.
_TOGETHER_S: Final = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """We were asked to end, and the work was not done in time."""


class Interruption:
    """Listens within its context, in the main thread."""

    def __init__(self, asked: Callable[[], None], *, deaf_s: float = DEAF_S) -> None:
        """``asked`` is called at the first signal."""
        self._said = asked
        self._deaf_s = deaf_s
        self._asked = asyncio.Event()
        self._again = asyncio.Event()
        self._before: dict[signal.Signals, Any] = {}
        #: When the loop was told of what it has not heard yet; None where it has heard all.
        self._unheard_since_s: float | None = None
        self._loop: asyncio.AbstractEventLoop
        #: The first signal that came; 0 for none.
        self.number = 0

    def __enter__(self) -> Self:
        """Listen from now on, to what the process was not started to ignore."""
        self._loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                # Not by the loop's own handlers: they are called by the loop, which may be what is stuck.
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave signals to whoever had them before."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def _came(self, number: int, _frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self._unheard_since_s is not None and now_s - self._unheard_since_s > _TOGETHER_S:
            _die(number)
        if signal.SIGALRM not in self._before:
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda *_: self._look(number))
            signal.setitimer(signal.ITIMER_REAL, self._deaf_s, self._deaf_s)
        self._tell(number)

    def _look(self, number: int) -> None:
        """End the process where the loop has not heard what it was told; else ask whether it still hears."""
        if self._unheard_since_s is not None:
            _die(number)
        self._tell(0)

    def _tell(self, number: int) -> None:
        if self._unheard_since_s is None:
            self._unheard_since_s = time.monotonic()
        self._loop.call_soon_threadsafe(self._hear, number)

    def _hear(self, number: int) -> None:
        self._unheard_since_s = None
        if not number:
            return
        if self.number:
            self._again.set()
            return
        self.number = number
        self._asked.set()
        self._said()

    async def unless(self, work: Coroutine[Any, Any, T], *, grace_s: float = 0.0) -> T:
        """Return what the work returns.

        Raises `Interrupted` when we are asked to end: after the grace, or at once when asked again. The work is
        cancelled then, and has ended when this returns.
        """
        task = asyncio.create_task(work)
        try:
            await _first(task, self._asked, None)
            if not task.done() and grace_s:
                await _first(task, self._again, grace_s)
            if not task.done():
                raise Interrupted
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _die(number: int) -> None:
    """End as a process does that does not listen."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


async def _first(task: asyncio.Task[Any], event: asyncio.Event, within_s: float | None) -> None:
    """Return when the task has ended, the event has come, or the time is over."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()

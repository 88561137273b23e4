"""SIGINT and SIGTERM as a wish that work under way may still answer: the first asks it to end, the second ends it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """We were asked to end, and the work was not done in time."""


class Interruption:
    """Listens within its context."""

    def __init__(self, asked: Callable[[], None]) -> None:
        """``asked`` is called at the first signal."""
        self._said = asked
        self._asked = asyncio.Event()
        self._again = asyncio.Event()
        self._listening: list[signal.Signals] = []
        #: The first signal that came; 0 for none.
        self.number = 0

    def __enter__(self) -> Self:
        """Listen from now on, to what the process was not started to ignore."""
        self._listening = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in self._listening:
            asyncio.get_running_loop().add_signal_handler(number, self._came, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave signals to whoever had them before."""
        for number in self._listening:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _came(self, number: int) -> None:
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


async def _first(task: asyncio.Task[Any], event: asyncio.Event, within_s: float | None) -> None:
    """Return when the task has ended, the event has come, or the time is over."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()

"""Processes that work beside the event loop, and neither end before whoever started them nor outlive it.

A pool's processes wait for work on a pipe that they hold open themselves: when their parent is killed they would wait
for ever, and with them whoever reads what they print to. A pool that lost one of them in the middle of its work is
good for nothing any more, and is replaced.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """So many processes, started when they are needed."""

    def __init__(self, processes: int, prepare: Callable[..., object] | None = None, *given: object) -> None:
        """Each process calls ``prepare`` with what is given, before its first work."""
        self._processes = processes
        self._prepare = prepare
        self._given = given
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._processes,
            mp_context=get_context("spawn"),
            initializer=_begin,
            initargs=(self._prepare, self._given),
        )

    async def run(self, work: Callable[..., T], *given: object) -> T:
        """Have a process do this. Raises as ``work``, and `BrokenProcessPool` when the process ended in the middle.

        The next call has another process.
        """
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work, *given)
        except BrokenProcessPool:
            if pool is self._pool:
                self._pool = self._started()
            raise

    def close(self, *, wait: bool = True) -> None:
        """End the processes. Who does not wait lets them answer what they were given; who waits does not want it."""
        self._pool.shutdown(wait=wait, cancel_futures=wait)


def _begin(prepare: Callable[..., object] | None, given: tuple[object, ...]) -> None:
    """Leave Ctrl-C to the parent, which may still want answers, and end when it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare(*given)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)

"""One thread that owns one blocking resource, and hands results back to the event loop.

SQLite connections and fsyncs block; a blocking call on the event loop would stop every stream. Each resource gets a
thread of its own, so its calls are serial by construction and need no lock. (A pool was measured to be slower.)
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from exchange.errors import Unavailable

T = TypeVar("T")


class Worker:
    """Runs jobs in order on its own thread.

    ``then`` runs on the loop before the caller resumes, even if the caller has been cancelled meanwhile: what a
    finished job did is never forgotten.
    """

    def __init__(self, name: str) -> None:
        """Start the thread. Must be called on the event loop that will await its results."""
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether the thread has been told to end."""
        return self._closed

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    async def call(self, job: Callable[[], T], *, then: Callable[[T], None] | None = None) -> T:
        """Run ``job`` on the thread and return its result, or raise what it raised.

        Raises `Unavailable` once the thread has been told to end: a job queued behind that would never be answered.
        """
        if self._closed:
            raise Unavailable("the store is closed")
        return await self._submit(job, then)

    def _submit(self, job: Callable[[], T], then: Callable[[T], None] | None = None) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()

        def finish(result: Any, error: BaseException | None) -> None:  # noqa: ANN401 - carries any job's result
            if error is None and then is not None:
                then(result)
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def run() -> None:
            try:
                result: Any = job()
                error: BaseException | None = None
            except BaseException as caught:  # noqa: BLE001 - handed to the awaiting caller whole
                result, error = None, caught
            self._loop.call_soon_threadsafe(finish, result, error)

        self._jobs.put(run)
        return future

    async def aclose(self) -> None:
        """Finish the jobs that are queued, then end the thread. Idempotent."""
        if self._closed:
            return
        self._closed = True
        last = self._submit(lambda: None)
        self._jobs.put(None)
        await last
        self._thread.join()

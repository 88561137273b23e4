"""Worker processes, driven by lines of JSON: the load generators run apart from what they measure.

A worker runs *operations*: coroutines named ``module:function`` under `tests.bench`. An operation says when it is
ready, waits for "go", and returns its findings. Times are nanoseconds of the system's monotonic clock, which all
processes of a machine share.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_LINE_LIMIT = 64 * 1024 * 1024
READY_S = 120.0


class OperationFailed(Exception):
    """A worker's operation raised."""


class Running:
    """An operation under way in a worker."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Any] = loop.create_future()
        self._done: asyncio.Future[Any] = loop.create_future()

    async def ready(self) -> Any:
        """Wait until the operation is set up; return what it says of itself."""
        await asyncio.wait((self._ready, self._done), timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        if self._done.done():
            self._done.result()
        if not self._ready.done():
            raise OperationFailed(f"operation {self._number} was not ready in {READY_S:.0f} s")
        return self._ready.result()

    def go(self, **more: Any) -> None:
        """Let it start."""
        self._worker.send({"number": self._number, "go": more})

    async def done(self, timeout_s: float) -> Any:
        """Return its findings. Raises `OperationFailed`, and TimeoutError."""
        return await asyncio.wait_for(asyncio.shield(self._done), timeout_s)

    def take(self, reply: dict[str, Any]) -> None:
        """Note what the worker says of it."""
        if "ready" in reply and not self._ready.done():
            self._ready.set_result(reply["ready"])
        elif "done" in reply:
            self._done.set_result(reply["done"])
        elif "error" in reply and not self._done.done():
            self._done.set_exception(OperationFailed(reply["error"]))
            self._done.exception()


class Worker:
    """A child process that runs operations."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._running: dict[int, Running] = {}
        self._next = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> Worker:
        """Start a process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.processes",
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
        )
        return cls(process)

    def run(self, operation: str, **arguments: Any) -> Running:
        """Start an operation."""
        self._next += 1
        running = self._running[self._next] = Running(self, self._next)
        self.send({"number": self._next, "operation": operation, "arguments": arguments})
        return running

    def send(self, line: dict[str, Any]) -> None:
        """Write a line to the process."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line).encode() + b"\n")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            reply = json.loads(line)
            self._running[reply["number"]].take(reply)
        for running in self._running.values():
            running.take({"error": "the worker has ended"})

    async def aclose(self) -> None:
        """End the process."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self._reader.cancel()


class Turn:
    """What an operation uses to talk to whoever started it."""

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        self._say = say
        self._go: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def ready(self, **about: Any) -> None:
        """Say that everything is set up."""
        self._say({"ready": about})

    def start(self, more: dict[str, Any]) -> None:
        """Let the operation go on."""
        if not self._go.done():
            self._go.set_result(more)

    async def go(self) -> dict[str, Any]:
        """Wait to be let go."""
        return await self._go


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    turns: dict[int, Turn] = {}
    tasks: set[asyncio.Task[None]] = set()

    def speaker(number: int) -> Callable[[dict[str, Any]], None]:
        return lambda words: print(json.dumps({"number": number, **words}), flush=True)

    while line := await reader.readline():
        request = json.loads(line)
        number = request["number"]
        if "go" in request:
            turns[number].start(request["go"])
            continue
        module, _, name = request["operation"].partition(":")
        function = getattr(importlib.import_module(f"tests.bench.{module}"), name)
        turn = turns[number] = Turn(speaker(number))
        task = loop.create_task(_run(function(turn, **request["arguments"]), speaker(number)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _run(operation: Awaitable[Any], say: Callable[[dict[str, Any]], None]) -> None:
    try:
        say({"done": await operation})
    except Exception:  # noqa: BLE001 - told to whoever started it
        say({"error": traceback.format_exc()})


if __name__ == "__main__":
    asyncio.run(_serve())

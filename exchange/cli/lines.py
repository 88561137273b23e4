"""Lines from a file, pipe or terminal, as they come.

Without a thread: one that is waiting in a read cannot be ended, and would keep the process from ending.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import IO, Any

import click

from exchange.errors import Reason, Rejected

BULK = 5_000
#: A bulk ends behind so many bytes: memory must not grow with the length of lines either.
BULK_BYTES = 16 * 1024 * 1024
#: How much of a line is kept. One that is longer is handed on cut, one byte above it: memory must not grow with a line.
MAX_LINE_BYTES = 1024 * 1024
_LINGER_S = 0.02
_READ_BYTES = 64 * 1024


class Source(click.File):
    """A file to read, or - for standard input, which may have been closed."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> IO[Any]:  # noqa: ANN401
        """Open it, or end with what is wrong."""
        try:
            return super().convert(value, param, ctx)
        except RuntimeError:
            self.fail("standard input is closed", param, ctx)


def check_length(line: bytes) -> None:
    """Return if a line was handed on whole. Raises `Rejected` (TOO_LARGE)."""
    if len(line) > MAX_LINE_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"a line may have {MAX_LINE_BYTES:,} bytes")


class Lines:
    """The lines of one source. Bytes, because one line that is no text must not end them all."""

    def __init__(self, descriptor: int) -> None:
        """Read from this file descriptor, to its end or until `stop`."""
        self.descriptor = descriptor
        #: Bytes read from the source.
        self.taken = 0
        self._before = 0
        self._rest = bytearray()
        self._over = False
        self._failed: OSError | None = None
        self._wake: Callable[[], object] = lambda: None

    def stop(self) -> None:
        """Read no further: the bulk that is being gathered is the last."""
        self._over = True
        self._wake()

    @property
    def unfinished(self) -> bool:
        """Whether a line has begun whose end was not read."""
        return bool(self._rest)

    async def bulks(self) -> AsyncIterator[list[tuple[int, bytes]]]:
        """Yield lines in bulks: what has come within a moment, so that a live pipe never waits for a full one.

        Each with its place in the source, counted from 1 as editors do; empty ones are left out. Raises `Rejected`
        (CONFIG) when reading fails, behind what was read before.
        """
        while not self._over:
            lines = await self._bulk()
            placed = [(place, line) for place, line in enumerate(lines, self._before + 1) if line.strip()]
            self._before += len(lines)
            if placed:
                yield placed
        if self._failed is not None:
            raise Rejected(Reason.CONFIG, f"the source cannot be read on: {self._failed.strerror}") from self._failed

    async def _bulk(self) -> list[bytes]:
        bulk: list[bytes] = []
        until: float | None = None
        full = self.taken + BULK_BYTES
        while len(bulk) < BULK and self.taken < full and await self._ready(until) and not self._over:
            bulk += self._read()
            if bulk and until is None:
                until = asyncio.get_running_loop().time() + _LINGER_S
        return bulk

    async def _ready(self, until: float | None) -> bool:
        """Return once there is something to read or we are to stop; False when neither is so in time."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._wake = partial(_done, ready)
        try:
            loop.add_reader(self.descriptor, self._wake)
        except PermissionError:
            return True  # a file on disk: there is always something to read, or its end
        try:
            async with asyncio.timeout_at(until):
                if not self._over:
                    await ready
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self.descriptor)
        return True

    def _read(self) -> list[bytes]:
        """Return the lines that end in what there is now."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            self._failed, self._over = error, True
            return []
        if not data:
            self._over = True
            last, self._rest = bytes(self._rest), bytearray()
            return [last]
        self.taken += len(data)
        first, newline, others = data.partition(b"\n")
        self._rest += first[: MAX_LINE_BYTES + 1 - len(self._rest)]
        if not newline:
            return []
        whole, newline, rest = others.rpartition(b"\n")
        lines = [bytes(self._rest), *(whole.split(b"\n") if newline else ())]
        self._rest = bytearray(rest)
        return lines


def _done(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)

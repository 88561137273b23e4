"""Starting `child`, listening to it, and killing it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Child:
    """A process that says what it did."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        #: The highest number said after each word.
        self.said: dict[str, int] = {}

    async def listen(self, lines: int) -> None:
        """Read so many lines, or all that is left after a kill."""
        assert self._process.stdout is not None
        for _ in range(lines):
            self._hear(await self._process.stdout.readline())

    async def kill(self) -> None:
        """End it with SIGKILL; hear what it managed to say."""
        self._process.kill()
        await self._process.wait()
        assert self._process.stdout is not None
        for line in (await self._process.stdout.read()).splitlines(keepends=True):
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        """Take in a whole line; the last one of a killed process may be cut short, even within its number."""
        if line.endswith(b"\n"):
            word, _, number = line.decode().partition(" ")
            self.said[word] = max(int(number), self.said.get(word, 0))


@asynccontextmanager
async def child(mode: str, path: Path) -> AsyncIterator[Child]:
    """Run a child; it is gone at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.child", mode, path, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

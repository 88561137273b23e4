"""What every contender is to the benchmark: a server, and the operations that load it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.bench.workload import Load

_START_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Operation:
    """A coroutine of a worker, with its arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


class Contender(Protocol):
    """One system under load. `start` once; `fresh` before each run; `aclose` at the end."""

    name: str

    @property
    def about(self) -> str:
        """Return what it is: product, version, settings that matter."""
        ...

    @property
    def pid(self) -> int:
        """Return the server's process."""
        ...

    async def start(self, folder: Path) -> None:
        """Start the server with its data in this folder."""
        ...

    async def fresh(self) -> None:
        """Get ready for a run of its own: what ran before is not delivered again."""
        ...

    def subscribers(self, streams: Sequence[int], entries: int, load: Load, *, latency: bool) -> list[Operation]:
        """Return operations that open so many streams each, and end when each has had ``entries`` entries."""
        ...

    def entries(self, load: Load) -> int:
        """Return how many entries a stream gets of a load."""
        ...

    def fair(self, load: Load) -> Load:
        """Return the load that this contender is given: the same kind, and so much that its run takes seconds."""
        ...

    def publisher(self, load: Load) -> Operation | None:
        """Return the operation that publishes a load as fast as it can; None where streams feed themselves."""
        ...

    def steady(self, rate: float, seconds: float) -> Operation:
        """Return the operation that publishes single signals at a rate."""
        ...

    async def aclose(self) -> None:
        """Stop the server."""
        ...


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def listening(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until somebody listens on a port of this machine. Raises RuntimeError when the process ends instead."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it listened")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise RuntimeError("the server did not start to listen")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS


def rss_bytes(pid: int) -> int:
    """Return the memory of a process that is its own (RssAnon)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no RssAnon for {pid}")


async def stop(process: asyncio.subprocess.Process, grace_s: float = 10.0) -> None:
    """End a server: politely, then not."""
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            process.kill()
            await process.wait()

"""Processes of ours that need not import first what they run.

Each is a process of its own, with its own arguments, environment, folder and standard streams, forked from one that has
imported what they import: that takes most of a short command's second, and of a hub's start. It can be killed, put to
sleep and waited for like any other, and holds nothing of the process that asked for it.
"""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

_PRELOADED = [
    "exchange.cli.accounts", "exchange.cli.backup", "exchange.cli.community", "exchange.cli.doctor", "exchange.cli.guidance",
    "exchange.cli.hub", "exchange.cli.life", "exchange.cli.member", "exchange.cli.proposals", "exchange.cli.publish",
    "exchange.cli.pseudonyms", "exchange.cli.referrals", "exchange.cli.reports", "exchange.cli.restore",
    "exchange.cli.sign", "exchange.cli.verify", "exchange.cli.watch", "tests.e2e.warm_command_line",
    "tests.faults.faulty_hub",
]  # fmt: skip
_contexts: list[ForkServerContext] = []
_running: set[ForkServerProcess] = set()


def begin(
    run: Callable[[], object], words: Sequence[str], *, folder: Path, files: tuple[int, int, int]
) -> ForkServerProcess:
    """Start a process that runs this with these arguments: in this folder, with these as its standard streams."""
    streams = _Descriptors(files)
    process = _context().Process(target=_run, args=(run, list(words), dict(os.environ), str(folder), streams))
    process.start()
    _running.add(process)
    return process


def ended(process: ForkServerProcess) -> None:
    """Think no more of a process that has ended."""
    _running.discard(process)


@atexit.register
def _kill_all() -> None:
    """Let none outlive the tests, as none would wait for its end."""
    for process in _running:
        process.kill()


class WarmProcess:
    """One that runs a module's ``main``, and what it prints: as asyncio's processes are, as far as tests ask."""

    def __init__(self, process: ForkServerProcess, stdout: asyncio.StreamReader, pipe: asyncio.BaseTransport) -> None:
        """Use `start`."""
        self._process = process
        self._pipe = pipe
        self._over = asyncio.Event()
        self.stdout = stdout
        assert process.pid is not None
        self.pid = process.pid
        asyncio.get_running_loop().add_reader(process.sentinel, self._note_end)

    @classmethod
    async def start(cls, module: str, *words: str, folder: Path, stderr: IO[bytes]) -> WarmProcess:
        """Start one in this folder."""
        ours, theirs = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            files = (nothing, theirs, stderr.fileno())
            main = partial(_main, module)
            process = await asyncio.to_thread(begin, main, (module, *words), folder=folder, files=files)
        finally:
            os.close(theirs)
            os.close(nothing)
        stdout = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            partial(asyncio.StreamReaderProtocol, stdout), os.fdopen(ours, "rb")
        )
        return cls(process, stdout, pipe)

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._process.join()
        ended(self._process)
        self._over.set()

    @property
    def returncode(self) -> int | None:
        """How it ended: its exit code, or the negative number of the signal that it died of. None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing when it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Return how it ended, once it has."""
        await self._over.wait()
        assert self.returncode is not None
        return self.returncode

    def close(self) -> None:
        """Listen to it no more."""
        self._pipe.close()


class _Descriptors:
    """Standard streams on their way into another process."""

    def __init__(self, files: Sequence[int]) -> None:
        self._files = files

    def __reduce__(self) -> tuple[Any, ...]:
        return _take, tuple(map(DupFd, self._files))


def _take(*duplicates: Any) -> list[int]:
    return [each.detach() for each in duplicates]


def _context() -> ForkServerContext:
    if not _contexts:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        _contexts.append(context)
    return _contexts[0]


def _main(module: str) -> object:
    return import_module(module).main()


def _run(
    run: Callable[[], object], words: list[str], environment: dict[str, str], folder: str, descriptors: list[int]
) -> None:
    for ours, theirs in enumerate(descriptors):
        os.dup2(theirs, ours)
        os.close(theirs)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = words
    sys.exit(run())  # type: ignore[arg-type]

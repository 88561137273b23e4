"""The command line in real processes that need not import it first (`warm_process`).

The installed ``exchange`` itself is started by the tests of what is installed (units, Compose, quick start, demo), and
by those that kill, signal or pipe a command.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO

from tests.e2e import warm_process


def run(words: Sequence[str], *, stdin: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run ``exchange`` with these arguments. Raises `subprocess.TimeoutExpired` as `subprocess.run` does."""
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        tempfile.TemporaryFile("w+") as given,
    ):
        given.write(stdin)
        given.seek(0)
        process = _begin(words, given.fileno(), out.fileno(), err.fileno())
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(words), timeout_s)
        warm_process.ended(process)
        return subprocess.CompletedProcess(list(words), process.exitcode, _all_of(out), _all_of(err))


async def on_the_command_line(*words: str | Path, timeout_s: float = 60.0) -> tuple[int, str]:
    """Run ``exchange`` with these arguments; return how it ended and what it said."""
    done = await asyncio.to_thread(run, [*map(str, words)], stdin="", timeout_s=timeout_s)
    return done.returncode, done.stdout + done.stderr


class Serving:
    """``exchange`` with a command that goes on until it is ended."""

    def __init__(self, words: Sequence[str], *, stderr: IO[bytes]) -> None:
        """Start it."""
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            self._process: ForkServerProcess = _begin(words, nothing, nothing, stderr.fileno())
        finally:
            os.close(nothing)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return how it ended: its exit code, or the negative number of a signal. None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing when it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Let it end in good order."""
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Return how it ended, once it has. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout_s)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("exchange", timeout_s)
        warm_process.ended(self._process)
        return code


def _begin(words: Sequence[str], *files: int) -> ForkServerProcess:
    stdin, stdout, stderr = files
    return warm_process.begin(_command, ("exchange", *words), folder=Path.cwd(), files=(stdin, stdout, stderr))


def _command() -> None:
    from exchange.cli import main  # noqa: PLC0415 - in the process that is to be one

    main(prog_name="exchange")


def _all_of(file: IO[str]) -> str:
    file.seek(0)
    return file.read()

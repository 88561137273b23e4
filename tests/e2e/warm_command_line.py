"""The command line in real processes that need not import it first.

Each command is a process of its own, with its own arguments, environment, folder and standard streams, forked from one
that has imported what commands import: that takes most of a short command's second. The installed ``exchange`` itself is
started by what serves, and by the tests that kill, signal or pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

_PRELOADED = [
    "exchange.cli.accounts", "exchange.cli.backup", "exchange.cli.community", "exchange.cli.doctor", "exchange.cli.guidance",
    "exchange.cli.hub", "exchange.cli.life", "exchange.cli.member", "exchange.cli.proposals", "exchange.cli.publish", "exchange.cli.pseudonyms",
    "exchange.cli.referrals", "exchange.cli.reports", "exchange.cli.restore", "exchange.cli.sign", "exchange.cli.verify",
    "exchange.cli.watch", __name__,
]  # fmt: skip
_contexts: list[ForkServerContext] = []


def run(words: Sequence[str], *, stdin: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run ``exchange`` with these arguments. Raises `subprocess.TimeoutExpired` as `subprocess.run` does."""
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        tempfile.TemporaryFile("w+") as given,
    ):
        given.write(stdin)
        given.seek(0)
        process = _context().Process(
            target=_command, args=(list(words), dict(os.environ), str(Path.cwd()), _Descriptors(given, out, err))
        )
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(words), timeout_s)
        return subprocess.CompletedProcess(list(words), process.exitcode, _all_of(out), _all_of(err))


class _Descriptors:
    """Standard streams on their way into another process."""

    def __init__(self, *files: IO[str]) -> None:
        self._files = files

    def __reduce__(self) -> tuple[Any, ...]:
        return _take, tuple(DupFd(file.fileno()) for file in self._files)


def _take(*duplicates: Any) -> list[int]:
    return [each.detach() for each in duplicates]


def _context() -> ForkServerContext:
    if not _contexts:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        _contexts.append(context)
    return _contexts[0]


def _command(words: list[str], environment: Mapping[str, str], folder: str, descriptors: list[int]) -> None:
    for ours, theirs in enumerate(descriptors):
        os.dup2(theirs, ours)
        os.close(theirs)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["exchange", *words]
    from exchange.cli import main  # noqa: PLC0415 - in the process that is to be one

    main(prog_name="exchange")


def _all_of(file: IO[str]) -> str:
    file.seek(0)
    return file.read()

"""A program of ours run as a process beside this one, asked one thing at a time over its pipes.

A program, and no fork or spawn: it runs nothing of its caller's, and ends when its input does, also when its caller
was killed. What must stay true of each: whoever asks can do without an answer. It makes things faster and nothing else.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

#: A process that does not answer for so long is given up, its start included.
ANSWER_S = 30.0
#: Before what is asked and what is answered: its number and its length.
_HEAD = struct.Struct(">II")
#: As much as Linux lets anybody have, unless it was told otherwise.
_PIPE_BYTES = 1024 * 1024
#: What it is given of our environment: no more than it takes to start an interpreter.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


class ChildProcess:
    """One process: started when first asked, and given up for good when it fails."""

    def __init__(self, program: str) -> None:
        """Nothing is started yet. ``program`` is a module that calls `serve` when it is run."""
        self._program = program
        self.process: asyncio.subprocess.Process | None = None
        self.given_up = False
        #: What it was given up for; None when it was closed.
        self.failure: Exception | None = None
        self._number = 0

    async def ask(self, asked: bytes, *, within_s: float = ANSWER_S) -> bytes | None:
        """Return its answer; None when the process cannot be had."""
        if self.given_up:
            return None
        try:
            async with asyncio.timeout(within_s):
                return await self._ask(asked)
        except Exception as error:  # noqa: BLE001 - whatever it is, the work is done without it
            self.fail(error)
            return None
        except asyncio.CancelledError:
            self.give_up()  # its answer would be taken for the next one's
            raise

    async def _ask(self, asked: bytes) -> bytes:
        if self.process is None:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", self._program),
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
                | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for its caller
            )
            _widen(self.process.stdin)
        requests, answers = self.process.stdin, self.process.stdout
        if requests is None or answers is None:
            raise OSError("a process without its pipes")
        self._number += 1
        requests.write(_HEAD.pack(self._number, len(asked)) + asked)
        await requests.drain()
        number, length = _HEAD.unpack(await answers.readexactly(_HEAD.size))
        answer = await answers.readexactly(length)
        if number != self._number:
            raise ValueError("it answers something else")
        return answer

    def fail(self, error: Exception) -> None:
        """Give it up for this. Idempotent."""
        self.failure = self.failure or error
        self.give_up()

    def give_up(self) -> None:
        """Close its input and kill it. Idempotent."""
        self.given_up = True
        if self.process is None:
            return
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.returncode is None:
            self.process.kill()

    async def aclose(self) -> None:
        """Give it up, and wait until it is gone. Idempotent."""
        self.give_up()
        if self.process is not None:
            await self.process.wait()
            if self.process.stdin is not None:
                with suppress(OSError):  # what it did not read before it ended
                    await self.process.stdin.wait_closed()


def _widen(requests: asyncio.StreamWriter | None) -> None:
    """Let a pipe hold what is asked at once, where that can be had.

    Else the event loop has to come by for every 64 KiB, and one that is busy leaves the process waiting.
    """
    if requests is not None and sys.platform == "linux":
        with suppress(OSError, ValueError):  # it may not be had, and the process may have ended already
            fcntl.fcntl(requests.get_extra_info("pipe"), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def serve(answer: Callable[[bytes], bytes]) -> None:
    """Answer whoever started this process until the input ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # the answers are all that goes there
    while head := requests.read(_HEAD.size):
        number, length = _HEAD.unpack(head)
        said = answer(requests.read(length))
        answers.write(_HEAD.pack(number, len(said)) + said)
        answers.flush()

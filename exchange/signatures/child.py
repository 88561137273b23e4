"""One process beside ours, from its start to its end."""

from __future__ import annotations

import asyncio
import os
import sys

from exchange.signatures.batch import HEAD, NUMBER, Batch, pack

#: A process that does not answer for so long is given up, its start included.
ANSWER_S = 30.0
#: What it is given of our environment: no more than it takes to start an interpreter.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


class Child:
    """One process: started when first asked, asked one thing at a time, and given up for good when it fails."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self.process: asyncio.subprocess.Process | None = None
        self.given_up = False
        #: What it was given up for; None when it was closed.
        self.failure: Exception | None = None
        self._number = 0

    async def holding(self, batch: Batch, *, within_s: float = ANSWER_S) -> bytes:
        """Return a byte for each item, 1 where all of it holds; nothing when the process cannot be had."""
        if self.given_up:
            return b""
        try:
            async with asyncio.timeout(within_s):
                return await self._ask(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the checks are made here
            self.failure = error
            self.give_up()
            return b""
        except asyncio.CancelledError:
            self.give_up()  # its answer would be taken for the next one's
            raise

    async def _ask(self, batch: Batch) -> bytes:
        if self.process is None:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "exchange.signatures.worker"),
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
                | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for its caller
            )
        requests, answers = self.process.stdin, self.process.stdout
        if requests is None or answers is None:
            raise OSError("a process without its pipes")
        self._number += 1
        data = pack(batch)
        requests.write(HEAD.pack(self._number, len(data)) + data)
        await requests.drain()
        answer = await answers.readexactly(NUMBER.size + len(batch))
        if NUMBER.unpack_from(answer)[0] != self._number:
            raise ValueError("it answers something else")
        return answer[NUMBER.size :]

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

"""A publisher of the SDK as a process of its own, which can be killed and put to sleep with its outbox.

It says on stdout, a line of JSON each: how many signals an earlier run had left without a receipt, that one is in the
outbox, and each receipt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exchange_client import ClientConfig, ExchangeClient, Outcome
from tests.e2e.child_hub import ROOT
from tests.e2e.exchange_fixture import UK
from tests.e2e.sdk_clients import a_signal
from tests.faults.load import PAUSE_S, Acknowledged, Load

START_S = 60.0


class Speaker:
    """The process, and what it said so far."""

    def __init__(self, config: Path, load: Load) -> None:
        """Use `start`."""
        self._config = config
        self._load = load
        self._reading: asyncio.Task[None]
        self._news = asyncio.Event()
        self.process: asyncio.subprocess.Process
        #: Signals that were in its outbox, and those of them that got a receipt in the same run.
        self.began = self.told = 0
        #: What its present run found in the outbox, and has not told the receipt of.
        self.left = 0
        #: And what it had found.
        self.found = 0

    @classmethod
    async def start(cls, config: ClientConfig, load: Load) -> Speaker:
        """Start it; what it is told is put to what the load was told."""
        path = config.state.parent / "speaker.pickle"
        path.write_bytes(pickle.dumps(config))
        made = cls(path, load)
        await made.again()
        return made

    async def again(self) -> None:
        """Start it, on its outbox."""
        command = (sys.executable, "-m", "tests.faults.speaker", str(self._config))
        self.process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        self._reading = asyncio.create_task(self._read(self.process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if not line.endswith(b"\n"):
                return  # killed while it wrote this
            said: dict[str, Any] = json.loads(line)
            if "left" in said:
                self.left = self.found = said["left"]
            self.began += said.get("begins", 0)
            if "index" in said:
                self.left -= said["earlier"]
                self.told += not said["earlier"]
                leaf, checkpoint = bytes.fromhex(said["leaf"]), bytes.fromhex(said["checkpoint"])
                self._load.acknowledged.append(Acknowledged(time.monotonic(), said["index"], leaf, checkpoint))
            self._news.set()

    async def begins(self, more: int) -> None:
        """Return when so many more have been in its outbox."""
        wanted = self.began + more
        await self._until(lambda: self.began >= wanted)

    async def waits(self) -> None:
        """Return when one is in its outbox and has no receipt."""
        await self._until(lambda: self.began > self.told)

    async def _until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(START_S):
            while not happened():
                self._news.clear()
                await self._news.wait()

    async def end(self, number: signal.Signals) -> None:
        """End it, and read what it said until then."""
        self.process.send_signal(number)
        async with asyncio.timeout(START_S):
            code = await self.process.wait()
            await self._reading
        assert code == (0 if number is signal.SIGTERM else -number), code

    async def aclose(self) -> None:
        """End what still runs."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)
        self.process._transport.close()  # type: ignore[attr-defined]


def _tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


def _told(outcome: Outcome, *, earlier: bool) -> None:
    receipt = outcome.receipt
    assert receipt is not None, outcome.error
    _tell(index=receipt.index, leaf=receipt.leaf.hex(), checkpoint=receipt.checkpoint.hex(), earlier=earlier)


async def _speak(config: ClientConfig) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with ExchangeClient(config) as client, client.publisher(UK) as publisher:
        _tell(left=publisher.left)
        async with contextlib.aclosing(publisher.earlier()) as earlier:
            async for outcomes in earlier:
                for each in outcomes:
                    assert isinstance(each, Outcome)
                    _told(each, earlier=True)
        while not stop.is_set():
            speaking = asyncio.ensure_future(publisher.publish([a_signal()]))
            while not speaking.done() and not await publisher.outbox.pending():
                await asyncio.sleep(0)
            _tell(begins=1)
            for each in await speaking:
                _told(each, earlier=False)
            await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    asyncio.run(_speak(pickle.loads(Path(sys.argv[1]).read_bytes())))

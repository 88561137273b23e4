"""The hub that is simulated against: the real one but for its ports, in this process, on a clock that the driver moves.

What is left out are gRPC, TLS and the guard in front of the servicers, which `tests/e2e` holds to account. A crash is
what SIGKILL leaves: the folders as they are at one instant, between any two jobs of any thread. Disks are asked for no
more than a file's order there; `tests/faults` takes their power away.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from exchange import codec, process
from exchange.api import guard as guards
from exchange.api.directory import DirectoryServicer
from exchange.api.feed import FeedServicer
from exchange.api.ledger import LedgerServicer
from exchange.api.logs import Hub
from exchange.api.publish import PublishServicer
from exchange.api.reports import ReportServicer
from exchange.app import App
from exchange.codec import Delivered
from exchange.config import TLS, Config, Feed
from exchange.domain.policy import Workload
from exchange.publish.quota import Quotas
from exchange.stores.worker import Worker
from exchange.v1 import feed_pb2, ledger_pb2, publish_pb2
from exchange.v1 import statement_pb2 as pb
from exchange.views.erasing import Eraser
from exchange_client.transport import _feed_message
from exchange_client.wire import FeedMessage, Filter
from tests.e2e.patience import DEADLINE_S, patiently


class Clock:
    """Both clocks of the hub: they move when told to."""

    def __init__(self, at_ms: int) -> None:
        self.now_ms = at_ms

    def read(self) -> int:
        """Return the time."""
        return self.now_ms


class HandEraser(Eraser):
    """Erases when told to, not every second."""

    made: list[HandEraser]

    async def run(self) -> None:
        """Wait to be told."""
        type(self).made.append(self)
        await asyncio.Event().wait()


class _Nobody:
    """The guard of a hub without ports."""

    def review(self) -> None:
        """Nobody is connected."""


class BareApp(App):
    """The composition root, without ports."""

    hub: Hub

    def _guard(self, quotas: Quotas) -> guards.Guard:
        self._trust = cast("Any", None)
        return cast("guards.Guard", _Nobody())

    async def _open_ports(self, hub: Hub, guard: guards.Guard) -> None:
        self.hub = hub


async def _no_tls(*_: object) -> None:
    """There are no TLS files to follow."""


def without_waiting(patch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Give everything the driver's clock, and take out what only real time needs: pauses, and paces."""
    patch.setattr("exchange.ops.clocks.wall_ms", clock.read)
    patch.setattr("exchange.ops.clocks.monotonic_ms", clock.read)
    patch.setattr("exchange.app.Eraser", HandEraser)
    patch.setattr(HandEraser, "made", [], raising=False)
    patch.setattr(process, "follow_tls_files", _no_tls)
    patch.setattr("exchange.publish.turns.REST_S", 0.0)
    patch.setattr("exchange.fanout.tail.LONGEST_PAUSE_S", 0.0)
    patch.setattr("exchange.views.life.BEHIND_S", 0.005)
    patch.setattr("exchange_client.backoff.FIRST_S", 0.0001)
    patch.setattr("exchange_client.backoff.LONGEST_S", 0.0002)
    patch.setattr("exchange_client.subscriber.STORE_EVERY_S", 0.0)


@dataclass(slots=True)
class Services:
    """The servicers of one running hub."""

    publishing: PublishServicer
    feed: FeedServicer
    ledger: LedgerServicer
    directory: DirectoryServicer
    reports: ReportServicer


class LiveHub:
    """A hub that can be stopped, killed and started again."""

    def __init__(self, exchange: str, folder: Path, clock: Clock, ring_bytes: int) -> None:
        self._exchange = exchange
        self._folder = folder
        self._clock = clock
        self._ring_bytes = ring_bytes
        self._copies = 0
        self.data = folder / "data"
        self.app: BareApp
        self.services: Services
        self._stop: asyncio.Event
        self._task: asyncio.Task[None]

    async def start(self, *, forget_life: bool = False) -> None:
        """Return when it serves; ``forget_life`` takes the fold of signals' lives away from it before."""
        if forget_life:
            for path in self.data.glob("logs/*/folds/life*"):
                path.unlink()
        nothing = Path("nothing")
        config = Config(
            exchange=self._exchange,
            data=self.data,
            listen="127.0.0.1:0",
            keys=self._folder / "keys",
            tls=TLS(nothing, nothing, nothing),
            feed=Feed(ring_bytes=self._ring_bytes),
        )
        self.app = BareApp(config, accept_clock=True)
        self._stop = asyncio.Event()
        HandEraser.made.clear()
        started = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(started))
        await asyncio.wait((started, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task
        hub, metrics, now_ms = self.app.hub, self.app.metrics, self._clock.read
        self.services = Services(
            PublishServicer(hub, metrics),
            FeedServicer(hub, now_ms, metrics, heartbeat_s=3_600.0),
            LedgerServicer(hub, now_ms),
            DirectoryServicer(hub, now_ms),
            ReportServicer(hub, now_ms),
        )

    async def _live(self, started: asyncio.Future[None]) -> None:
        async with process.running(self.app):
            started.set_result(None)
            await self._stop.wait()

    async def stop(self) -> None:
        """Close it in good order. Whatever has stopped in it by itself is a failure."""
        ready = self.app.health.ready
        self._stop.set()
        await self._task
        assert ready, "something in the hub has stopped by itself"

    async def kill(self) -> None:
        """Leave it as it is at this instant: what comes next starts from a copy of its folders."""
        release, workers = threading.Event(), self._workers()
        reached = [threading.Event() for _ in workers]
        for worker, here in zip(workers, reached, strict=True):
            worker._jobs.put(partial(_stand_still, here, release))
        for here in reached:
            assert here.wait(DEADLINE_S)
        self._copies += 1
        copy = self._folder / f"data-{self._copies}"
        shutil.copytree(self.data, copy)
        release.set()
        await self.stop()
        shutil.rmtree(self.data)
        self.data = copy

    def _workers(self) -> list[Worker]:
        found: list[Worker] = []
        for log in self.app._logs.values():
            parts: list[Any] = [log.store, log.sequencer._mark, log.folds.life.facts if log.folds is not None else None]
            names = ("_writer", "_reader", "_worker")
            found += [getattr(part, name) for part in parts for name in names if hasattr(part, name)]
        return found

    async def sweep(self) -> None:
        """Erase everything that is due, as the hub does every second."""
        for log in self.app._logs.values():
            if log.folds is not None:
                await patiently(log.up_to_date)
        for eraser in HandEraser.made:
            while await eraser.erase():
                pass

    async def clock_moved(self) -> None:
        """Let the view of the directory be fresh again, as it is twice a second."""
        await self.app._view.refresh()


def _stand_still(here: threading.Event, release: threading.Event) -> None:
    here.set()
    release.wait()


class Wire:
    """What `Transport` is to the SDK, for one workload, straight to the servicers."""

    def __init__(self, hub: LiveHub, workload: Workload) -> None:
        self._hub = hub
        self.workload = workload
        #: Entries in the message that came last.
        self.in_message = 0

    def called(self) -> Services:
        """Return the servicers, to be called as this workload."""
        guards._CALLER.set(self.workload)
        return self._hub.services

    async def publish(self, statement: pb.Statement) -> publish_pb2.Receipt:
        """Publish one statement."""
        request = publish_pb2.PublishRequest(statement=statement)
        return (await self.called().publishing.Publish(request, cast("Any", None))).receipt

    async def entries(self, origin: str, start: int) -> tuple[tuple[Delivered, ...], int]:
        """Return a page of entries."""
        request = ledger_pb2.ListEntriesRequest(origin=origin, start=start)
        answer = await self.called().ledger.ListEntries(request, cast("Any", None))
        return tuple(map(codec.delivered, answer.entries)), answer.sealed_size

    async def checkpoint(self, origin: str) -> bytes:
        """Return the signed checkpoint."""
        request = ledger_pb2.GetCheckpointRequest(origin=origin)
        return bytes((await self.called().ledger.GetCheckpoint(request, cast("Any", None))).checkpoint)

    async def subscribe(
        self, origin: str, cursor: int, last_checkpoint: bytes, wanted: Filter
    ) -> AsyncGenerator[FeedMessage, None]:
        """Yield a feed's messages."""
        request = feed_pb2.SubscribeRequest(
            origin=origin,
            cursor=cursor,
            last_checkpoint=last_checkpoint,
            filter=feed_pb2.Filter(labels=_sorted(wanted.labels), indicator_types=_sorted(wanted.indicator_types)),
        )
        messages = cast("AsyncGenerator[bytes, None]", self.called().feed.subscribe(request, cast("Any", None)))
        try:
            async for data in messages:
                message = _feed_message(feed_pb2.SubscribeResponse.FromString(data))
                self.in_message = len(message.entries)
                yield message
        finally:
            await messages.aclose()


def _sorted(numbers: frozenset[int]) -> Sequence[Any]:
    return sorted(numbers)

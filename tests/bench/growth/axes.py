"""What grows along which axis: the length of the ledger, the number of subscribers, the number of communities.

At each point the same is measured with a hub of its own process and real TLS: how long it takes to start, what memory
it has then, how long a signal travels at a modest fixed rate, and how many go through when it is pushed. The order is
fixed, from what adds least to the ledger to what adds most.

Of what must stay constant the processor time is taken too, where there is one: it is what the hub does, whatever else
the machine does meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import grpc

from exchange.v1 import ledger_pb2, report_pb2, report_pb2_grpc
from tests.bench.contenders.contender import cpu_seconds, rss_bytes
from tests.bench.contenders.hub import Hub
from tests.bench.figures import Figures, number
from tests.bench.growth.ledgers import Ledger, Say, disk_bytes, filled
from tests.bench.measuring import DEADLINE_S, Crew, fan_out, publish_only, steady
from tests.bench.workload import Load
from tests.e2e.exchange_fixture import NAME, UK

#: Single signals a second in every measurement of latency: far from any limit.
RATE = 200.0
#: Subscribers where their number is not what is varied.
STREAMS = 10
_TIMEOUT_S = 20.0
_PROOFS = 200
_STARTS = 3
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """The points along each axis, and how long each is looked at."""

    packed: tuple[int, ...]
    singles: tuple[int, ...]
    subscribers: tuple[int, ...]
    communities: tuple[int, ...]
    steady_s: float
    repetitions: int


FULL = Plan(
    packed=(10_000, 100_000, 1_000_000, 10_000_000),
    singles=(10_000, 100_000, 1_000_000),
    subscribers=(1, 10, 50, 100, 200),
    communities=(1, 10, 100),
    steady_s=8.0,
    repetitions=3,
)
QUICK = Plan(
    packed=(10_000, 100_000),
    singles=(10_000,),
    subscribers=(1, 50),
    communities=(1, 10),
    steady_s=4.0,
    repetitions=1,
)


class Growth:
    """One run along some axes. Figures are named ``axis.point.what``."""

    def __init__(self, plan: Plan, figures: Figures, crew: Crew, folder: Path, say: Say) -> None:
        self._plan = plan
        self._figures = figures
        self._crew = crew
        self._folder = folder
        self._say = say

    async def ledger(self, ledger: Ledger) -> None:
        """Measure a hub whose community holds such a ledger."""
        name = ledger.name.replace("-", ".")
        kept = await filled(self._folder, ledger, self._say)
        # What is measured is added to a copy: the ledger that was filled stays as long as its name says.
        exchange = replace(kept, folder=self._folder / f"measured-{ledger.name}")
        shutil.copytree(kept.folder, exchange.folder)
        self._figures.add(f"{name}.bytes_per_signal", disk_bytes(exchange) / ledger.records)
        hub = Hub()
        hub.exchange = exchange
        await self._fold(name, hub, ledger.entries)
        await self._start(name, hub)
        try:
            await self._read(name, hub)
            await self._latency(name, hub, STREAMS)
            await self._pushed(name, hub, STREAMS)
            self._figures.add(f"{name}.rss_after", rss_bytes(hub.pid))
        finally:
            await hub.stop()
            shutil.rmtree(exchange.folder)

    async def subscribers(self, streams: int) -> None:
        """Measure a hub with so many subscribers."""
        name = f"subscribers.{streams}"
        hub = Hub()
        await hub.start(self._folder / f"subscribers-{streams}")
        try:
            await self._latency(name, hub, streams)
            await self._pushed(name, hub, streams)
            self._figures.add(f"{name}.rss_after", rss_bytes(hub.pid))
        finally:
            await hub.stop()

    async def communities(self, count: int) -> None:
        """Measure a hub that holds so many communities, all of them empty but the one that is used."""
        name = f"communities.{count}"
        hub = Hub()
        await hub.start(self._folder / f"communities-{count}", communities=count - 1, archive=False)
        await hub.stop()
        await self._start(name, hub)
        try:
            await self._latency(name, hub, STREAMS)
            await self._pushed(name, hub, STREAMS)
            await self._spread(name, hub, count)
            self._figures.add(f"{name}.rss_after", rss_bytes(hub.pid))
        finally:
            await hub.stop()

    async def _fold(self, name: str, hub: Hub, entries: int) -> None:
        """Start a hub that has read none of its ledger yet; time it until lag and life are known of all of it."""
        await hub.serve()
        reports = report_pb2_grpc.ReportServiceStub(hub.operator.channel)
        before, read = time.monotonic(), 0
        while read < entries:
            await asyncio.sleep(_POLL_S)
            try:
                answer = await reports.GetLagReport(report_pb2.GetLagReportRequest(origin=UK), timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                read = answer.size
        self._figures.add(f"{name}.fold_s", time.monotonic() - before)
        self._figures.add(f"{name}.fold_us_per_statement", 1e6 * cpu_seconds(hub.pid) / entries)
        self._say(f"{name}: {entries:,} statements read into the fold in {self._median(name, 'fold_s'):.1f} s")
        await hub.stop()

    async def _start(self, name: str, hub: Hub) -> None:
        """Start a hub's process a few times; time it until it takes connections, and leave the last one running."""
        for start in range(_STARTS):
            before = time.monotonic()
            await hub.serve()
            self._figures.add(f"{name}.start_s", time.monotonic() - before)
            self._figures.add(f"{name}.start_cpu_s", cpu_seconds(hub.pid))
            if start < _STARTS - 1:
                await hub.stop()
        self._figures.add(f"{name}.rss_idle", rss_bytes(hub.pid))
        self._say(f"{name}: starts in {self._median(name, 'start_s'):.2f} s")

    async def _read(self, name: str, hub: Hub) -> None:
        """Time proofs and pages from anywhere in the log, one after the other."""
        size = await hub.size()
        chosen = random.Random(size)
        proofs, pages = [], []
        for _ in range(_PROOFS):
            index = chosen.randrange(size)
            before = time.monotonic()
            await hub.operator.ledger.GetInclusionProof(
                ledger_pb2.GetInclusionProofRequest(origin=UK, index=index), timeout=_TIMEOUT_S
            )
            proofs.append(time.monotonic() - before)
            before = time.monotonic()
            await hub.operator.ledger.ListEntries(
                ledger_pb2.ListEntriesRequest(origin=UK, start=index, limit=1), timeout=_TIMEOUT_S
            )
            pages.append(time.monotonic() - before)
        self._figures.add(f"{name}.proof_ms", 1e3 * sorted(proofs)[_PROOFS // 2])
        self._figures.add(f"{name}.read_ms", 1e3 * sorted(pages)[_PROOFS // 2])

    async def _latency(self, name: str, hub: Hub, streams: int) -> None:
        for _ in range(self._plan.repetitions):
            found = await steady(self._crew, hub, streams, RATE, self._plan.steady_s)
            self._figures.add(f"{name}.p50_ms", found.whole.percentile_ms(50))
            self._figures.add(f"{name}.p99_ms", found.whole.percentile_ms(99))
            self._figures.add(f"{name}.cpu", found.server_cpu)
            self._figures.add(f"{name}.rss_steady", float(found.memory[-1][1]))
        self._say(
            f"{name}: p50 {number(self._median(name, 'p50_ms'))} ms, p99 {number(self._median(name, 'p99_ms'))} ms,"
            f" {self._median(name, 'rss_steady') / 1e6:.0f} MB"
        )

    async def _pushed(self, name: str, hub: Hub, streams: int) -> None:
        singles, batched = Load(4_000, 1), Load(40_000, 1_000)
        for _ in range(self._plan.repetitions):
            published = await publish_only(self._crew, hub, singles)
            self._figures.add(f"{name}.statements_per_s", published.statements_per_s)
            cost = published.server_cpu * published.seconds / published.statements
            self._figures.add(f"{name}.cpu_us_per_statement", 1e6 * cost)
            delivered = await fan_out(self._crew, hub, streams, singles)
            self._figures.add(f"{name}.singles_delivered_per_s", delivered.deliveries_per_s)
            delivered = await fan_out(self._crew, hub, streams, batched)
            self._figures.add(f"{name}.batched_delivered_per_s", delivered.deliveries_per_s)
        self._say(
            f"{name}: {number(self._median(name, 'statements_per_s'))} statements/s,"
            f" {number(self._median(name, 'singles_delivered_per_s'))} and"
            f" {number(self._median(name, 'batched_delivered_per_s'))} deliveries/s"
        )

    async def _spread(self, name: str, hub: Hub, count: int) -> None:
        """Publish to all communities at once, the same number of signals in all."""
        origins = [UK, *(f"{NAME}/c{at}" for at in range(count - 1))]
        load = Load(max(4_000 // count, 40), 1)
        for _ in range(self._plan.repetitions):
            operations = [hub.publisher(load, origin) for origin in origins]
            running = [self._crew.publisher.run(one.name, **one.arguments) for one in operations]
            for one in running:
                await one.ready()
            before = time.monotonic()
            for one in running:
                one.go()
            await asyncio.gather(*(one.done(DEADLINE_S) for one in running))
            self._figures.add(f"{name}.spread_per_s", count * load.statements / (time.monotonic() - before))
        self._say(f"{name}: {number(self._median(name, 'spread_per_s'))} statements/s over all communities")

    def _median(self, name: str, what: str) -> float:
        return self._figures.median(f"{name}.{what}") or 0.0

"""One measurement: who subscribes, who publishes, let go together, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.contenders.contender import Contender, Operation, cpu_seconds, rss_bytes
from tests.bench.contenders.grpc_ceiling import GrpcCeiling
from tests.bench.contenders.hub import ARCHIVE, Hub
from tests.bench.histogram import Histogram
from tests.bench.processes import Running, Worker
from tests.bench.workload import Load
from tests.e2e.exchange_fixture import UK

#: Nothing that is measured may take longer than this.
DEADLINE_S = 600.0
_SAMPLE_S = 1.0
#: The verifying client may end so much later than the streams that only count.
_KEEPS_UP_S, _KEEPS_UP_SHARE = 1.0, 0.25


class Crew:
    """The processes that make the load: two that subscribe, one that publishes, one that verifies with the SDK."""

    def __init__(self, subscribers: Sequence[Worker], publisher: Worker, verifier: Worker) -> None:
        self.subscribers = subscribers
        self.publisher = publisher
        self.verifier = verifier

    @classmethod
    async def start(cls) -> Crew:
        """Start all processes."""
        first, second, publisher, verifier = await asyncio.gather(*(Worker.start() for _ in range(4)))
        return cls((first, second), publisher, verifier)

    def split(self, streams: int) -> list[int]:
        """Return how many streams each subscribing process takes."""
        return [streams] if streams == 1 else [streams - streams // 2, streams // 2]

    async def aclose(self) -> None:
        """End all processes."""
        for worker in (*self.subscribers, self.publisher, self.verifier):
            await worker.aclose()


def _run(worker: Worker, operation: Operation) -> Running:
    return worker.run(operation.name, **operation.arguments)


@dataclass(frozen=True, slots=True)
class Throughput:
    """A load from its first byte to the last delivery."""

    seconds: float
    records: int
    statements: int
    streams: int
    messages: int
    #: Processor time of the server per second.
    server_cpu: float
    #: Seconds by which the verifying client ended after the last stream that only counts; None where there is none.
    verifier_behind_s: float | None = None

    @property
    def deliveries_per_s(self) -> float:
        """Records delivered per second, all streams together."""
        return self.records * self.streams / self.seconds

    @property
    def records_per_s(self) -> float:
        """Records published per second."""
        return self.records / self.seconds

    @property
    def statements_per_s(self) -> float:
        """Statements published per second, each delivered to every stream."""
        return self.statements / self.seconds

    @property
    def keeps_up(self) -> bool:
        """Whether the verifying client, where there is one, was as fast as the streams that only count."""
        behind = self.verifier_behind_s
        return behind is None or behind <= _KEEPS_UP_S + self.seconds * _KEEPS_UP_SHARE


async def fan_out(crew: Crew, contender: Contender, streams: int, load: Load) -> Throughput:
    """Publish a load as fast as it goes to so many streams; on the hub one SDK more follows and verifies it all."""
    await contender.fresh()
    entries = contender.entries(load)
    parts = contender.subscribers(crew.split(streams), entries, load, latency=False)
    following = [_run(worker, part) for worker, part in zip(crew.subscribers, parts, strict=False)]
    verifying = _run(crew.verifier, contender.verify(UK, entries)) if isinstance(contender, Hub) else None
    publisher = contender.publisher(load)
    publishing = _run(crew.publisher, publisher) if publisher is not None else None
    running = [*following, *([publishing] if publishing else []), *([verifying] if verifying else [])]
    for one in running:
        await one.ready()
    before, cpu = time.monotonic(), cpu_seconds(contender.pid)
    for one in running:
        one.go()
    seen = await asyncio.gather(*(one.done(DEADLINE_S) for one in following))
    used = (cpu_seconds(contender.pid) - cpu) / (time.monotonic() - before)
    sent = await publishing.done(DEADLINE_S) if publishing else None
    started = sent["started_ns"] if sent else min(one["started_ns"] for one in seen)
    last = max(one["last_ns"] for one in seen)
    behind = ((await verifying.done(DEADLINE_S))["last_ns"] - last) / 1e9 if verifying else None
    messages = sum(one["messages"] for one in seen)
    return Throughput((last - started) / 1e9, load.records, load.statements, streams, messages, used, behind)


async def publish_only(crew: Crew, hub: Hub, load: Load, origin: str = UK) -> Throughput:
    """Publish a load with nobody listening, until the last receipt."""
    running = _run(crew.publisher, hub.publisher(load, origin))
    await running.ready()
    before, cpu = time.monotonic(), cpu_seconds(hub.pid)
    running.go()
    sent = await running.done(DEADLINE_S)
    used = (cpu_seconds(hub.pid) - cpu) / (time.monotonic() - before)
    return Throughput((sent["acked_ns"] - sent["started_ns"]) / 1e9, load.records, load.statements, 1, 0, used)


@dataclass(frozen=True, slots=True)
class Latency:
    """From the moment a signal was due to be sent until a stream had it; by windows of ten seconds, and in all."""

    windows: tuple[Histogram, ...]
    server_cpu: float
    #: (seconds since the start, bytes of the server's own memory), once a second.
    memory: tuple[tuple[float, int], ...] = ()
    verifier: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> Histogram:
        """All windows together."""
        return Histogram.merged(self.windows)


async def steady(crew: Crew, contender: Contender, streams: int, rate: float, seconds: float) -> Latency:
    """Publish single signals at a fixed rate, open loop, to so many streams."""
    await contender.fresh()
    load = Load(int(rate * seconds), 1)
    parts = contender.subscribers(crew.split(streams), load.records, load, latency=True)
    following = [_run(worker, part) for worker, part in zip(crew.subscribers, parts, strict=False)]
    verifying = _run(crew.verifier, contender.verify(UK, load.records)) if isinstance(contender, Hub) else None
    publishing = _run(crew.publisher, contender.steady(rate, seconds))
    for one in (*following, publishing, *([verifying] if verifying else [])):
        await one.ready()
    before, cpu = time.monotonic(), cpu_seconds(contender.pid)
    watch = MemoryWatch(contender.pid)
    publishing.go()
    sent = await publishing.done(DEADLINE_S)
    used, memory = (cpu_seconds(contender.pid) - cpu) / (time.monotonic() - before), watch.stop()
    for one in following:
        one.go(started_ns=sent["started_ns"], period_ns=sent["period_ns"])
    seen = await asyncio.gather(*(one.done(DEADLINE_S) for one in following))
    verified = await verifying.done(DEADLINE_S) if verifying else {}
    by_process = [[Histogram.from_json(window) for window in one["windows"]] for one in seen]
    windows = tuple(Histogram.merged(parts) for parts in zip(*by_process, strict=True))
    return Latency(windows, used, memory, verified)


async def catch_up(crew: Crew, hub: Hub, cursor: int, entries: int, *, processes: int) -> tuple[float, float]:
    """Return the seconds that one raw stream and one verifying SDK each take for so many entries of the past."""
    raw = _run(crew.subscribers[0], hub.follow(ARCHIVE, 1, cursor, entries))
    found = await raw.done(DEADLINE_S)
    verifying = _run(crew.verifier, hub.verify(ARCHIVE, entries, cursor=cursor, processes=processes))
    verified = await verifying.done(DEADLINE_S)
    return (found["last_ns"] - found["opened_ns"]) / 1e9, (verified["last_ns"] - verified["first_ns"]) / 1e9


async def ping(crew: Crew, ceiling: GrpcCeiling, rate: float, seconds: float) -> Latency:
    """Return the latency of one unary call at a time on the bare server."""
    running = _run(crew.publisher, ceiling.steady(rate, seconds))
    await running.ready()
    running.go()
    found = await running.done(DEADLINE_S)
    return Latency(tuple(Histogram.from_json(window) for window in found["windows"]), 0.0)


class MemoryWatch:
    """Samples a process's memory once a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._started = time.monotonic()
        self.samples: list[tuple[float, int]] = []
        self._task = asyncio.create_task(self._sample())

    async def _sample(self) -> None:
        while True:
            self.samples.append((time.monotonic() - self._started, rss_bytes(self._pid)))
            await asyncio.sleep(_SAMPLE_S)

    def stop(self) -> tuple[tuple[float, int], ...]:
        """Return all samples."""
        self._task.cancel()
        return tuple(self.samples)

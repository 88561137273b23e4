"""The whole benchmark, interleaved: within a repetition every contender gets the same work, one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from tests.bench.contenders.contender import Contender
from tests.bench.contenders.grpc_ceiling import GrpcCeiling
from tests.bench.contenders.hub import ARCHIVE, Hub
from tests.bench.contenders.nats_jetstream import NatsJetStream
from tests.bench.contenders.redis_streams import RedisStreams
from tests.bench.contenders.stored_hub import StoredHub
from tests.bench.figures import Figures, number
from tests.bench.measuring import Crew, Latency, Throughput, catch_up, fan_out, ping, publish_only, steady
from tests.bench.plan import FILLING_S, PING_RATE, RATE, Plan
from tests.bench.workload import Load

#: The first seconds of a steady load warm everything up: memory is judged after them.
_WARM_SHARE = 0.25


class Suite:
    """One run of the benchmark."""

    def __init__(self, plan: Plan, figures: Figures) -> None:
        self._plan = plan
        self._figures = figures
        self._hub = Hub()
        #: The hub with its logs in Redis: alone, and two that share the store.
        self._stored = (StoredHub(), StoredHub(hubs=2))
        self._redis = RedisStreams()
        self._redis_packed = RedisStreams(per_entry=100)
        self._ceiling = GrpcCeiling()
        self._nats = NatsJetStream() if NatsJetStream.available() else None
        self._crew: Crew
        self._started = time.monotonic()

    @property
    def _contenders(self) -> Sequence[Contender]:
        every: tuple[Contender, ...] = (self._hub, *self._stored, self._redis, self._redis_packed, self._ceiling)
        return every if self._nats is None else (*every, self._nats)

    async def run(self, folder: Path) -> None:
        """Start everyone, measure everything, stop everyone."""
        if self._nats is None:
            self._figures.say("no nats-server on PATH: NATS JetStream is left out")
        self._crew = await Crew.start()
        try:
            for contender in self._contenders:
                await contender.start(folder / contender.name)
                self._figures.about[contender.name] = contender.about
            for repetition in range(self._plan.repetitions):
                self._progress(f"repetition {repetition + 1} of {self._plan.repetitions}")
                await self._repetition()
            await self._steady()
            await self._catch_up()
        finally:
            await self._crew.aclose()
            for contender in self._contenders:
                await contender.aclose()

    def _progress(self, what: str) -> None:
        print(f"[{time.monotonic() - self._started:6.0f} s] {what}", flush=True)

    async def _repetition(self) -> None:
        for streams in self._plan.streams:
            for batch in self._plan.batches:
                await self._fan_out(streams, batch)
        for batch in self._plan.batches:
            await self._publish(batch)

    async def _fan_out(self, streams: int, batch: int) -> None:
        load = self._plan.load(streams, batch)
        name = f"fanout.n{streams}.b{batch}"
        seen: dict[str, Throughput] = {}
        for contender in self._contenders:
            if contender is self._redis_packed and batch == 1:
                continue
            if contender is self._stored[1] and streams not in self._plan.two_hubs_streams:
                continue
            seen[contender.name] = await fan_out(self._crew, contender, streams, contender.fair(load))
            self._figures.add(f"{name}.{contender.name}.deliveries_per_s", seen[contender.name].deliveries_per_s)
        ours = seen[self._hub.name]
        stored = {each.name for each in self._stored}
        for other, found in seen.items():
            if other != self._hub.name and other not in stored:
                self._figures.ratio(f"{name}.vs_{other}", ours.deliveries_per_s, found.deliveries_per_s)
        self.on_redis(f"n{streams}.b{batch}", {who: found.deliveries_per_s for who, found in seen.items()})
        self._figures.add(f"{name}.hub.cpu", ours.server_cpu)
        self._figures.add(f"{name}.hub.records_per_message", ours.records * streams / ours.messages)
        if not ours.keeps_up:
            self._figures.say(f"{name}: the verifying client ended {ours.verifier_behind_s:.1f} s late")
        if batch == 1:
            self._figures.add(f"singles.n{streams}.per_s", ours.statements_per_s)
        rates = ", ".join(f"{other} {number(found.deliveries_per_s)}" for other, found in seen.items())
        self._progress(f"{name}: deliveries/s: {rates}")

    def on_redis(self, cell: str, seen: Mapping[str, float]) -> None:
        """Note what the hub on Redis is beside the hub on files, and beside plain Redis Streams; and two beside one."""
        one, two = (each.name for each in self._stored)
        for start, who in (("redis", one), ("redis.hubs2", two)):
            if who in seen:
                self._figures.ratio(f"{start}.{cell}.vs_sqlite", seen[who], seen[self._hub.name])
                self._figures.ratio(f"{start}.{cell}.vs_redis_always", seen[who], seen[self._redis.name])
        if two in seen:
            self._figures.ratio(f"redis.hubs2.{cell}.vs_one_hub", seen[two], seen[one])

    async def _publish(self, batch: int) -> None:
        """Publish with nobody listening, on files and on Redis; there the server's memory is looked at too."""
        load, (stored, _) = self._plan.load(0, batch), self._stored
        found = await publish_only(self._crew, self._hub, load)
        self._figures.add(f"publish.b{batch}.records_per_s", found.records_per_s)
        before = await stored.memory()
        there = await publish_only(self._crew, stored, load)
        grown = await stored.memory() - before
        self._figures.add(f"redis.publish.b{batch}.records_per_s", there.records_per_s)
        self._figures.ratio(f"redis.publish.b{batch}.vs_sqlite", there.records_per_s, found.records_per_s)
        self._figures.add(f"redis.memory.b{batch}.bytes_per_signal", grown / load.records)
        self._progress(
            f"publish b{batch}: {number(found.records_per_s)} records/s, on Redis {number(there.records_per_s)}"
        )

    async def _steady(self) -> None:
        plan, figures = self._plan, self._figures
        self._progress(f"filling the hub's memory with {number(plan.steady_after)} single statements")
        await publish_only(self._crew, self._hub, Load(plan.steady_after, 1))
        for streams in plan.steady_streams:
            pinged = await ping(self._crew, self._ceiling, PING_RATE, min(plan.steady_s, 20.0))
            most = streams == max(plan.steady_streams)
            turns: tuple[tuple[Contender, float], ...] = (
                (self._hub, plan.longest_s if most else plan.steady_s),
                (self._stored[0], plan.steady_on_redis_s),
                (self._redis, min(plan.steady_s, 20.0)),
            )
            for contender, seconds in turns:
                if not seconds:
                    continue
                name = f"latency.n{streams}.r{RATE:.0f}" + ("" if contender is self._hub else f".{contender.name}")
                found = await steady(self._crew, contender, streams, RATE, seconds)
                for percent in (50, 99):
                    figures.add(f"{name}.p{percent}_ms", found.whole.percentile_ms(percent))
                figures.add(f"{name}.p999_ms", found.whole.percentile_ms(99.9))
                if contender is self._hub:
                    self._hub_latency(name, streams, found, pinged)
                self._progress(
                    f"{name}: p50 {found.whole.percentile_ms(50):.1f} p99 {found.whole.percentile_ms(99):.1f} ms, "
                    f"by 10 s: {' '.join(f'{window.percentile_ms(99):.0f}' for window in found.windows)}, "
                    f"server cpu {found.server_cpu:.2f}"
                )

    def _hub_latency(self, name: str, streams: int, found: Latency, pinged: Latency) -> None:
        figures, windows = self._figures, found.windows
        figures.ratio(f"{name}.vs_grpc_ping_p99", found.whole.percentile_ms(99), pinged.whole.percentile_ms(99))
        figures.add(f"{name}.hub_cpu", found.server_cpu)
        # Growth is judged by medians of medians, which one stall of the machine does not move.
        third = max(1, len(windows) // 3)
        first, last = (median(w.percentile_ms(50) for w in part) for part in (windows[:third], windows[-third:]))
        figures.ratio(f"{name}.growth", last, first)
        figures.add(f"{name}.sdk_last_lag_p50_ms", found.verifier["last_lag_p50_ms"])
        figures.series[f"{name}.p99_by_10s"] = [
            [10.0 * at, window.percentile_ms(50), window.percentile_ms(99)] for at, window in enumerate(windows)
        ]
        figures.series[f"{name}.rss"] = [[at, float(size)] for at, size in found.memory]
        if streams == max(self._plan.steady_streams):
            figures.add("rss.slope_bytes_per_s", slope(found.memory))

    async def _catch_up(self) -> None:
        plan, figures = self._plan, self._figures
        batched = Load(plan.catchup_records, 1000)
        self._progress(f"filling a log with {number(batched.records)} records for catch-up")
        await publish_only(self._crew, self._hub, batched, ARCHIVE)
        raw, verified = await catch_up(self._crew, self._hub, 0, batched.statements, processes=0)
        figures.add("catchup.raw_per_s", batched.records / raw)
        figures.add("catchup.verified_per_s", batched.records / verified)
        self._progress(
            f"catch-up: raw {number(batched.records / raw)}, verified {number(batched.records / verified)} records/s"
        )
        singles = Load(plan.catchup_singles, 1)
        await publish_only(self._crew, self._hub, singles, ARCHIVE)
        raw, verified = await catch_up(self._crew, self._hub, batched.statements, singles.statements, processes=1)
        figures.add("catchup.singles_raw_per_s", singles.records / raw)
        figures.add("catchup.singles_verified_per_s", singles.records / verified)
        self._progress(
            f"single statements: raw {number(singles.records / raw)}, verified {number(singles.records / verified)}/s"
        )


def slope(memory: Sequence[tuple[float, int]], filling: int = FILLING_S) -> float:
    """Return how many bytes a second memory grows by, after the warming up: from one stretch's median to the next's.

    ``memory`` has a sample a second. A stretch is as long as the newest signals take to fill up and be let go again:
    that is no growth, and a shorter one would be of another part of it. A median is not moved by the seconds in which
    they are sorted.
    """
    points = memory[int(len(memory) * _WARM_SHARE) :]
    length = min(len(points) // 2, filling)
    if not length:
        return 0.0
    first, second = points[-2 * length : -length], points[-length:]
    grown = median(size for _, size in second) - median(size for _, size in first)
    return grown / (second[0][0] - first[0][0])

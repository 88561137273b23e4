"""How much is measured: the whole benchmark, and the two-minute form of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from exchange.stores.facts_sayings import MOST_NEWEST
from tests.bench.workload import Load

#: Single signals a second in every measurement of latency.
RATE = 1000.0
PING_RATE = 200.0
#: Seconds in which a hub's newest signals by id fill up at that rate, are sorted in and let go.
FILLING_S = round(MOST_NEWEST / RATE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and how often."""

    name: str
    repetitions: int
    streams: tuple[int, ...]
    #: Records in a statement, and how many records travel to one, ten and fifty streams.
    batches: tuple[int, ...]
    #: Where two hubs on one store are measured too.
    two_hubs_streams: tuple[int, ...]
    #: A run's size is this share of the full one.
    share: float
    steady_s: float
    steady_streams: tuple[int, ...]
    #: The same to the most streams: so long that the newest signals by id fill up twice over once it is warmed up.
    longest_s: float
    #: The same on Redis; 0: not at all.
    steady_on_redis_s: float
    #: Single statements before that, so that every bounded memory is as full as it gets.
    steady_after: int
    #: Records that a client catches up on, in statements of 1000, and as single statements.
    catchup_records: int
    catchup_singles: int
    #: Hashes in the SDK's index, and how many queries of each kind it is asked.
    matching: tuple[int, ...]
    queries: int

    def load(self, streams: int, per_statement: int) -> Load:
        """Return a load that takes a few seconds."""
        most = {1: 12_000, 100: 120_000, 1000: 240_000}[per_statement]
        fewer = 2 if streams >= 50 and per_statement > 1 else 1
        records = int(most * self.share / fewer)
        return Load(max(per_statement, records - records % per_statement), per_statement)

    def but(self, *, repetitions: int) -> Plan:
        """Return the plan with other repetitions."""
        return replace(self, repetitions=repetitions)


FULL = Plan(
    name="full",
    repetitions=3,
    streams=(1, 10, 50),
    batches=(1, 100, 1000),
    two_hubs_streams=(1, 10, 50),
    share=1.0,
    steady_s=60.0,
    steady_streams=(1, 10, 50),
    longest_s=360.0,
    steady_on_redis_s=20.0,
    steady_after=80_000,
    catchup_records=1_000_000,
    catchup_singles=100_000,
    matching=(100_000, 1_000_000),
    queries=300,
)
QUICK = Plan(
    name="quick",
    repetitions=1,
    streams=(1, 50),
    batches=(1, 100, 1000),
    two_hubs_streams=(50,),
    share=0.4,
    steady_s=12.0,
    steady_streams=(50,),
    longest_s=12.0,
    steady_on_redis_s=0.0,
    steady_after=4_000,
    catchup_records=200_000,
    catchup_singles=10_000,
    matching=(100_000,),
    queries=100,
)

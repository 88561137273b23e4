"""The page docs/scale.md: what a large exchange would take, worked out from what was measured.

Written by ``python -m tests.bench.scale`` from docs/bench.json and docs/growth.json; a test makes it again and compares.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from tests.bench.figures import number

DOCS = Path(__file__).parents[2] / "docs"
#: In Redis beside an entry's own bytes, and how many those are for one record of PDQ (docs/redis.md): taken while a run
#: in docs/bench.json has not measured it.
REDIS_OVERHEAD, REDIS_ENTRY = 250, 334
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is to be carried."""

    platforms: int = 100
    communities: int = 1_000
    members: int = 10
    peak_per_s: int = 10_000
    #: Of the peak, on average.
    mean_share: float = 0.1
    #: Of all signals, those in statements of their own; the others come a hundred together.
    singles_share: float = 0.5
    days: int = 90
    #: Of what a hub can do, what is asked of it at the peak.
    load: float = 0.5


_EXCHANGE = Exchange()


def _medians(path: Path) -> dict[str, float]:
    figures: dict[str, Any] = json.loads(path.read_text())["figures"]
    return {name: each["median"] for name, each in figures.items()}


@dataclass(frozen=True, slots=True)
class _Redis:
    """What a signal takes in Redis, on average, and how the page says so."""

    mean: float
    which: str
    each: str
    arithmetic: str


def _redis(bench: dict[str, float], plan: Exchange) -> _Redis:
    single, packed = (bench.get(f"redis.memory.b{batch}.bytes_per_signal") for batch in (1, 100))
    if single is None or packed is None:
        entries = plan.singles_share + (1 - plan.singles_share) / 100
        return _Redis(
            entries * REDIS_OVERHEAD + REDIS_ENTRY,
            "alone in its statement",
            f"{REDIS_ENTRY + REDIS_OVERHEAD}",
            f"entries x {REDIS_OVERHEAD} + records x {REDIS_ENTRY} bytes",
        )
    mean = plan.singles_share * single + (1 - plan.singles_share) * packed
    return _Redis(
        mean,
        "alone in its statement, and one of a hundred",
        f"{number(single)} and {number(packed)}",
        f"{plan.peak_per_s * plan.mean_share:,.0f} signals/s on average x {mean:,.0f} bytes",
    )


def page(bench: dict[str, float], growth: dict[str, float], plan: Exchange = _EXCHANGE) -> str:
    """Return the page."""
    singles, packed = bench["singles.n10.per_s"], bench["publish.b100.records_per_s"]
    single_bytes, packed_bytes = growth["singles.1000000.bytes_per_signal"], growth["packed.1000000.bytes_per_signal"]
    per_stream = (growth["subscribers.200.rss_steady"] - growth["subscribers.1.rss_steady"]) / 199
    per_community = (growth["communities.100.rss_idle"] - growth["communities.1.rss_idle"]) / 99
    peak_singles, peak_packed = plan.peak_per_s * plan.singles_share, plan.peak_per_s * (1 - plan.singles_share)
    busy = peak_singles / singles + peak_packed / packed
    hubs = ceil(busy / plan.load)
    streams = plan.communities * plan.members
    memory = growth["communities.1.rss_after"] + per_community * plan.communities / hubs + per_stream * streams / hubs
    mean_bytes = plan.singles_share * single_bytes + (1 - plan.singles_share) * packed_bytes
    wire = plan.peak_per_s * plan.members * mean_bytes * 8 / 1e6
    mean = plan.peak_per_s * plan.mean_share
    disk_day = mean * _DAY_S * mean_bytes
    redis = _redis(bench, plan)
    hot = mean * _DAY_S * plan.days * redis.mean
    return f"""\
# Scale, on paper

<!-- Written by `python -m tests.bench.scale` from the figures in bench.json and growth.json. -->

What a large exchange would take, worked out from what was measured on two cores that hub and clients share
([measured](bench.md), [growth](growth.md), [Redis](redis.md)). Nobody has run it at that size: this is arithmetic.

## What one of each carries

| one | carries | as measured |
| --- | --- | --- |
| hub (one core, and a process beside it for signatures) | statements of one signal to 10 subscribers, a second | {number(singles)} |
| hub | signals in statements of 100, published a second | {number(packed)} |
| hub | memory for each stream, and for each community | {per_stream / 1e3:,.0f} kB, {per_community / 1e3:,.0f} kB |
| community | the same as a hub: its log has one order, so it is committed in one place at a time | |
| signal on disk | alone in its statement, and one of a thousand | {number(single_bytes)} and {number(packed_bytes)} bytes |
| signal in Redis, above the floor | {redis.which} | {redis.each} bytes |

So a community is the unit of scale: a busy one gets a hub of its own, and quiet ones share one. What one community cannot
exceed is what one hub commits.

## {plan.platforms} platforms, {plan.communities:,} communities, {plan.peak_per_s:,} signals a second

Assumed: {plan.members} members in a community; {plan.peak_per_s:,} signals a second is the peak, a tenth of it the mean; half of all signals
come one by one, the others a hundred to a statement; records live {plan.days} days; a hub is asked for half of what it can do.

| what | arithmetic | result |
| --- | --- | --- |
| cores of hubs at the peak | {peak_singles:,.0f} / {number(singles)} + {peak_packed:,.0f} / {number(packed)} | {busy:.1f} |
| hubs, at half of that | | {hubs} |
| streams | {plan.communities:,} communities x {plan.members} members | {streams:,} |
| memory of each hub | base + its part of communities and streams | {memory / 1e6:,.0f} MB |
| network out, all hubs, at the peak | {plan.peak_per_s:,} x {plan.members} receivers x {mean_bytes:,.0f} bytes | {wire:,.0f} Mbit/s |
| disk a day | {mean:,.0f} signals/s on average x {mean_bytes:,.0f} bytes | {disk_day / 1e9:,.0f} GB |
| disk for {plan.days} days | | {disk_day * plan.days / 1e12:,.1f} TB |
| memory of Redis for {plan.days} days, a copy | {redis.arithmetic} | {hot / 1e12:,.1f} TB |

{_what_that_says(plan, hubs, streams, disk_day, packed / singles)}"""


def _what_that_says(plan: Exchange, hubs: int, streams: int, disk_day: float, packing: float) -> str:
    """Return what follows from the figures."""
    return f"""\
What that says:

- **Processors are not what runs out.** {hubs} hubs with two cores each carry the peak. Each serves about {plan.communities // hubs} communities,
  and holds about {streams // hubs:,} streams.
- **Redis is for what several hubs must share, not for months of signals.** Lower the communities' retention, so that the floor
  rises and only leaves remain in files; or let communities that one hub can carry lie in files, with `exchange backup`
  for the loss of the machine. With the embedded store the same {plan.days} days are {disk_day * plan.days / hubs / 1e12:,.1f} TB a hub.
- **Packing is worth more than hardware.** A signal that travels with 99 others costs the hub {packing:,.0f} times less than one alone: let
  pipelines linger for some milliseconds.
- **Communities are dealt out, not balanced.** They are independent logs: each hub serves those that lie in its store.

## Where it ends

One community with more statements a second than one hub commits. Its members can be given two communities, by label or by
country; a log with several writers at once would not have one order, and one order is what every guarantee here rests on.
"""


def made() -> str:
    """Return the page of the figures in docs."""
    return page(_medians(DOCS / "bench.json"), _medians(DOCS / "growth.json"))


if __name__ == "__main__":
    (DOCS / "scale.md").write_text(made())

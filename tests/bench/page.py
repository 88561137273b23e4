"""The page docs/bench.md, made from the figures of one full run (docs/bench.json)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.figures import number

_FAN_OUT = ("hub", "redis_always", "redis_always_x100", "nats_jetstream", "grpc_ceiling")
_TITLES = {
    "hub": "this hub",
    "redis_hub": "this hub on Redis",
    "redis_hubs2": "two hubs on Redis",
    "redis_always": "Redis always",
    "redis_always_x100": "the same, 100 an entry",
    "nats_jetstream": "NATS JetStream",
    "grpc_ceiling": "bare gRPC",
}

#: Where the README has its figures.
_HEADLINE, _END = "<!-- written by make bench -->", "<!-- until here -->"
_REDIS = (
    "Redis Streams stands here twice, both times with `appendfsync always`: with one entry per signal, which is what\n"
    "`vs_redis_always` and `vs Redis` compare with, and beside it with 100 signals in one entry (`x100`), which is several\n"
    "times as fast. Neither signs, checks or proves anything."
)
_RATES = (
    "Signals delivered a second, all subscribers together; `vs Redis` is this hub over Redis Streams with one entry per\n"
    "signal, `vs Redis x100` the same over Redis Streams with 100 signals in one entry."
)
_ON_REDIS = (
    "The same work for this hub with its logs in a server of Redis's protocol, which writes every command to disk before it\n"
    "answers: `vs_sqlite` over this hub with its logs in files, `vs_redis_always` over plain Redis Streams with one entry per\n"
    "signal. Two hubs share a store of their own; statements go to the first, half of the subscribers are at each, and one\n"
    "alone is at the second. Hubs, server and clients share the cores: what a second machine would add is not in this.\n"
    "`memory` is what the server's memory grew by, above the floor."
)
_NAMES = (
    "`nN` is the number of subscribers, `bB` of signals in a statement, `rR` of single statements a second. `growth` is the\n"
    "median latency of the last third of a run over that of its first third, each the median of those of its windows of ten\n"
    "seconds: 1 means that it does not grow as the run goes on. `hub_cpu` is the hub's part of one core; `vs_grpc_ping_p99`\n"
    "the p99 over that of a bare gRPC call, one at a time; `sdk_last_lag_p50_ms` the median lag of the last entries at a\n"
    "subscriber that verifies everything; `slope` the growth of the hub's memory, behind the first quarter of the run, from\n"
    "the median of one stretch to that of the next: each is as long as the newest signals by id take to fill up, be sorted\n"
    "in and let go."
)

_MATCHING = (
    "The SDK's index of PDQ hashes, `n100k` of them or `n1m`; `vs_pytx` is how many times faster than python-threatexchange's\n"
    "it is, or by how many times smaller. docs/matching.md tells how it works."
)


def page(found: dict[str, Any], plots: Sequence[Path]) -> str:
    """Return the page. ``found`` is what `Figures.to_json` returns; ``plots`` are file names in docs/plots."""
    machine = found["machine"]
    times = max((len(figure["samples"]) for figure in found["figures"].values()), default=1)
    intro = (
        f"One run of `make bench`, of {times} repetition{'' if times == 1 else 's'}, on {machine['cores']} cores ({machine['processor']}), Python {machine['python']}, "
        "server and all clients on the same machine. Contenders get the same kind of work, one after the other within a "
        "repetition, and those that are quick at it get more of it, so that every run takes a while; a ratio compares "
        "two rates of the same repetition. Absolute figures are this machine's; ratios travel better. Figures of "
        "fan-out and publishing are medians, with the range of all repetitions; those of latency, memory and catching "
        "up come from one run each, after the repetitions."
    )
    parts = [
        "# Measured",
        "<!-- Written by `make bench` from the figures in bench.json. -->",
        _REDIS,
        textwrap.fill(intro, 120, break_long_words=False, break_on_hyphens=False),
        "## Who took part",
        _table(("contender", "what it is"), [(_TITLES.get(k, k), v) for k, v in found["about"].items()]),
        *(["What this machine lacked: " + " ".join(found["said"])] if found["said"] else []),
        "## What is asked of the hub",
        _demands(found["gates"], "gate"),
        _demands(found["targets"], "target"),
        "## Fan-out",
        _RATES,
        _fan_out(found["figures"]),
        *_on_redis(found["figures"]),
        "## Publishing, latency, catching up",
        _NAMES,
        _figures(found["figures"], ("publish.", "singles.", "latency.", "catchup.", "rss.")),
        *_matching(found),
        "## What costs what",
        "Microseconds for one statement of so many signals, each step alone and warm, the best of a few rounds.",
        _costs(found["costs"]),
        *(f"![{path.stem}](plots/{path.name})" for path in plots),
    ]
    return "\n\n".join(parts) + "\n"


def headline(found: dict[str, Any]) -> str:
    """Return the few figures that the README has, as a table."""
    of = {name: figure["median"] for name, figure in found["figures"].items()}
    most, ratio = of["fanout.n50.b1000.hub.deliveries_per_s"], of["fanout.n50.b1000.vs_redis_always"]
    middle, late = (f"{of[f'latency.n50.r1000.{name}_ms']:.0f} ms" for name in ("p50", "p99"))
    rows = (
        (
            "delivered to 50 subscribers, in statements of 1,000",
            f"{number(most)} signals a second: {number(ratio)} times Redis Streams of one signal an entry, as durable",
        ),
        ("published, in statements of 1,000", f"{number(of['publish.b1000.records_per_s'])} signals a second"),
        ("single signals, each delivered to 50 subscribers", f"{number(of['singles.n50.per_s'])} a second"),
        ("delay of single signals, 1,000 a second to 50 subscribers", f"{middle} in the middle, p99 {late}"),
        ("a client that catches up, everything verified", f"{number(of['catchup.verified_per_s'])} signals a second"),
    )
    return _table(("", f"{found['machine']['cores']} cores for the hub and all of its clients"), rows)


def with_headline(readme: str, found: dict[str, Any]) -> str:
    """Return the README with these figures between its two marks."""
    before, mark, rest = readme.partition(_HEADLINE)
    _, end, after = rest.partition(_END)
    if not (mark and end):
        raise ValueError(f"there is no place for figures: nothing between {_HEADLINE} and {_END}")
    return f"{before}{mark}\n{headline(found)}\n{end}{after}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _demands(rows: Sequence[dict[str, Any]], what: str) -> str:
    def line(row: dict[str, Any]) -> tuple[str, str, str, str]:
        verdict = "not measured" if row["holds"] is None else "holds" if row["holds"] else "**missed**"
        return f"`{row['figure']}`", row["wanted"], "-" if row["median"] is None else number(row["median"]), verdict

    return _table((what, "asked", "median", ""), map(line, rows))


def _spread(figure: dict[str, Any]) -> str:
    if len(figure["samples"]) == 1:
        return number(figure["median"])
    return f"{number(figure['median'])} ({number(figure['min'])} to {number(figure['max'])})"


def _fan_out(figures: dict[str, Any]) -> str:
    cells = sorted({tuple(name.split(".")[1:3]) for name in figures if name.startswith("fanout.")}, key=_by_number)
    rows = []
    for streams, batch in cells:
        start = f"fanout.{streams}.{batch}"
        rates = [figures.get(f"{start}.{who}.deliveries_per_s") for who in _FAN_OUT]
        ratios = [figures.get(f"{start}.vs_{who}") for who in ("redis_always", "redis_always_x100", "grpc_ceiling")]
        cells_ = ["-" if rate is None else number(rate["median"]) for rate in rates]
        rows.append((streams[1:], batch[1:], *cells_, *("-" if each is None else _spread(each) for each in ratios)))
    head = (
        "subscribers",
        "signals a statement",
        *(_TITLES[who] for who in _FAN_OUT),
        "vs Redis",
        "vs Redis x100",
        "vs bare gRPC",
    )
    return _table(head, rows)


def _on_redis(figures: dict[str, Any]) -> list[str]:
    cells = sorted({tuple(name.split(".")[1:3]) for name in figures if name.startswith("redis.n")}, key=_by_number)
    if not cells:
        return []
    rows = []
    for streams, batch in cells:
        cell = f"{streams}.{batch}"
        rates = [figures.get(f"fanout.{cell}.{who}.deliveries_per_s") for who in ("redis_hub", "redis_hubs2")]
        names = (
            "redis.{}.vs_sqlite",
            "redis.{}.vs_redis_always",
            "redis.hubs2.{}.vs_sqlite",
            "redis.hubs2.{}.vs_one_hub",
        )
        ratios = [figures.get(name.format(cell)) for name in names]
        cells_ = ["-" if rate is None else number(rate["median"]) for rate in rates]
        rows.append((streams[1:], batch[1:], *cells_, *("-" if each is None else _spread(each) for each in ratios)))
    head = (
        "subscribers",
        "signals a statement",
        "one hub",
        "two hubs",
        "one vs files",
        "one vs Redis Streams",
        "two vs files",
        "two vs one",
    )
    return ["## On Redis", _ON_REDIS, _table(head, rows), _figures(figures, ("redis.publish.", "redis.memory."))]


def _matching(found: dict[str, Any]) -> list[str]:
    rows = [row for row in found.get("matching", ()) if row["median"] is not None]
    return ["## Matching photographs", _MATCHING, _demands(rows, "goal")] if rows else []


def _costs(costs: dict[str, dict[str, float]]) -> str:
    sizes = list(costs)
    steps = list(costs[sizes[0]])
    head = ("step", *(f"of {size}" for size in sizes))
    return _table(head, [(step, *(number(costs[size][step]) for size in sizes)) for step in steps])


def _by_number(cell: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(int(part[1:]) for part in cell)


def _figures(figures: dict[str, Any], prefixes: Sequence[str]) -> str:
    rows = [(f"`{name}`", _spread(figure)) for name, figure in figures.items() if name.startswith(tuple(prefixes))]
    return _table(("figure", "median (range)"), rows)

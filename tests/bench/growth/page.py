"""The page docs/growth.md, made from the figures of one full run (docs/growth.json)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from tests.bench.figures import number

_INTRO = """\
# Cost as work grows

<!-- Written by `make bench-growth` from the figures in growth.json. -->

One run of `make bench-growth`, part by part, on {cores} cores ({processor}), Python {python}: a hub in a process
of its own with mutual TLS and everything on, and all its clients on the same machine. Each figure is the median of {repetitions}
repetitions or more, but for what is taken once at each point:
{single}.
Latency is from the moment a signal was due to be sent until a subscriber had it, at 200 single signals a second. Memory is what is the hub's own (RssAnon), while it serves that load.
Ledgers are filled while the hub is down, with the bytes that a hub would have written; what is measured goes through
the hub."""

_JUDGED = """\
## What must stay constant

The last point of an axis over the first. Where processor time is given it is what the hub itself uses, whatever else
the machine does meanwhile."""

_LEDGER = """\
## The ledger

Ten subscribers. `packed` ledgers hold statements of 1,000 signals, `singles` hold statements of one: what the hub keeps
per entry grows a thousand times faster there.

- **Start** reads the head, the right edge of the tree and one proof: a few rows and tiles, at most 256 hashes a level.
  The ledger is not replayed. The directory's fold comes from a snapshot
  ([why](adr/0009-a-snapshot-of-a-fold-is-signed-and-checked.md)).
- **The fold** of life and lag lies on disk with its place in the log, so a start reads only what came since. Made anew,
  where it is missing or of another tree, it reads every statement, in a process beside the hub
  ([why](adr/0026-a-long-log-is-taken-in-by-a-process-beside-the-hub.md)): a million of one signal in about a minute.
- **Memory** is bounded in bytes: newest entries, ring, and SQLite's pages, of which a long and busy community's two
  writing connections come to hold 32 MiB, and all five 80 MiB at most.
- **A proof** from anywhere takes a few tiles of 256 hashes, in one read: logarithmic, with a base of 256. Whole tiles above the
  leaves' stay in memory, so that it hashes no more in a long ledger than in a short one. A page of entries is one read.
- **Disk per signal** is constant: record, id and its share of leaf, index and hashes. A statement of one signal pays
  for header, signature and row alone.
- **Publishing** pays for the unique index on statement ids, whose places are random: once that index is larger than
  SQLite's page cache, each new statement touches a page of its own. It is the one cost that follows the number of
  *entries* above the floor; archiving by retention bounds it."""

_SUBSCRIBERS = """\
## Subscribers

Each subscriber is a stream on a connection of its own, with its own TLS session: memory for connections follows their
number, and so does the work of a delivery, because every byte is encrypted for each. What is not done per subscriber:
reading, encoding, joining, and policy for those who see the same. So processor time at a fixed rate grows far more
slowly than their number. `statements/s` is publishing alone, with nobody listening:
it does not say what publishing beside them costs."""

_COMMUNITIES = """\
## Communities

Each community is a log of its own: two files with five connections, five threads, a tail. A start opens one after the
other, so its length and the memory behind it follow their number; both are small. What they keep of their newest
entries is bounded for all of them together, by `feed.ring_bytes` and `feed.recent_bytes`; of each, a community has
1 MiB at least. Publishing to one of them takes the same processor time per statement however many others are
quiet; statements a second by the clock do fall, as the table shows. `spread` publishes the same number of statements to
all at once: each log commits groups of its own, so the groups are smaller and the fsyncs more."""

_COLUMNS = {
    "packed": ("start_s", "start_cpu_s", "fold_s", "rss_steady", "bytes_per_signal", "proof_ms", "read_ms", "p50_ms", "p99_ms",
               "statements_per_s", "cpu_us_per_statement", "batched_delivered_per_s"),
    "subscribers": ("rss_steady", "p50_ms", "p99_ms", "cpu", "statements_per_s", "singles_delivered_per_s",
                    "batched_delivered_per_s"),
    "communities": ("start_s", "start_cpu_s", "rss_idle", "rss_after", "p50_ms", "p99_ms", "statements_per_s",
                    "cpu_us_per_statement", "spread_per_s"),
}  # fmt: skip
_COLUMNS["singles"] = _COLUMNS["packed"]
_HEADS = {
    "start_s": "start, s",
    "start_cpu_s": "its processor time, s",
    "fold_s": "fold made anew, s",
    "rss_steady": "memory, MB",
    "rss_idle": "memory at start, MB",
    "rss_after": "memory after all loads, MB",
    "bytes_per_signal": "disk per signal, B",
    "proof_ms": "proof, ms",
    "read_ms": "read, ms",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "cpu": "hub's processor",
    "statements_per_s": "statements/s",
    "cpu_us_per_statement": "processor per statement, us",
    "singles_delivered_per_s": "delivered/s, singles",
    "batched_delivered_per_s": "delivered/s, packed",
    "spread_per_s": "statements/s, spread",
}


def page(found: dict[str, Any], plots: Sequence[str]) -> str:
    """Return the page. ``found`` is what is in growth.json; ``plots`` are file names in docs/plots."""
    figures = found["figures"]
    parts = [
        _INTRO.format(**_repeated(figures), **found["machine"]),
        *(textwrap.fill(said, 120, break_long_words=False, break_on_hyphens=False) for said in found["said"]),
        _JUDGED,
        _judged(found["constant"]),
        _LEDGER,
        _axis(figures, "packed", "signals, in statements of 1,000"),
        _axis(figures, "singles", "signals, in statements of 1"),
        *_pictures(plots, ("start", "memory", "disk", "proof", "latency", "throughput")),
        _SUBSCRIBERS,
        _axis(figures, "subscribers", "subscribers"),
        *_pictures(plots, ("subscribers-latency", "subscribers-memory", "subscribers-throughput")),
        _COMMUNITIES,
        _axis(figures, "communities", "communities"),
        *_pictures(plots, ("communities-start", "communities-memory", "communities-latency", "communities-throughput")),
    ]
    return "\n\n".join(parts) + "\n"


def _repeated(figures: dict[str, Any]) -> dict[str, Any]:
    """Return how often a figure was taken at least, and which only once. What is derived from others was not taken."""
    taken: dict[str, int] = {}
    for name, each in figures.items():
        column = name.rsplit(".", 1)[1]
        if not name.startswith("growth.") and column in _HEADS:
            taken[column] = min(len(each["samples"]), taken.get(column, len(each["samples"])))
    single = [head.split(",")[0] for column, head in _HEADS.items() if taken.get(column) == 1]
    return {"repetitions": min(count for count in taken.values() if count > 1), "single": ", ".join(single)}


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


def _judged(rows: Sequence[dict[str, Any]]) -> str:
    def verdict(row: dict[str, Any]) -> str:
        return "not measured" if row["holds"] is None else "holds" if row["holds"] else "**grows**"

    lines = [
        (f"`{row['figure']}`", row["wanted"], "-" if row["median"] is None else number(row["median"]), verdict(row))
        for row in rows
    ]
    return _table([("figure", "asked", "found", ""), *lines])


def _axis(figures: dict[str, Any], axis: str, along: str) -> str:
    points = sorted({int(name.split(".")[1]) for name in figures if name.startswith(f"{axis}.")})
    columns = _COLUMNS[axis]
    rows = [
        (f"{point:,}", *(_cell(figures.get(f"{axis}.{point}.{column}"), column) for column in columns))
        for point in points
    ]
    return _table([(along, *(_HEADS[column] for column in columns)), *rows])


def _cell(figure: dict[str, Any] | None, column: str) -> str:
    if figure is None:
        return "-"
    return number(figure["median"] / 1e6 if column.startswith("rss_") else figure["median"])


def _pictures(plots: Sequence[str], names: Sequence[str]) -> list[str]:
    return [f"![growth-{name}](plots/growth-{name}.svg)" for name in names if f"growth-{name}.svg" in plots]

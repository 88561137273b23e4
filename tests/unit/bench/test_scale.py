"""docs/scale.md is what its figures make, and its arithmetic is right."""

from __future__ import annotations

import re

from tests.bench.scale import DOCS, made, page


def test_the_page_follows_from_the_figures() -> None:
    assert (DOCS / "scale.md").read_text() == made()


def test_its_arithmetic_by_hand() -> None:
    bench = {"singles.n10.per_s": 1_000.0, "publish.b100.records_per_s": 50_000.0}
    growth = {
        "singles.1000000.bytes_per_signal": 700.0,
        "packed.1000000.bytes_per_signal": 300.0,
        "subscribers.1.rss_steady": 50e6,
        "subscribers.200.rss_steady": 50e6 + 199 * 100_000,
        "communities.1.rss_idle": 40e6,
        "communities.100.rss_idle": 40e6 + 99 * 400_000,
        "communities.1.rss_after": 120e6,
    }
    rows = dict(re.findall(r"^\| ([^|]+) \|[^|]*\| ([^|]+) \|$", page(bench, growth), re.MULTILINE))
    assert rows["cores of hubs at the peak"] == "5.1"
    assert rows["hubs, at half of that"] == "11"
    assert rows["streams"] == "10,000"
    assert rows["memory of each hub"] == "247 MB"  # 120 + 1,000 x 0.4 / 11 + 10,000 x 0.1 / 11
    assert rows["network out, all hubs, at the peak"] == "400 Mbit/s"
    assert rows["disk a day"] == "43 GB"
    assert rows["disk for 90 days"] == "3.9 TB"
    assert rows["memory of Redis for 90 days, a copy"] == "3.6 TB"  # 7.776e9 x 0.505 x 250 + 7.776e9 x 334
    bench |= {"redis.memory.b1.bytes_per_signal": 800.0, "redis.memory.b100.bytes_per_signal": 200.0}
    measured = dict(re.findall(r"^\| ([^|]+) \|[^|]*\| ([^|]+) \|$", page(bench, growth), re.MULTILINE))
    assert measured["memory of Redis for 90 days, a copy"] == "3.9 TB"  # 7.776e9 x 500
    assert measured["signal in Redis, above the floor"] == "800 and 200 bytes"
    assert {name for name in rows if rows[name] != measured[name]} == {
        "memory of Redis for 90 days, a copy",
        "signal in Redis, above the floor",
    }

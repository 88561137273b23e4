"""The benchmark's own arithmetic, and that its page says what its figures say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from exchange import codec
from exchange.ledger.ed25519 import SigningKey
from exchange.v1 import statement_pb2 as pb
from tests.bench.arrivals import Arrivals
from tests.bench.figures import GATES, TARGETS, Figures, number, table
from tests.bench.histogram import Histogram
from tests.bench.measuring import Latency
from tests.bench.page import page, with_headline
from tests.bench.plan import FILLING_S, FULL, QUICK
from tests.bench.suite import Suite, slope
from tests.bench.workload import BadFraming, Load, count_entries, draft, repeated, statements
from tests.unit.builders import ALPHA


def test_a_record_has_the_size_that_everyone_is_given() -> None:
    statement = draft("publisher", "bench.example/uk", 3)
    assert {len(record) for record in statement.records} == {217}
    assert ALPHA.member != statement.member


@pytest.mark.parametrize("plan", [FULL, QUICK], ids=lambda plan: plan.name)
def test_loads_are_whole_statements(plan: object) -> None:
    for streams in (0, *plan.streams):  # type: ignore[attr-defined]
        for batch in plan.batches:  # type: ignore[attr-defined]
            load = plan.load(streams, batch)  # type: ignore[attr-defined]
            assert load.records == load.statements * batch > 0


def test_messages_of_a_load_carry_what_the_window_counts() -> None:
    assert Load(1000, 1).signals_per_message == 64
    assert (Load(1000, 100).statements_per_message, Load(5000, 1000).statements_per_message) == (10, 1)


def test_entries_are_counted_and_framing_is_checked() -> None:
    entries = repeated([b"x" * 300, b"", b"y"])
    checkpoint = repeated([b"note"], tag=b"\x12")
    assert count_entries(entries + checkpoint) == 3
    for broken in (entries[:-1], entries + b"\x0a\x05ab", entries + b"\x08\x01"):
        with pytest.raises((BadFraming, IndexError)):
            count_entries(broken)


def test_latency_is_counted_from_when_a_signal_was_due() -> None:
    stream = Arrivals(4)
    stream.counts, stream.times, stream.total = [1, 4], [1_000_000_000, 5_000_000_000], 4
    (window,) = stream.latencies(0, 1e9)
    # Due at 0, 1, 2, 3 s; the last three came together at 5 s: late ones count in full.
    assert window.total == 4
    assert window.percentile_ms(100) == pytest.approx(4_000, rel=0.01)
    assert window.percentile_ms(25) == pytest.approx(1_000, rel=0.01)


def test_more_than_was_sent_is_an_error() -> None:
    with pytest.raises(AssertionError):
        Arrivals(1).add(2)


def test_a_histogram_is_exact_to_one_per_cent_and_merges() -> None:
    values = np.arange(1, 100_001, dtype=np.float64) * 1_000
    whole = Histogram.of(values)
    halves = Histogram.merged([Histogram.of(values[::2]), Histogram.of(values[1::2])])
    assert halves.counts == whole.counts == Histogram.from_json(whole.to_json()).counts
    for percent in (1, 50, 99, 99.9):
        assert whole.percentile_ms(percent) == pytest.approx(percent, rel=0.011)
    assert Histogram().percentile_ms(99) == 0


def test_the_slope_of_memory_is_that_from_one_filling_to_the_next() -> None:
    warming = [(float(at), 100 * at) for at in range(10)]
    flat = [(float(at), 1_000) for at in range(10, 40)]
    assert slope([*warming, *flat]) == pytest.approx(0)
    assert slope([(float(at), 7 * at) for at in range(40)]) == pytest.approx(7)
    assert slope([]) == slope([(0.0, 5)]) == 0


@pytest.mark.parametrize("phase", range(0, FILLING_S, 10))
def test_what_fills_up_and_is_let_go_again_is_no_growth_and_hides_none(phase: int) -> None:
    """As a hub's memory goes: a tooth of 16 MB for each filling, a spike of 60 MB at its end. Wherever it begins."""
    gate = next(demand.bound for demand in GATES if demand.figure == "rss.slope_bytes_per_s")
    teeth = [
        (float(at), 290_000_000 + 120_000 * ((at + phase) % FILLING_S) + 60_000_000 * ((at + phase) % FILLING_S < 3))
        for at in range(int(FULL.longest_s))
    ]
    assert abs(slope(teeth)) < gate / 10
    assert slope([(at, size + int(2 * gate * at)) for at, size in teeth]) == pytest.approx(2 * gate, rel=0.1)


def test_latency_grows_when_most_of_its_windows_do() -> None:
    def grown(*medians_ms: float) -> float:
        figures = Figures()
        windows = tuple(Histogram.of(np.full(9, ms * 1e6)) for ms in medians_ms)
        pinged = Latency((Histogram.of(np.full(9, 1e6)),), 0.0)
        suite = Suite(QUICK, figures)
        suite._hub_latency("latency.n1.r1000", 1, Latency(windows, 0.5, (), {"last_lag_p50_ms": 1}), pinged)
        return figures.median("latency.n1.r1000.growth") or 0.0

    assert grown(*[20.0] * 9) == pytest.approx(1, rel=0.02)
    assert grown(20, 900, 20, *[20.0] * 6) == grown(*[20.0] * 6, 20, 900, 20) == pytest.approx(1, rel=0.02)
    assert grown(*range(20, 110, 10)) == pytest.approx(3, rel=0.02)


def test_demands_are_judged_by_the_median() -> None:
    figures = Figures()
    for value in (1.0, 1.4, 9.0):
        figures.add("fanout.n50.b1000.vs_redis_always", value)
    figures.add("latency.n50.r1000.p99_ms", 61.0)
    judged = {demand.figure: (value, holds) for demand, value, holds in figures.judged(GATES)}
    assert judged["fanout.n50.b1000.vs_redis_always"] == (1.4, True)
    assert judged["latency.n50.r1000.p99_ms"] == (61.0, False)
    assert judged["publish.b1000.records_per_s"] == (None, None)
    text = table(figures)
    assert "MISSED" in text
    assert "not measured" in text


def test_the_page_says_what_the_figures_say() -> None:
    figures = Figures(about={"hub": "ours", "redis_always": "theirs"}, costs={"1": {"hub: verify": 65.0}})
    for name, values in {
        "fanout.n50.b1000.hub.deliveries_per_s": (2e6, 3e6, 4e6),
        "fanout.n50.b1000.redis_always.deliveries_per_s": (2e6, 2e6, 2e6),
        "fanout.n50.b1000.vs_redis_always": (1.0, 1.5, 2.0),
        "fanout.n50.b1000.vs_grpc_ceiling": (0.5, 0.6, 0.7),
        "publish.b1000.records_per_s": (70_000.0,),
    }.items():
        for value in values:
            figures.add(name, value)
    figures.said.append("no nats-server on PATH.")
    text = page(figures.to_json(), [Path("fanout-b1000.svg")])
    assert "| 50 | 1000 | 3,000,000 | 2,000,000 | - | - | - | 1.50 (1.00 to 2.00) | - | 0.60 (0.50 to 0.70) |" in text
    assert "| `publish.b1000.records_per_s` | >= 80,000 | 70,000 | **missed** |" in text
    assert "| `fanout.n50.b1000.vs_redis_always` | >= 1.30 | 1.50 | holds |" in text
    for part in (
        "no nats-server",
        "| hub: verify | 65 |",
        "![fanout-b1000](plots/fanout-b1000.svg)",
        "| this hub | ours |",
    ):
        assert part in text


def test_the_page_tells_of_the_hub_on_redis_where_it_was_measured() -> None:
    figures = Figures(costs={"1": {"hub: verify": 65.0}})
    seen = {"hub": 1e6, "redis_hub": 8e5, "redis_hubs2": 1.2e6, "redis_always": 4e5}
    figures.add("fanout.n50.b100.hub.deliveries_per_s", 1e6)
    assert "## On Redis" not in page(figures.to_json(), [])
    for who, rate in seen.items():
        figures.add(f"fanout.n50.b100.{who}.deliveries_per_s", rate)
    suite = Suite(QUICK, figures)
    suite.on_redis("n50.b100", seen)
    suite.on_redis("n1.b1", {who: rate for who, rate in seen.items() if who != "redis_hubs2"})
    figures.add("redis.memory.b1.bytes_per_signal", 765.0)
    text = page(figures.to_json(), [])
    assert "| 50 | 100 | 800,000 | 1,200,000 | 0.80 | 2.00 | 1.20 | 1.50 |" in text
    assert "| 1 | 1 | - | - | 0.80 | 2.00 | - | - |" in text
    assert "| `redis.memory.b1.bytes_per_signal` | 765 |" in text


DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_is_that_of_its_figures() -> None:
    found = json.loads((DOCS / "bench.json").read_text())
    written = (DOCS / "bench.md").read_text()
    plots = [Path(line.split("plots/")[1].rstrip(")")) for line in written.splitlines() if line.startswith("![")]
    assert plots
    assert all((DOCS / "plots" / plot).exists() for plot in plots)
    assert written == page(found, plots)


def test_the_readme_has_that_runs_figures() -> None:
    found, readme = json.loads((DOCS / "bench.json").read_text()), (DOCS.parent / "README.md").read_text()
    assert readme == with_headline(readme, found)
    assert number(found["figures"]["fanout.n50.b1000.hub.deliveries_per_s"]["median"]) in readme


def test_figures_are_not_written_where_there_is_no_place_for_them() -> None:
    found = json.loads((DOCS / "bench.json").read_text())
    with pytest.raises(ValueError, match="no place for figures"):
        with_headline("# Signal Exchange\n", found)


def test_the_committed_run_was_a_whole_one() -> None:
    found = json.loads((DOCS / "bench.json").read_text())
    assert {row["figure"] for row in found["gates"]} == {gate.figure for gate in GATES}
    assert {row["figure"] for row in found["targets"]} == {target.figure for target in TARGETS}
    for streams in FULL.streams:
        for batch in FULL.batches:
            assert len(found["figures"][f"fanout.n{streams}.b{batch}.vs_redis_always"]["samples"]) >= FULL.repetitions
    # What a quick one leaves out is there, too.
    for streams in FULL.steady_streams:
        assert found["figures"][f"latency.n{streams}.r1000.redis_hub.p99_ms"]["samples"]
    assert found["figures"]["matching.n1m.uniform.recall"]["samples"]
    assert f"make bench`, of {len(found['figures']['fanout.n1.b1.vs_redis_always']['samples'])} rep" in page(found, [])


def test_what_is_made_ahead_is_dated_as_it_will_be_sent() -> None:
    key = SigningKey(bytes(32))
    made = [
        codec.decode_header(pb.Statement.FromString(data).payload, strict=True).created_at_ms
        for data in statements("publisher", "bench.example/uk", key, 4, 1, every_ms=100_000)
    ]
    assert [later - made[0] for later in made] == [0, 100_000, 200_000, 300_000]

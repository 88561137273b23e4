"""The growth benchmark's own arithmetic, that its ledgers are a hub's, and that its page says what its figures say."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from exchange import codec
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import Role
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.merkle import CompactRange
from exchange.opening import Judging, Memory, Room, at_once, open_log
from exchange.ops.clocks import monotonic_ms, wall_ms
from exchange.publish.clock import WatchedClock
from tests.bench.contenders.hub import PUBLISHER
from tests.bench.figures import Figures
from tests.bench.growth.__main__ import CONSTANT, judge, names
from tests.bench.growth.axes import FULL, QUICK
from tests.bench.growth.ledgers import Ledger, fill, keep, kept
from tests.bench.growth.page import page
from tests.bench.growth.pictures import draw, points
from tests.e2e.exchange_fixture import UK, Exchange

DOCS = Path(__file__).parents[3] / "docs"


async def test_a_filled_ledger_is_one_that_a_hub_opens(tmp_path: Path) -> None:
    exchange = await Exchange.found(tmp_path)
    exchange.new_workload(PUBLISHER, Role.PIPELINE)
    said: list[str] = []
    await fill(exchange, Ledger(3_000, 1), said.append)
    assert said[-1].endswith("3,000 signals")
    origin = Origin.parse(UK)
    assert origin is not None
    opened = await open_log(
        exchange.folders,
        origin,
        Judging(lambda _: 0, at_once, 1),
        WatchedClock(wall_ms, monotonic_ms),
        time.monotonic,
        memory=Memory(Room(0, 0)),
        adopt=False,
        committed=lambda _: None,
    )
    head = await opened.store.head()
    entries = [entry for start in range(0, 3_000, 500) for entry in await opened.store.read(start, 500)]
    await opened.aclose()
    checkpoint = open_checkpoint(head.checkpoint, exchange.verifier(UK))
    assert (checkpoint.size, len(entries)) == (3_000, 3_000)
    assert CompactRange().extend(entry.leaf_hash for entry in entries).root() == checkpoint.root
    assert {len(codec.decode_frame(entry.frame).records) for entry in entries} == {1}


async def test_what_was_filled_is_found_again(tmp_path: Path) -> None:
    exchange = await Exchange.found(tmp_path)
    assert kept(tmp_path) is None
    keep(exchange)
    again = kept(tmp_path)
    assert again is not None
    assert (again.pin, again.log_keys) == (exchange.pin, exchange.log_keys)
    assert {who: key.public_key for who, key in again.keys.items()} == {
        who: key.public_key for who, key in exchange.keys.items()
    }


def figures_of(**medians: list[float]) -> Figures:
    figures = Figures()
    for name, values in medians.items():
        figures.samples[name.replace("__", ".")] = values
    return figures


def test_growth_is_the_last_point_over_the_first() -> None:
    figures = figures_of(packed__10000__p50_ms=[4.0, 2.0, 3.0], packed__9__p50_ms=[1.0], singles__5__p50_ms=[1.0])
    assert points(figures, "packed", "p50_ms") == [9, 10_000]
    for _ in range(2):
        judge(figures)
        assert figures.median("growth.packed.p50_ms") == 3.0
        assert figures.median("growth.singles.p50_ms") is None


def test_every_point_can_be_asked_for_by_name() -> None:
    assert set(names(QUICK)) <= set(names(FULL))
    assert {"packed-10000000", "singles-1000000", "subscribers-200", "communities-100"} <= set(names(FULL))


def test_the_page_says_what_its_figures_say(tmp_path: Path) -> None:
    found = json.loads((DOCS / "growth.json").read_text())
    figures = Figures(samples={name: each["samples"] for name, each in found["figures"].items()})
    plots = [path.name for path in draw(figures, tmp_path)]
    assert sorted(plots) == sorted(path.name for path in (DOCS / "plots").glob("growth-*.svg"))
    assert (DOCS / "growth.md").read_text() == page(found, plots)
    judge(figures)
    for row, (demand, value, holds) in zip(found["constant"], figures.judged(CONSTANT), strict=True):
        assert (row["figure"], row["holds"]) == (demand.figure, holds)
        assert row["median"] == pytest.approx(value)

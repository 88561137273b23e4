"""What a run found: samples under stable names, their median and range, and what is asked of them."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Demand:
    """A figure and the bound that it should keep."""

    figure: str
    bound: float
    #: Whether more is better.
    at_least: bool = True

    def holds(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    @property
    def wanted(self) -> str:
        """The bound as text."""
        return f"{'>=' if self.at_least else '<='} {number(self.bound)}"


#: What must hold.
GATES = (
    Demand("fanout.n50.b1000.vs_redis_always", 1.3),
    Demand("fanout.n50.b100.vs_redis_always", 0.8),
    Demand("fanout.n50.b1000.vs_grpc_ceiling", 0.5),
    Demand("singles.n50.per_s", 2_500),
    Demand("latency.n50.r1000.p99_ms", 60, at_least=False),
    Demand("latency.n50.r1000.growth", 1.5, at_least=False),
    Demand("publish.b1000.records_per_s", 80_000),
    Demand("rss.slope_bytes_per_s", 50_000, at_least=False),
)
#: What is hoped for, and reported whatever it is.
TARGETS = (
    Demand("fanout.n50.b1000.vs_redis_always", 1.5),
    Demand("fanout.n50.b100.vs_redis_always", 1.0),
    Demand("fanout.n50.b1000.vs_grpc_ceiling", 0.5),
    Demand("singles.n50.per_s", 3_000),
    Demand("latency.n50.r1000.p99_ms", 45, at_least=False),
    Demand("publish.b1000.records_per_s", 100_000),
    Demand("catchup.verified_per_s", 100_000),
    Demand("catchup.singles_verified_per_s", 16_667),
)
#: What is asked of the SDK's index of PDQ hashes, beside python-threatexchange's where that is there.
MATCHING = tuple(
    demand
    for size, asked in (
        ("n100k", {"hit_vs_pytx": 2.5, "miss_vs_pytx": 2.5, "memory_vs_pytx": 1.0}),
        ("n1m", {"build_vs_pytx": 10.0, "hit_vs_pytx": 2.0, "miss_vs_pytx": 2.0, "memory_vs_pytx": 1.0}),
    )
    for kind in ("uniform", "clustered")
    for demand in (
        Demand(f"matching.{size}.{kind}.recall", 1.0),
        *(Demand(f"matching.{size}.{kind}.{what}", bound) for what, bound in asked.items()),
        *(Demand(f"matching.{size}.{kind}.sdk.{what}", 5.0, at_least=False) for what in ("add_ms", "remove_ms")),
    )
)


def number(value: float) -> str:
    """Return a number as a table shows it."""
    if value and abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}".removesuffix(".0")


@dataclass(slots=True)
class Figures:
    """All samples of a run, by name."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    #: Curves for the plots: name -> points.
    series: dict[str, list[list[float]]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    #: Records in a statement -> step -> microseconds.
    costs: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Add one sample."""
        self.samples.setdefault(name, []).append(value)

    def ratio(self, name: str, over: float, under: float) -> None:
        """Add the ratio of two samples of the same repetition."""
        if under:
            self.add(name, over / under)

    def say(self, what: str) -> None:
        """Note what a reader must know, such as what this machine lacks."""
        self.said.append(what)
        print(f"  ! {what}", flush=True)

    def median(self, name: str) -> float | None:
        """Return a figure's median; None when it was not measured."""
        found = self.samples.get(name)
        return statistics.median(found) if found else None

    def judged(self, demands: tuple[Demand, ...]) -> Iterator[tuple[Demand, float | None, bool | None]]:
        """Yield each demand with the median, and whether it holds."""
        for demand in demands:
            value = self.median(demand.figure)
            yield demand, value, None if value is None else demand.holds(value)

    def to_json(self) -> dict[str, Any]:
        """Return everything, as it is written to ``build/bench.json``."""
        figures = {
            name: {"median": statistics.median(found), "min": min(found), "max": max(found), "samples": found}
            for name, found in sorted(self.samples.items())
        }
        return {
            "machine": machine(),
            "about": self.about,
            "said": self.said,
            "figures": figures,
            "gates": [_judged(*row) for row in self.judged(GATES)],
            "targets": [_judged(*row) for row in self.judged(TARGETS)],
            "matching": [_judged(*row) for row in self.judged(MATCHING)],
            "series": self.series,
            "costs": self.costs,
        }

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n")


def _judged(demand: Demand, value: float | None, holds: bool | None) -> dict[str, Any]:
    return {"figure": demand.figure, "wanted": demand.wanted, "median": value, "holds": holds}


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "cores": os.cpu_count(),
        "processor": model[0] if model else platform.processor(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def table(figures: Figures) -> str:
    """Return all figures, and the demands on them, as text."""
    width = max(map(len, figures.samples), default=10)
    lines = [f"{'figure':<{width}}  {'median':>12}  {'min':>12}  {'max':>12}"]
    for name, found in sorted(figures.samples.items()):
        middle, low, high = number(statistics.median(found)), number(min(found)), number(max(found))
        lines.append(f"{name:<{width}}  {middle:>12}  {low:>12}  {high:>12}")
    for title, asked in (("gates", GATES), ("targets", TARGETS), ("matching", MATCHING)):
        lines += ["", *demands(figures, title, asked)]
    return "\n".join(lines)


def demands(figures: Figures, title: str, asked: tuple[Demand, ...]) -> list[str]:
    """Return what is asked and what was found, as lines of text."""
    width = max(map(len, figures.samples), default=10)
    lines = [title]
    for demand, value, holds in figures.judged(asked):
        verdict = "not measured" if holds is None else "holds" if holds else "MISSED"
        seen = "-" if value is None else number(value)
        lines.append(f"  {demand.figure:<{width}} {demand.wanted:>12}  {seen:>12}  {verdict}")
    return lines

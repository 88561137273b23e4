"""``make bench-growth``: what a signal costs as the ledger, the subscribers and the communities grow.

Prints a table and writes ``build/growth.json``; the full run also writes docs/growth.md with its plots. ``--quick``
takes a few minutes. The whole run takes long, so it can be cut: ``--fill`` only makes the ledgers, ``--only``
measures some points and adds them to the figures that are there, ``--docs`` writes the page of what is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.figures import Demand, Figures, machine, number
from tests.bench.growth.axes import FULL, QUICK, Growth, Plan
from tests.bench.growth.ledgers import Ledger, filled
from tests.bench.growth.page import page
from tests.bench.growth.pictures import draw, points
from tests.bench.measuring import Crew

ROOT = Path(__file__).parents[3]
#: Axis and what is measured: how much larger the figure may be at the last point than at the first.
CONSTANT = (
    *(
        Demand(f"growth.{axis}.{what}", bound, at_least=False)
        for axis in ("packed", "singles")
        for what, bound in (
            ("start_cpu_s", 1.25),
            ("cpu_us_per_statement", 1.5),
            ("rss_idle", 1.3),
            ("rss_after", 1.3),
            ("bytes_per_signal", 1.25),
            ("p50_ms", 1.5),
            ("proof_ms", 1.5),
            ("read_ms", 1.5),
        )
    ),
    Demand("growth.packed.batched_delivered_per_s", 0.67),
    Demand("growth.communities.p50_ms", 1.5, at_least=False),
    Demand("growth.communities.cpu_us_per_statement", 1.5, at_least=False),
)


def ledgers(plan: Plan) -> list[Ledger]:
    """Return the ledgers of a plan."""
    return [Ledger(size, 1000) for size in plan.packed] + [Ledger(size, 1) for size in plan.singles]


def names(plan: Plan) -> list[str]:
    """Return what can be asked for with ``--only``."""
    counted = {"subscribers": plan.subscribers, "communities": plan.communities}
    return [each.name for each in ledgers(plan)] + [f"{axis}-{n}" for axis, at in counted.items() for n in at]


async def run(plan: Plan, figures: Figures, folder: Path, only: set[str]) -> None:
    """Measure what is asked for."""
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {what}", flush=True)

    crew = await Crew.start()
    growth = Growth(plan, figures, crew, folder, say)
    try:
        for ledger in ledgers(plan):
            if ledger.name in only:
                await growth.ledger(ledger)
        for streams in plan.subscribers:
            if f"subscribers-{streams}" in only:
                await growth.subscribers(streams)
        for count in plan.communities:
            if f"communities-{count}" in only:
                await growth.communities(count)
    finally:
        await crew.aclose()


async def fill(plan: Plan, folder: Path, only: set[str]) -> None:
    """Make the ledgers that are asked for."""
    for ledger in ledgers(plan):
        if ledger.name in only:
            await filled(folder, ledger, lambda what: print(what, flush=True))


def load(path: Path) -> Figures:
    """Return the figures of the runs before."""
    figures = Figures()
    if path.exists():
        found = json.loads(path.read_text())
        figures.samples = {name: list(each["samples"]) for name, each in found["figures"].items()}
        figures.said = list(found["said"])
    return figures


def judge(figures: Figures) -> None:
    """Work out by how much each figure grew from the first point of its axis to the last."""
    for name in [name for name in figures.samples if name.startswith("growth.")]:
        del figures.samples[name]
    for axis, what in {tuple(name.split(".")[::2]) for name in figures.samples}:
        at = points(figures, axis, what)
        first, last = (figures.median(f"{axis}.{point}.{what}") for point in (at[0], at[-1]))
        if first and last and len(at) > 1:
            figures.add(f"growth.{axis}.{what}", last / first)


def report(figures: Figures) -> bool:
    """Print all figures and what is asked of them; return whether it holds."""
    width = max(map(len, figures.samples), default=10)
    for name, found in sorted(figures.samples.items(), key=lambda item: _order(item[0])):
        low, high = number(min(found)), number(max(found))
        print(f"{name:<{width}}  {number(figures.median(name) or 0.0):>12}  {low:>12}  {high:>12}")
    holding = True
    for demand, value, holds in figures.judged(CONSTANT):
        verdict = "not measured" if holds is None else "holds" if holds else "GROWS"
        holding = holding and holds is not False
        print(f"  {demand.figure:<{width}} {demand.wanted:>10}  {number(value or 0.0):>10}  {verdict}")
    return holding


def _order(name: str) -> tuple[str, ...]:
    return tuple(part.rjust(12) if part.isdigit() else part for part in name.split("."))


def write(figures: Figures, path: Path) -> dict[str, Any]:
    """Write everything as JSON, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    judged = [
        {"figure": demand.figure, "wanted": demand.wanted, "median": value, "holds": holds}
        for demand, value, holds in figures.judged(CONSTANT)
    ]
    everything = figures.to_json()
    found = {"machine": machine(), "said": figures.said, "constant": judged, "figures": everything["figures"]}
    path.write_text(json.dumps(found, indent=1) + "\n")
    return found


@contextmanager
def place(folder: Path | None) -> Iterator[Path]:
    """Give the folder that was named, which is kept, or one that is not."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="signal-exchange-growth-") as made:
        yield Path(made)


def main() -> int:
    """Run the benchmark; the exit status says whether what should be constant is."""
    parser = argparse.ArgumentParser(prog="make bench-growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes: small ledgers, one repetition")
    parser.add_argument(
        "--only", help=f"some of: {', '.join(names(FULL))}; adds to the figures that are there; '' measures none"
    )
    parser.add_argument("--note", help="what a reader of the figures must know, such as what else ran meanwhile")
    parser.add_argument("--fill", action="store_true", help="make the ledgers in --folder and measure nothing")
    parser.add_argument("--folder", type=Path, help="where ledgers are made, kept, and found again")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "growth.json", help="where the figures go")
    parser.add_argument(
        "--docs", type=Path, help="put the page and its plots into this folder (the full run: docs; else nowhere)"
    )
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    only = set(names(plan)) if options.only is None else set(filter(None, options.only.split(",")))
    unknown = only - set(names(plan))
    if unknown or (options.fill and options.folder is None):
        parser.error(f"not known: {', '.join(unknown)}" if unknown else "--fill needs a --folder")
    with place(options.folder) as folder:
        if options.fill:
            asyncio.run(fill(plan, folder, only))
            return 0
        figures = Figures() if options.only is None else load(options.output)
        if only:
            asyncio.run(run(plan, figures, folder, only))
    judge(figures)
    if options.note:
        figures.say(options.note)
    found = write(figures, options.output)
    holding = report(figures)
    docs = options.docs or (None if options.quick or options.only is not None else ROOT / "docs")
    if docs is not None:
        plots = [path.name for path in draw(figures, docs / "plots")]
        write(figures, docs / "growth.json")
        (docs / "growth.md").write_text(page(found, plots))
    print(f"figures: {options.output}")
    return 0 if holding else 1


if __name__ == "__main__":
    sys.exit(main())

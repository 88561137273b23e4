"""``make bench``: measures this hub beside what a user would take instead, in one interleaved run.

Prints a table and writes ``build/bench.json``; the full run also writes docs/bench.md with its plots, and
the few figures that the README has.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.bench.costs import costs
from tests.bench.figures import GATES, MATCHING, Figures, table
from tests.bench.matching.compared import matching
from tests.bench.page import page, with_headline
from tests.bench.plan import FULL, QUICK
from tests.bench.plots import draw
from tests.bench.suite import Suite

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run the benchmark; the exit status says whether every gate, and what is asked of matching, holds."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes: one repetition, smaller loads")
    parser.add_argument("--repetitions", type=int, help="repeat the throughput runs so often (3; quick: 1)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json", help="where the figures go")
    parser.add_argument(
        "--docs", type=Path, help="put the page and its plots into this folder (the full run: docs; quick: nowhere)"
    )
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    if options.repetitions:
        plan = plan.but(repetitions=options.repetitions)
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="signal-exchange-bench-") as folder:
        asyncio.run(Suite(plan, figures).run(Path(folder)))
    for _ in range(plan.repetitions):
        matching(figures, plan.matching, plan.queries)
    figures.costs = {"1": costs(1, 400), "1000": costs(1000, 4)}
    figures.write(options.output)
    print(f"\n{table(figures)}\n\nfigures: {options.output}")
    docs = options.docs or (None if options.quick else ROOT / "docs")
    if docs is not None:
        plots = draw(figures, docs / "plots")
        figures.write(docs / "bench.json")
        found = figures.to_json()
        (docs / "bench.md").write_text(page(found, plots))
        print(f"page: {docs / 'bench.md'}")
        if docs.resolve() == ROOT / "docs":
            readme = ROOT / "README.md"
            readme.write_text(with_headline(readme.read_text(), found))
    return 0 if all(holds is not False for _, _, holds in figures.judged(GATES + MATCHING)) else 1


if __name__ == "__main__":
    sys.exit(main())

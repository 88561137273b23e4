"""``make bench-matching``: the SDK's PDQ index beside python-threatexchange's, on uniform and on clustered hashes.

That package is not among the locked ones: it gets an environment of its own under build/, or name an interpreter that
has it, ``ARGS='--beside PYTHON'``. Without it the SDK's index is measured alone, and that is said. The exit status tells
whether every answer was exact and, where both were measured, whether the SDK's index is as much better as it claims.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench.figures import MATCHING, Figures, demands, number
from tests.bench.matching.compared import matching
from tests.bench.matching.hashes import KINDS
from tests.bench.matching.peer import ROOT
from tests.bench.plan import FULL


def report(figures: Figures) -> None:
    """Print everything that was measured of both, side by side, and what was asked."""
    for name in figures.samples:
        if ".sdk." in name:
            ours, theirs = figures.median(name), figures.median(name.replace(".sdk.", ".pytx."))
            shown = ["-" if value is None else number(value) for value in (ours, theirs)]
            print(f"  {name.replace('.sdk.', '.'):<42} {shown[0]:>14} {shown[1]:>14}")
    print("\n".join(demands(figures, "goals", MATCHING)))


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="make bench-matching", description=__doc__)
    parser.add_argument("--beside", help="an interpreter that has threatexchange and faiss")
    parser.add_argument("--rows", type=int, nargs="+", default=list(FULL.matching))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--queries", type=int, default=FULL.queries)
    parser.add_argument("--repetitions", type=int, default=3, help="turns; the figures are their medians")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "matching.json", help="where the figures go")
    options = parser.parse_args()
    figures = Figures()
    for _ in range(options.repetitions):
        matching(figures, options.rows, options.queries, named=options.beside, kinds=options.kinds)
    figures.write(options.output)
    report(figures)
    return 0 if all(holds is not False for _, _, holds in figures.judged(MATCHING)) else 1


if __name__ == "__main__":
    sys.exit(main())

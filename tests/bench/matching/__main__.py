"""``make bench-matching``: the SDK's PDQ index beside python-threatexchange's, on uniform and on clustered hashes.

That package is not among the locked ones: name an interpreter that has it, ``ARGS='--beside PYTHON'``. Without one the
SDK's index is measured alone, and the end says so. The exit status tells whether every answer was exact and, where both
were measured, whether the SDK's index is as much better as it claims.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.figures import number
from tests.bench.matching.hashes import KINDS

ROOT = Path(__file__).parents[3]
_DEADLINE_S = 900
_UNITS = {"bytes": ("MB", 1e-6)}
#: How many times the figure of the other index the SDK's one must be; what is to be small is turned over.
CLAIMS = {
    100_000: {"hit_per_s": 2.5, "miss_per_s": 2.5, "bytes": 1.0},
    1_000_000: {"hit_per_s": 2.0, "miss_per_s": 2.0, "build_s": 10.0, "bytes": 1.0},
}
_SMALL_IS_GOOD = {"build_s", "bytes"}
#: Milliseconds that adding or removing one takes at most, in the middle of many.
CHANGE_MS = 5.0


def importable(python: str) -> bool:
    """Tell whether an interpreter has the other index."""
    asked = subprocess.run([python, "-c", "import threatexchange, faiss"], capture_output=True, check=False)
    return asked.returncode == 0


def measured(python: str, module: str, kind: str, rows: int, queries: int) -> dict[str, Any]:
    """Measure one index in a process of its own."""
    command = [python, "-m", f"tests.bench.matching.{module}", kind, str(rows), str(queries)]
    # One query at a time gains nothing from FAISS's threads, and loses much where others want the cores.
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=alone, stdout=subprocess.PIPE, timeout=_DEADLINE_S, check=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def judged(rows: int, ours: dict[str, Any], theirs: dict[str, Any] | None) -> list[str]:
    """Return what does not hold."""
    wrong = [name for name in ("hit_exact", "miss_exact") if not ours[name]]
    wrong += [name for name in ("add_ms", "remove_ms") if ours[name] > CHANGE_MS]
    for name, times in CLAIMS.get(rows, {}).items():
        if theirs is None:
            break
        ratio = theirs[name] / ours[name] if name in _SMALL_IS_GOOD else ours[name] / theirs[name]
        if ratio < times:
            wrong.append(f"{name}: {ratio:.2f} times, claimed {times}")
    return wrong


def report(ours: dict[str, Any], theirs: dict[str, Any] | None) -> None:
    """Print both, side by side."""
    for name, value in ours.items():
        unit, scale = _UNITS.get(name, ("", 1))
        other = (theirs or {}).get(name)
        cells = [str(each) if isinstance(each, bool | None) else number(each * scale) for each in (value, other)]
        print(f"  {name + ' ' + unit:<18} {cells[0]:>12} {cells[1] if theirs else '':>12}")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="make bench-matching", description=__doc__)
    parser.add_argument("--beside", default=sys.executable, help="an interpreter that has threatexchange and faiss")
    parser.add_argument("--rows", type=int, nargs="+", default=list(CLAIMS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args()
    beside, wrong = importable(options.beside), []
    for rows in options.rows:
        for kind in options.kinds:
            print(f"{rows} {kind} hashes: the SDK's index{', threatexchange' if beside else ''}", flush=True)
            ours = measured(sys.executable, "sdk", kind, rows, options.queries)
            args = (options.beside, "threatexchange", kind, rows, options.queries)
            theirs = measured(*args) if beside else None
            report(ours, theirs)
            wrong += [f"{rows} {kind}: {what}" for what in judged(rows, ours, theirs)]
    if not beside:
        print(f"threatexchange was NOT measured: {options.beside} cannot import threatexchange and faiss (--beside)")
    print("\n".join(["does not hold:", *wrong] if wrong else ["everything that was measured holds"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Both indexes measured one after the other, and what was found put under stable names: ``matching.n1m.uniform...``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tests.bench.figures import Figures, number
from tests.bench.matching.hashes import KINDS
from tests.bench.matching.peer import ROOT, Missing, interpreter

_DEADLINE_S = 900
#: Figure of a ratio -> what is compared, and whether the smaller is the better one.
_RATIOS = {
    "build_vs_pytx": ("build_s", True),
    "hit_vs_pytx": ("hit_per_s", False),
    "miss_vs_pytx": ("miss_per_s", False),
    "memory_vs_pytx": ("bytes", True),
}


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


def note(figures: Figures, name: str, ours: dict[str, Any], theirs: dict[str, Any] | None) -> None:
    """Put down what was found of both, and by how many times the SDK's index is the better one."""
    figures.add(f"{name}.recall", float(ours["hit_exact"] and ours["miss_exact"]))
    for who, found in (("sdk", ours), ("pytx", theirs or {})):
        for what, value in found.items():
            if not isinstance(value, bool):
                figures.add(f"{name}.{who}.{what}", value)
    for ratio, (what, small) in _RATIOS.items():
        if theirs is not None:
            over, under = (theirs[what], ours[what]) if small else (ours[what], theirs[what])
            figures.ratio(f"{name}.{ratio}", over, under)


def matching(
    figures: Figures, sizes: Sequence[int], queries: int, *, named: str | None = None, kinds: Sequence[str] = KINDS
) -> None:
    """Measure both indexes at each size, on hashes of each kind."""
    try:
        beside: str | None = interpreter(named)
    except Missing as why:
        beside = None
        figures.say(f"python-threatexchange's index was NOT measured: {why}")
    for rows in sizes:
        for kind in kinds:
            name = f"matching.{short(rows)}.{kind}"
            ours = measured(sys.executable, "sdk", kind, rows, queries)
            theirs = None if beside is None else measured(beside, "threatexchange", kind, rows, queries)
            note(figures, name, ours, theirs)
            ratios = [f"{each} {number(value)}" for each in _RATIOS if (value := figures.median(f"{name}.{each}"))]
            exact = "every answer exact" if figures.median(f"{name}.recall") == 1 else "answers are MISSING"
            print(f"{name}: {', '.join([exact, *ratios])}", flush=True)


def short(rows: int) -> str:
    """Return a size as it stands in a figure's name."""
    for unit, many in (("m", 1_000_000), ("k", 1_000)):
        if rows % many == 0:
            return f"n{rows // many}{unit}"
    return f"n{rows}"

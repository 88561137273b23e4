"""How large a run is, and what is measured of the hub's process.

`make e2e` runs the short form, whose tests hold what must hold anywhere. `make load` runs the long form, which also
prints figures and holds them against their gates; on a busy machine they mean little.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

LONG = os.environ.get("LOAD") == "long"


def rss_bytes(pid: int) -> int:
    """Return what a process holds in memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process is gone")


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of all lies at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

"""One index through its paces, in a process of its own: building, memory, single queries, recall, adding, removing."""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.bench.matching.hashes import Hashes, Task, task

#: So many answers of each kind are held against comparing with every hash.
_CHECKED = 40
_ADDED = 200
_WARM = 10
#: Who needs a second to add one is not asked two hundred times.
_ADDING_S = 20.0
#: Each query is asked so often, as long as that takes no longer.
_ASKED, _ASKING_S = 5, 15.0


class Index(Protocol):
    """What is measured. A hash has the form that ``form`` gives it, made before the clock runs."""

    def form(self, hashes: Hashes) -> Sequence[Any]:
        """Return hashes as this index takes them."""

    def build(self, hashes: Sequence[Any]) -> None:
        """Fill it; owners are the rows."""

    def ask(self, value: Any) -> dict[int, int]:
        """Return rows and distances."""

    def add(self, owner: int, value: Any) -> None:
        """Add one more."""

    def remove(self, owner: int) -> bool:
        """Remove one; False where it cannot."""


def run(index: Index) -> None:
    """Measure what the command line names (kind, rows, queries), and print it as JSON."""
    kind, count, queries = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    made = task(kind, count, queries)
    known = index.form(made.known)
    gc.collect()
    before = _resident()
    # Of the processor's time, since who else wants the cores for so long counts otherwise; both build in one thread.
    started = time.process_time()
    index.build(known)
    found: dict[str, Any] = {"build_s": time.process_time() - started, "bytes": _resident() - before}
    for name, asked in (("hit", made.hits), ("miss", made.misses)):
        found |= _asked(index, made, asked, name)
    more = index.form(made.misses[:_ADDED])
    added: list[float] = []
    while len(added) < len(more) and sum(added) < _ADDING_S:
        added.append(_seconds(index.add, count + len(added), more[len(added)]))
    found |= {"add_ms": 1e3 * statistics.median(added), "add_worst_ms": 1e3 * max(added)}
    if index.remove(count):
        removed = [_seconds(index.remove, row) for row in range(0, count, count // _ADDED)]
        found |= {"remove_ms": 1e3 * statistics.median(removed), "remove_worst_ms": 1e3 * max(removed)}
    print(json.dumps(found))


def _asked(index: Index, made: Task, hashes: Hashes, name: str) -> dict[str, Any]:
    asked = index.form(hashes)
    for value in asked[:_WARM]:
        index.ask(value)
    found: list[dict[int, int]] = []
    took = [_seconds(lambda value: found.append(index.ask(value)), value) for value in asked]
    # Another process's turn in the middle of a query is not the index's doing: the best of a few counts.
    again = 1
    while again < _ASKED and again * sum(took) < _ASKING_S:
        took = [min(before, _seconds(index.ask, value)) for before, value in zip(took, asked, strict=True)]
        again += 1
    exact = all(answer == made.wanted(each) for answer, each in zip(found[:_CHECKED], hashes, strict=False))
    return {
        f"{name}_per_s": len(took) / sum(took),
        f"{name}_p50_us": 1e6 * statistics.median(took),
        f"{name}_p99_us": 1e6 * sorted(took)[len(took) * 99 // 100],
        f"{name}_matches": sum(len(each) for each in found) / len(found),
        f"{name}_exact": exact,
    }


def _seconds(what: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    what(*arguments)
    return time.perf_counter() - started


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

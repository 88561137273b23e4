"""The matching benchmark's tasks are what they say, its measuring measures, and its judge finds what does not hold."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from tests.bench.matching.__main__ import CLAIMS, importable, judged, measured
from tests.bench.matching.hashes import KINDS, LIMIT, task


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_the_same_at_each_call_and_each_hit_has_something_to_find(kind: str) -> None:
    made, again = task(kind, 3000, 40), task(kind, 3000, 40)
    assert np.array_equal(made.known, again.known)
    assert np.array_equal(made.hits, again.hits)
    assert all(min(made.wanted(hit).values()) <= LIMIT for hit in made.hits)


def test_photographs_lie_in_clusters() -> None:
    uniform, clustered = (task(kind, 3000, 40) for kind in KINDS)
    matches = [sum(len(made.wanted(hit)) for hit in made.hits) for made in (uniform, clustered)]
    assert matches[1] > 10 * matches[0]


def test_the_sdks_index_is_measured_and_exact() -> None:
    found = measured(sys.executable, "sdk", "clustered", 3000, 40)
    assert found["hit_exact"]
    assert found["miss_exact"]
    assert found["hit_matches"] > 10
    assert min(found[name] for name in ("build_s", "hit_per_s", "miss_per_s", "add_ms", "remove_ms")) > 0


def test_the_judge_names_what_does_not_hold() -> None:
    held: dict[str, Any] = {"hit_exact": True, "miss_exact": True, "add_ms": 0.1, "remove_ms": 0.1, "build_s": 1.0}
    held |= {"bytes": 100, "hit_per_s": 1000.0, "miss_per_s": 1000.0}
    slower = held | {"build_s": 10.0, "hit_per_s": 400.0, "miss_per_s": 400.0}
    rows = max(CLAIMS)
    assert judged(rows, held, slower) == []
    assert judged(rows, held, None) == []
    assert judged(rows, held | {"hit_exact": False, "add_ms": 6.0}, None) == ["hit_exact", "add_ms"]
    assert len(judged(rows, held, held)) == 3
    assert judged(rows, held | {"bytes": 101}, slower) == ["bytes: 0.99 times, claimed 1.0"]


def test_an_interpreter_without_the_other_index_is_told() -> None:
    assert importable("false") is False

"""The matching benchmark's tasks are what they say, its measuring measures, and its judge finds what does not hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.figures import MATCHING, Figures
from tests.bench.matching.compared import matching, measured, note, short
from tests.bench.matching.hashes import KINDS, LIMIT, task
from tests.bench.matching.peer import Missing, importable, interpreter
from tests.bench.page import page
from tests.bench.plan import FULL, QUICK


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
    seen = measured(sys.executable, "sdk", "clustered", 3000, 40)
    assert seen["hit_exact"]
    assert seen["miss_exact"]
    assert seen["hit_matches"] > 10
    assert min(seen[name] for name in ("build_s", "hit_per_s", "miss_per_s", "add_ms", "remove_ms")) > 0


def found(**but: Any) -> dict[str, Any]:
    held = {"hit_exact": True, "miss_exact": True, "add_ms": 0.1, "remove_ms": 0.1, "build_s": 1.0, "bytes": 100}
    return held | {"hit_per_s": 1000.0, "miss_per_s": 1000.0} | but


def missed(ours: dict[str, Any], theirs: dict[str, Any] | None) -> set[str]:
    figures = Figures()
    note(figures, "matching.n1m.uniform", ours, theirs)
    return {demand.figure.rpartition("uniform.")[2] for demand, _, holds in figures.judged(MATCHING) if holds is False}


def test_what_does_not_hold_is_named() -> None:
    slower = found(build_s=10.0, hit_per_s=400.0, miss_per_s=400.0)
    assert missed(found(), slower) == missed(found(), None) == set()
    assert missed(found(hit_exact=False, add_ms=6.0), None) == {"recall", "sdk.add_ms"}
    assert missed(found(miss_exact=False), None) == {"recall"}
    assert missed(found(), found()) == {"build_vs_pytx", "hit_vs_pytx", "miss_vs_pytx"}
    assert missed(found(bytes=101), slower) == {"memory_vs_pytx"}


def test_every_figure_that_is_asked_for_has_the_name_that_it_is_measured_under() -> None:
    figures = Figures()
    for rows in FULL.matching:
        for kind in KINDS:
            note(figures, f"matching.{short(rows)}.{kind}", found(), found())
    assert all(value is not None for _, value, _ in figures.judged(MATCHING))
    assert set(QUICK.matching) <= set(FULL.matching)


def test_the_other_index_is_said_aloud_to_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures()
    matching(figures, [3000], 10, named="/no/such/python", kinds=["uniform"])
    assert figures.median("matching.n3k.uniform.recall") == 1.0
    assert figures.median("matching.n3k.uniform.hit_vs_pytx") is None
    assert ["NOT measured" in said for said in figures.said] == [True]
    assert "NOT measured: /no/such/python cannot import" in capsys.readouterr().out


def test_an_interpreter_without_the_other_index_is_told() -> None:
    assert importable("false") is False
    assert importable("/no/such/python") is False


def test_an_environment_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Missing, match="could not be made"):
        interpreter(None, tmp_path / "file" / "home")


def test_the_page_shows_matching_where_it_was_measured() -> None:
    figures = Figures(costs={"1": {"hub: verify": 65.0}})
    assert "Matching" not in page(figures.to_json(), [])
    note(figures, "matching.n1m.uniform", found(), found(build_s=12.0))
    assert "| `matching.n1m.uniform.build_vs_pytx` | >= 10 | 12 | holds |" in page(figures.to_json(), [])

"""The page of the conformance kit says what the kit holds: each case, whose bug it is, the promise, the mutants."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance import mutants
from tests.conformance.table import CASES, row

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()


def test_every_case_has_its_row_and_every_row_its_case() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `[a-z-]+` \|", line)]
    assert rows == [row(case) for case in CASES]


def test_every_case_is_named_once_and_has_a_mutant_that_fails_it() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert [case.name for case in CASES if not (case.bugs and case.promise)] == []


def test_every_mutant_is_used_and_says_what_is_wrong_with_it() -> None:
    made = {
        name: each
        for name, each in vars(mutants).items()
        if getattr(each, "__module__", "") == mutants.__name__ and not name.startswith("_") and callable(each)
    }
    assert made.keys() == {bug.name for case in CASES for bug in case.bugs}
    assert [name for name, each in made.items() if not each.__doc__] == []

"""Each case passes on the product, and fails on the product with the bug in it that the case is about."""

from __future__ import annotations

import pytest

from tests.conformance.case import Bug, Case
from tests.conformance.place import Place
from tests.conformance.table import CASES

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_the_product_passes(case: Case, place: Place) -> None:
    await case.run(place)


@pytest.mark.parametrize(
    ("case", "bug"),
    [pytest.param(case, bug, id=f"{case.name}-{bug.name}") for case in CASES for bug in case.bugs],
)
async def test_a_mutant_fails(case: Case, bug: Bug, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.put_in(monkeypatch)
    with pytest.raises(bug.noticed):
        await case.run(place)

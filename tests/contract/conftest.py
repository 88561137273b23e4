"""One place to keep a log, per adapter: what runs on one of them runs on all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.stores.facts import FactsFile
from tests.contract.builders import Store
from tests.contract.facts_book import Book
from tests.contract.places import MemoryPlace, Place, SqlitePlace


@pytest.fixture(params=["memory", "sqlite"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Where the log under test is kept."""
    made: Place = MemoryPlace() if request.param == "memory" else SqlitePlace(tmp_path / "news")
    yield made
    await made.aclose()


@pytest.fixture
async def store(place: Place) -> Store:
    """A new, empty log."""
    return await place.open()


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Book]:
    """A new file of facts."""
    facts = await FactsFile.open(tmp_path / "folds" / "life")
    yield Book(facts)
    await facts.aclose()

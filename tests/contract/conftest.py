"""One place to keep a log, per adapter: what runs on one of them runs on all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.stores.facts import FactsFile
from exchange.stores.redis_place import parse_place
from tests.contract.builders import Store
from tests.contract.facts_book import Book
from tests.contract.places import MemoryPlace, Place, RedisStorePlace, SqlitePlace
from tests.contract.redis_server import RedisServer, running


@pytest.fixture(scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One server for all tests that do not harm it; `empty_redis` empties it."""
    async with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def empty_redis(redis_server: RedisServer) -> RedisServer:
    """The server, with nothing in it."""
    await redis_server.ask("FLUSHALL")
    return redis_server


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def place(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[Place]:
    """Where the log under test is kept."""
    made: Place
    if request.param == "memory":
        made = MemoryPlace()
    elif request.param == "sqlite":
        made = SqlitePlace(tmp_path / "news")
    else:
        await redis_server.ask("FLUSHALL")
        made = RedisStorePlace(parse_place(redis_server.url, tmp_path), tmp_path / "news")
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

"""One exchange with one hub in this process for all cases: grpc.aio wants one event loop a process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.place import Place
from tests.e2e.exchange_fixture import World, open_world


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The exchange that the cases share: each says something new, and changes nobody's standing."""
    opened = await open_world(tmp_path_factory.mktemp("exchange"))
    yield opened
    await opened.aclose()


@pytest.fixture
def place(world: World, tmp_path: Path) -> Place:
    return Place(world, tmp_path)

"""One exchange with one hub in this process for the session: grpc.aio wants one event loop a process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.e2e.exchange_fixture import World, open_world


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The exchange that all tests share which leave its known members as they are."""
    opened = await open_world(tmp_path_factory.mktemp("exchange"))
    yield opened
    await opened.aclose()

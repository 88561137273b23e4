"""Each load test has a hub of its own, as a process of its own: what it does to memory must be told apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.child_hub import ChildHub
from tests.e2e.exchange_fixture import Exchange


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ChildHub]:
    child = await ChildHub.start(await Exchange.found(tmp_path), ring_bytes=1024 * 1024)
    await child.populate()
    yield child
    await child.aclose()

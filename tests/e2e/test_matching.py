"""A platform's matcher on its own disk, against a real hub: killed again and again, it misses no match."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from exchange.ops.clocks import wall_ms
from exchange_client import ExchangeClient, MatcherFile
from tests.e2e import matching_platform
from tests.e2e.exchange_fixture import UK, World
from tests.e2e.matching_platform import config_to_json, content_of
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e

DEADLINE_S = 60.0
COUNT = 40


@asynccontextmanager
async def running(given: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
    """A platform's process and what it prints; killed in the end."""
    script = str(Path(matching_platform.__file__))
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, json.dumps(given), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.communicate()


async def stored(path: Path) -> int:
    """How far the platform's position on disk has come."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(10_000)
        rows = connection.execute("SELECT size FROM positions").fetchall()
    return int(str(rows[0][0])) if rows else 0


async def test_a_platform_that_is_killed_misses_no_match(world: World, tmp_path: Path) -> None:
    alpha = client_config(world.exchange, world.app.port, "alpha", tmp_path / "a")
    beta = client_config(world.exchange, world.app.port, "beta", tmp_path / "b")
    path = tmp_path / "matcher.sqlite"
    given = config_to_json(beta) | {"file": str(path), "content": COUNT, "origin": UK}
    source = random.Random(5)
    told: dict[str, int] = {}
    starts = []

    async with asyncio.timeout(DEADLINE_S), ExchangeClient(alpha) as client, client.publisher(UK) as publisher:
        for number in range(COUNT):
            await publisher.publish([a_signal(indicators=(content_of(number),)), a_signal()], timeout_s=DEADLINE_S)
            if number % 10 != 9:
                continue
            async with running(given) as lines:
                starts.append(json.loads(await lines.readline())["from"])
                enough = number + 1 if number < COUNT / 2 else len(told) + source.randrange(1, 10)
                while len(told) < enough:
                    line = json.loads(await lines.readline())
                    told[line["reference"]] = line["index"]
                while number < COUNT / 2 and await stored(path) <= starts[-1]:
                    await publisher.publish([a_signal()], timeout_s=DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S), running(given) as lines:
        starts.append(json.loads(await lines.readline())["from"])
        while len(told) < COUNT:
            line = json.loads(await lines.readline())
            told[line["reference"]] = line["index"]
    assert told.keys() == {str(number) for number in range(COUNT)}
    assert starts == sorted(starts)
    assert starts[-1] > 0
    file = MatcherFile(path)
    position = await file.load(UK)
    assert position is not None
    # Whatever lies before the stored position is known without the log.
    for number in range(COUNT):
        if told[str(number)] < position.range.size:
            (match,) = file.matcher.match([content_of(number)], now_ms=wall_ms())
            assert (match.publisher, match.index) == ("alpha", told[str(number)])
    file.close()

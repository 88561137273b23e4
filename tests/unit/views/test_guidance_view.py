"""The hub's view of guidance: it reads only its own kind, and goes on from its snapshot."""

from __future__ import annotations

import asyncio

from exchange.domain.guidance import Guidances, guidance_of
from exchange.errors import Unavailable
from exchange.views.guidance import GUIDANCE, GuidanceView
from exchange.views.keeper import Keeper
from tests.unit.builders import DIRECTORY
from tests.unit.views.directory_log import KEY, LEAST_GROWTH, Clock, DirectoryLog, directory_log

PROFILE = {"platform": "chatter", "version": 1, "languages": ["en"]}
DEADLINE_S = 20.0


def keeper(log: DirectoryLog) -> Keeper[Guidances]:
    return Keeper(GUIDANCE, DIRECTORY, log.leaves, log.file, KEY, Clock(), least_growth=LEAST_GROWTH)


async def test_a_profile_is_found_at_its_leaf_and_again_from_a_snapshot() -> None:
    log = await directory_log(LEAST_GROWTH)
    await log.say(guidance_of(PROFILE))
    index = log.chain.size - 1
    await keeper(log)._renew()
    log.store.read_indices.clear()
    await log.say(None)
    view = GuidanceView(log.store, await keeper(log).load(), Clock())
    task = asyncio.create_task(view.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    found = view.current()
                except Unavailable:
                    await asyncio.sleep(0.01)
                    continue
                break
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert found.entries["chatter"].index == index
    assert log.store.read_indices == {log.chain.size - 1}

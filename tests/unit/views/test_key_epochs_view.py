"""The hub's view of key epochs: behind the log by a moment, never wrong, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from exchange import codec
from exchange.domain.bodies import (
    Body,
    Community,
    DataVersion,
    KeyEpoch,
    State,
)
from exchange.domain.key_epochs import KeyEpochs
from exchange.errors import Fatal, Unavailable
from exchange.views.keeper import Keeper
from exchange.views.key_epochs import KEY_EPOCHS, KeyEpochsView
from exchange.views.replay import Replay
from tests.unit.builders import DIRECTORY, NOW_MS, community, digest
from tests.unit.views.directory_log import KEY, LEAST_GROWTH, Clock, DirectoryLog, directory_log, stored

EPOCH = KeyEpoch(1, State.ACTIVE, b"\x02" + digest("point"), NOW_MS, NOW_MS + 9, (DataVersion("unicode", "14.0.0"),))
DEADLINE_S = 20.0


def keeper(log: DirectoryLog) -> Keeper[KeyEpochs]:
    return Keeper(KEY_EPOCHS, DIRECTORY, log.leaves, log.file, KEY, Clock(), least_growth=LEAST_GROWTH)


@asynccontextmanager
async def following(log: DirectoryLog) -> AsyncIterator[KeyEpochsView]:
    view = KeyEpochsView(log.store, await keeper(log).load(), Clock())
    task = asyncio.create_task(view.run())
    try:
        yield view
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def reached(view: KeyEpochsView, size: int) -> KeyEpochs:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                if view.current().size >= size:
                    return view.current()
            except Unavailable:
                pass
            await asyncio.sleep(0.01)


async def test_it_reads_what_is_there_and_follows() -> None:
    log = await directory_log(300)
    await log.say(EPOCH)
    async with following(log) as view:
        with pytest.raises(Unavailable):
            view.current()  # nothing has been read yet: nothing is judged
        size = log.chain.size
        first = await reached(view, size)
        assert first.entries[1].epoch == EPOCH
        await log.say(replace(EPOCH, state=State.ENDED, begins_ms=0, ends_ms=0, data_versions=()))
        assert (await reached(view, size + 1)).entries[1].destroyed_at == size


async def test_it_goes_on_from_its_snapshot() -> None:
    log = await directory_log(LEAST_GROWTH)
    await log.say(EPOCH)
    await keeper(log)._renew()
    log.store.read_indices.clear()
    await log.say(None)
    async with following(log) as view:
        found = await reached(view, log.chain.size)
    assert found.entries[1].announced_at == log.chain.size - 2
    assert log.store.read_indices == {log.chain.size - 1}


async def test_leaves_that_are_not_those_that_were_sealed_end_it() -> None:
    log = await directory_log(3)
    log.store.alter(1, EPOCH)
    view = KeyEpochsView(log.store, Replay(log.leaves, KeyEpochs()), Clock())
    with pytest.raises(Fatal, match="not those of the tree"):
        await view.run()
    with pytest.raises(Unavailable):
        view.current()


async def test_nobody_judges_by_a_view_that_has_failed_nor_by_what_made_it_fail() -> None:
    log = await directory_log(3)
    replay = Replay(log.leaves, KeyEpochs())
    view = KeyEpochsView(log.store, replay, Clock())
    following_it = asyncio.create_task(view.run())
    await reached(view, log.chain.size)
    await log.say(None)
    log.store.alter(log.chain.size - 1, EPOCH)
    with pytest.raises(Fatal, match="not those of the tree"):
        await following_it
    with pytest.raises(Unavailable):
        view.current()
    assert replay.fold.entries == {}


@pytest.mark.parametrize("body", [EPOCH, community(), None], ids=["key_epoch", "community", "none"])
def test_a_header_is_made_whole_only_for_the_kinds_that_are_asked_for(body: Body | None) -> None:
    leaf = codec.frame_leaf(stored(5, body).frame)
    whole, at_ms = codec.decode_for_fold(leaf)
    picked, also_at_ms = codec.decode_for_fold(leaf, KEY_EPOCHS.kinds)
    assert whole.body == body
    assert at_ms == also_at_ms == NOW_MS + 5
    assert picked == (whole if body is EPOCH else replace(whole, body=None, signal_ids=()))
    assert isinstance(body, KeyEpoch | Community | None)

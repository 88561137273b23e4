"""The small folds of a community: made of their own few leaves, and never of what is not in the tree."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec import structs

from exchange.domain.bodies import (
    DataVersion,
    Election,
    KeyEpoch,
    State,
)
from exchange.domain.guidance import guidance_of
from exchange.errors import Fatal, Unavailable
from tests.contract.builders import seal
from tests.contract.followed_log import DEADLINE_S, Community, a_signal, caught_up, entry
from tests.unit.builders import NOW_MS, community_statement, digest


@pytest.fixture
def community(tmp_path: Path) -> Community:
    return Community(tmp_path)


EPOCH = KeyEpoch(1, State.ACTIVE, b"\x02" + digest("point"), NOW_MS, NOW_MS + 9, (DataVersion("unicode", "14.0.0"),))
VOTE = Election("vote", "A vote", NOW_MS, NOW_MS + 9, (1, 3), 60_000, 600_000, 14)


async def say_what_is_few(community: Community) -> None:
    """Say one statement of each kind of which there are few, between others."""
    few = [
        community_statement(body)
        for body in (EPOCH, VOTE, guidance_of({"platform": "chatter", "version": 1, "languages": ["en"]}))
    ]
    await community.say(*(a_signal(str(n)) for n in range(60)), *few, *(a_signal(f"then {n}") for n in range(3)))


async def test_small_folds_are_made_as_the_log_is_read_and_again_of_their_own_leaves_alone(
    community: Community,
) -> None:
    await say_what_is_few(community)
    for reads in (set(range(66)), {60, 61, 62, 65}):  # the newest one must still have its records
        community.store.read_indices.clear()
        async with community.following() as view:
            with pytest.raises(Unavailable):
                view.folds()  # nothing has been read yet: nothing is judged
            await caught_up(view, 66)
            folds = view.folds()
        assert folds.key_epochs.entries[1].epoch == EPOCH
        assert folds.key_epochs.entries[1].announced_at == 60
        ((id_, vote),) = folds.elections.entries.items()
        assert (id_, vote.id, vote.index, vote.election) == (id_, id_, 61, VOTE)
        assert id_ == community.store._disk.entries[61].statement_id
        assert folds.guidances.entries["chatter"].index == 62
        assert community.store.read_indices == reads
    await community.store.archive(64)
    async with community.following() as view:
        await caught_up(view, 66)
        assert list(view.folds().key_epochs.entries) == [1]


async def test_where_a_place_is_not_what_it_was_the_log_is_read_again(community: Community) -> None:
    await say_what_is_few(community)
    async with community.following() as view:
        await caught_up(view, 66)
    entries = community.store._disk.entries
    held, entries[60] = (
        entries[60],
        structs.replace(entry(60, community_statement(VOTE)), leaf_hash=entries[60].leaf_hash),
    )
    async with community.following() as view:
        with pytest.raises(Fatal, match="are not those of the log's tree"):
            await community.run
    entries[60] = held
    async with community.following() as view:
        await caught_up(view, 66)
        assert list(view.folds().key_epochs.entries) == [1]


async def test_nobody_judges_by_what_is_not_in_the_tree_in_a_long_burst_neither(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.views.telling.PAGE", 4)
    await community.say(a_signal("one"))
    async with community.following() as view:
        await caught_up(view, 1)
        folds = view.folds()
        entries = community.store._disk.entries
        burst = [a_signal(f"burst {n}") for n in range(12)]
        grown, group = community.chain.grow_by(tuple(entry(1 + at, each) for at, each in enumerate(burst)))
        await community.store.append(community.chain.head, group)
        entries[2] = structs.replace(entry(2, community_statement(EPOCH)), leaf_hash=entries[2].leaf_hash)
        await seal(community.store, grown.head)
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    view.current()
                except Unavailable:
                    break
                await asyncio.sleep(0.01)
        assert folds.key_epochs.entries == {}

"""The hub's view of a log's life and the eraser, over a store and a real file of facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import structs

from exchange import codec
from exchange.domain.bodies import (
    Body,
    Erasure,
    ErasureReason,
    Retraction,
    RetractionReason,
)
from exchange.domain.statement import Statement
from exchange.errors import Fatal, Unavailable
from exchange.ports import Doomed
from exchange.views.erasing import Eraser
from exchange.views.just_said import JustSaid
from tests.contract.builders import WIDTH
from tests.contract.followed_log import DEADLINE_S, Community, a_signal, caught_up, entry, ids_of
from tests.unit.builders import ALPHA, NOW_MS, UK, community_statement, pdq_record, signal_statement


@pytest.fixture
def community(tmp_path: Path) -> Community:
    return Community(tmp_path)


async def test_it_reads_what_is_there_and_follows(community: Community) -> None:
    one = a_signal("one")
    await community.say(one, *(a_signal(str(n)) for n in range(200)))
    async with community.following() as view:
        with pytest.raises(Unavailable):
            view.current()
        await caught_up(view, 201)
        (id_,) = ids_of(one)
        assert view.current().signals((id_,))[id_].live
        await community.say(community_statement(Retraction((id_,), RetractionReason.ERROR), ALPHA))
        await caught_up(view, 202)
        assert view.current().signals((id_,))[id_].retracted_at == 201
        assert view.current().size == 202


async def test_what_was_just_said_here_is_not_read_again(community: Community, monkeypatch: pytest.MonkeyPatch) -> None:
    statements, just_said = [a_signal(str(n)) for n in range(100)], JustSaid()
    await community.say(*statements)
    leaves = [codec.frame_leaf(each.frame) for each in await community.store.read(0, 50)]
    just_said.put(10, [codec.decode_sequenced(leaf) for leaf in leaves[10:40]])
    read, decode = list[bytes](), codec.decode_sequenced

    def noted(leaf: bytes) -> codec.SequencedHeader:
        read.append(leaf)
        return decode(leaf)

    monkeypatch.setattr(codec, "decode_sequenced", noted)
    async with community.following(just_said) as view:
        await caught_up(view, 100)
        ids = [id_ for each in statements for id_ in ids_of(each)]
        assert [view.current().signals((id_,))[id_].index for id_ in ids] == list(range(100))
    assert len(read) == 70
    assert not set(read) & set(leaves[10:40])


async def test_it_goes_on_where_it_was(community: Community) -> None:
    await community.say(*(a_signal(str(n)) for n in range(60)))
    async with community.following() as view:
        await caught_up(view, 60)
    community.store.read_indices.clear()
    await community.say(a_signal("later"))
    async with community.following() as view:
        await caught_up(view, 61)
    assert community.store.read_indices == {59, 60}  # the last one that it had must still have its records


@pytest.mark.parametrize("length", [3, 5])
async def test_a_fold_of_another_log_begins_again(community: Community, length: int) -> None:
    await community.say(*(a_signal(f"before {n}") for n in range(4)))
    async with community.following() as view:
        await caught_up(view, 4)
    other = Community(community.folder)
    mine = [a_signal(f"after {n}") for n in range(length)]
    await other.say(*mine)
    async with other.following() as view:
        await caught_up(view, length)
        known = view.current().signals([id_ for each in mine for id_ in ids_of(each)])
        gone = view.current().signals(ids_of(a_signal("before 0")))
    assert (len(known), len(gone)) == (length, 0)


async def test_what_is_not_the_logs_own_is_not_taken(community: Community) -> None:
    await community.say(*(a_signal(str(n)) for n in range(5)))
    entries = community.store._disk.entries
    entries[2] = structs.replace(entry(2, a_signal("forged")), leaf_hash=entries[2].leaf_hash)
    async with community.following() as view:
        with pytest.raises(Fatal, match="are not those of the log's tree"):
            await community.run
        assert community.facts.place().size == 0
        with pytest.raises(Unavailable):
            view.current()


async def test_who_may_read_what_is_read_with_it_and_below_the_floor_it_is_nobody(community: Community) -> None:
    secret = a_signal("secret", audience=["beta"])
    await community.say(secret, *(a_signal(str(n)) for n in range(WIDTH)))
    (id_,) = ids_of(secret)
    async with community.following() as view:
        await caught_up(view, WIDTH + 1)
        assert view.current().signals((id_,))[id_].audience == frozenset({"beta"})
        await community.facts.forget(None)
    await community.store.archive(WIDTH)
    async with community.following() as view:
        await caught_up(view, WIDTH + 1)
        assert view.current().signals((id_,))[id_].audience == frozenset()
        await community.facts.forget(WIDTH)
        assert view.current().signals((id_,)) == {}
        assert len(view.current().signals(ids_of(a_signal(str(WIDTH - 1))))) == 1


async def test_whoever_waits_for_the_newest_entries_does_not_wait_long(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.views.life.BEHIND_S", 3_600.0)
    await community.say(a_signal("one"))
    async with community.following() as view:
        await caught_up(view, 1)
        await community.say(a_signal("two"))
        async with asyncio.timeout(DEADLINE_S):
            await view.reached(2)
    assert len(ids_of(a_signal("two"))) == 1


async def test_whoever_asks_a_hub_that_has_just_started_waits_until_it_has_read_its_log(community: Community) -> None:
    await community.say(a_signal("one"))
    async with community.following() as view, asyncio.timeout(DEADLINE_S):
        with pytest.raises(Unavailable, match="still reading"):
            view.current()
        await view.caught_up()
        assert view.current().size == 1


async def test_nobody_waits_long_for_a_hub_that_has_much_to_read(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for once after the start, not by each who asks, nor again where the view begins again."""
    monkeypatch.setattr("exchange.views.life._PATIENCE_S", 0.0)
    await community.say(a_signal("one"))
    async with community.following() as view:
        with pytest.raises(Unavailable, match="still reading"):
            await view.caught_up()


@asynccontextmanager
async def erasing(community: Community, *, now_ms: int = NOW_MS) -> AsyncIterator[Eraser]:
    async with community.following() as view:
        await caught_up(view, community.chain.size)

        async def erased(indices: Sequence[int]) -> None:
            community.store.done.append(f"memory {sorted(indices)}")

        yield Eraser(
            UK, community.store, community.facts, erased, lambda: now_ms, ready=view.placed, moving=view.moving
        )


def records(community: Community, index: int) -> tuple[bytes, ...]:
    found = codec.decode_frame(community.store._disk.entries[index].frame)
    assert found.present == bool(found.records)
    return found.records


def written(community: Community) -> list[str]:
    """Return the erasures that put a frame in the place of another."""
    return [each for each in community.store.done if each.startswith("store [") and each != "store []"]


def about(*names: str, **changes: object) -> Statement:
    return signal_statement(records=[pdq_record(name) for name in names], seed=names[0], **changes).statement  # type: ignore[arg-type]


def erasure(*ids: bytes) -> Body:
    return Erasure(ids, ErasureReason.ON_REQUEST)


async def test_what_is_over_goes_whole_and_the_store_comes_first(community: Community) -> None:
    await community.say(about("a", "b", expires_at_ms=NOW_MS + 5), about("c"))
    async with erasing(community, now_ms=NOW_MS + 4) as eraser:
        assert await eraser.erase() == 0
    async with erasing(community, now_ms=NOW_MS + 5) as eraser:
        assert await eraser.erase() == 1
        assert await eraser.erase() == 0
    assert records(community, 0) == ()
    assert len(records(community, 1)) == 1
    assert community.store.done == ["store [0]", "memory [0]"]


async def test_one_signal_of_several_goes_alone_and_the_last_takes_the_statement_with_it(community: Community) -> None:
    said = about("a", "b", "c")
    one, two, three = ids_of(said)
    await community.say(said, community_statement(erasure(two), ALPHA))
    async with erasing(community) as eraser:
        await eraser.erase()
    assert records(community, 0) == (said.records[0], b"", said.records[2])
    await community.say(community_statement(erasure(one, three), ALPHA))
    async with erasing(community) as eraser:
        await eraser.erase()
    assert codec.decode_frame(community.store._disk.entries[0].frame).erased


async def test_a_crash_before_it_is_noted_repeats_it_and_nothing_else(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = about("a", "b")
    await community.say(said, community_statement(erasure(ids_of(said)[0]), ALPHA))
    async with erasing(community) as eraser:
        with monkeypatch.context() as patch:

            async def crash(_: object) -> None:
                raise asyncio.CancelledError

            patch.setattr(community.facts, "gone", crash)
            with pytest.raises(asyncio.CancelledError):
                await eraser.erase()
        assert await eraser.erase() == 1
        assert await eraser.erase() == 0
    assert records(community, 0) == (b"", said.records[1])


async def test_a_fold_of_another_log_erases_nothing_here(community: Community) -> None:
    """The entry itself is asked: it must be over, or hold what was erased."""
    said = about("a", "b")
    await community.say(said)
    async with erasing(community) as eraser:

        async def wrong(*_: object) -> list[Doomed]:
            return [Doomed(0, None), Doomed(0, frozenset({bytes(32)}))]

        eraser._facts = cast("Any", SimpleNamespace(doomed=wrong, gone=community.facts.gone))
        await eraser.erase()
    assert records(community, 0) == said.records
    assert written(community) == []


async def test_what_is_erased_already_is_not_written_again(community: Community) -> None:
    await community.say(about("a", expires_at_ms=NOW_MS + 5))
    for _ in range(2):
        async with erasing(community, now_ms=NOW_MS + 5) as eraser:
            await eraser.erase()
            await community.facts.forget(None)
    assert written(community) == ["store [0]"]


async def test_what_another_hub_has_erased_leaves_the_memory_of_this_one(community: Community) -> None:
    await community.say(about("a", expires_at_ms=NOW_MS + 5))
    for _ in range(2):
        async with erasing(community, now_ms=NOW_MS + 5) as eraser:
            await eraser.erase()
            await community.facts.forget(None)
    assert community.store.done == ["store [0]", "memory [0]", "memory [0]", "store []"]


async def test_where_the_file_cannot_be_cut_yet_memory_is_clean_already(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    await community.say(about("a", expires_at_ms=NOW_MS + 5))
    async with erasing(community, now_ms=NOW_MS + 5) as eraser:

        async def held(_: object) -> None:
            raise Unavailable("a reader of the file keeps erased bytes in its log")

        with monkeypatch.context() as patch:
            patch.setattr(community.store, "erase", held)
            with pytest.raises(Unavailable):
                await eraser.erase()
        assert community.store.done == ["memory [0]"]
        assert await eraser.erase() == 1  # it is not noted as done before it is


async def test_below_the_floor_there_is_nothing_to_erase(community: Community) -> None:
    await community.say(*(about(str(n), expires_at_ms=NOW_MS + 1) for n in range(WIDTH)))
    await community.store.archive(WIDTH)
    async with erasing(community, now_ms=NOW_MS + 1) as eraser:
        done = 0
        while count := await eraser.erase():
            done += count
    assert done == WIDTH
    assert written(community) == []

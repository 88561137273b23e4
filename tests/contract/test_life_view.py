"""The hub's view of a log's life and the eraser, over a store and a real file of facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exchange import codec
from exchange.domain.bodies import (
    Body,
    DataVersion,
    Election,
    Erasure,
    ErasureReason,
    KeyEpoch,
    Retraction,
    RetractionReason,
    State,
)
from exchange.domain.guidance import guidance_of
from exchange.domain.statement import Leaf, Statement, statement_id
from exchange.errors import Fatal, Unavailable
from exchange.ledger.merkle import leaf_hash
from exchange.ports import Doomed, StoredEntry
from exchange.stores.facts import FactsFile
from exchange.views.erasing import Eraser
from exchange.views.life import LifeView
from tests.contract.builders import WIDTH, Chain, seal
from tests.contract.memory_store import MemoryStore
from tests.unit.builders import ALPHA, NOW_MS, UK, community_statement, digest, pdq_record, signal_statement
from tests.unit.views.directory_log import Clock

DEADLINE_S = 20.0


def entry(index: int, statement: Statement) -> StoredEntry:
    """Return a statement as it is stored."""
    leaf = codec.encode_leaf(Leaf(index, NOW_MS + index, False, 9, statement.payload, statement.signatures))
    frame = codec.full_frame(leaf, statement.records, statement.audience_record)
    return StoredEntry(index, statement_id(statement.payload), leaf_hash(leaf), NOW_MS + index, frame)


def a_signal(name: str, **changes: object) -> Statement:
    """Return a signal about one photograph."""
    return signal_statement(records=[pdq_record(name)], seed=name, **changes).statement  # type: ignore[arg-type]


def ids_of(statement: Statement) -> tuple[bytes, ...]:
    return codec.decode_header(statement.payload, strict=True).signal_ids


class CountingStore(MemoryStore):
    """Remembers which entries were read, and what was done in which order."""

    def __init__(self) -> None:
        super().__init__(read_at_most=50)
        self.read_indices: set[int] = set()
        self.done: list[str] = []

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        found = await super().read(start, limit)
        self.read_indices.update(each.index for each in found)
        return found

    async def erase(self, frames: Mapping[int, bytes]) -> None:
        await super().erase(frames)
        self.done.append(f"store {sorted(frames)}")


class Community:
    """A community's log, and what follows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = CountingStore()
        self.chain = Chain()
        self.facts: FactsFile

    async def say(self, *statements: Statement) -> None:
        """Commit statements as one group."""
        grown, group = self.chain.grow_by(
            tuple(entry(self.chain.size + at, each) for at, each in enumerate(statements))
        )
        await self.store.append(self.chain.head, group)
        await seal(self.store, grown.head)
        self.chain = grown

    @asynccontextmanager
    async def following(self) -> AsyncIterator[LifeView]:
        """Run the view for as long as the block lasts."""
        self.facts = await FactsFile.open(self.folder / "life")
        view = LifeView(self.store, self.store, self.facts, Clock())
        task = asyncio.create_task(view.run())
        try:
            yield view
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.facts.aclose()


@pytest.fixture
def community(tmp_path: Path) -> Community:
    return Community(tmp_path)


async def caught_up(view: LifeView, size: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await view.reached(size)
                view.current()
            except Unavailable:
                await asyncio.sleep(0.01)
            else:
                return


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


async def test_it_goes_on_where_it_was(community: Community) -> None:
    await community.say(*(a_signal(str(n)) for n in range(60)))
    async with community.following() as view:
        await caught_up(view, 60)
    community.store.read_indices.clear()
    await community.say(a_signal("later"))
    async with community.following() as view:
        await caught_up(view, 61)
    assert community.store.read_indices == {60}


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
    entries[2] = replace(entry(2, a_signal("forged")), leaf_hash=entries[2].leaf_hash)
    async with community.following() as view:
        with pytest.raises(Fatal, match="are not those of the log's tree"):
            await view.run()
        assert community.facts.place().size == 0
        with pytest.raises(Unavailable):
            view.current()


EPOCH = KeyEpoch(1, State.ACTIVE, b"\x02" + digest("point"), NOW_MS, NOW_MS + 9, (DataVersion("unicode", "14.0.0"),))
VOTE = Election("vote", "A vote", NOW_MS, NOW_MS + 9, (1, 3), 60_000, 600_000, 14)
PROFILE = {"platform": "chatter", "version": 1, "languages": ["en"]}


async def say_what_is_few(community: Community) -> None:
    """Say one statement of each kind of which there are few, between others."""
    few = [community_statement(body) for body in (EPOCH, VOTE, guidance_of(PROFILE))]
    await community.say(*(a_signal(str(n)) for n in range(60)), *few, *(a_signal(f"then {n}") for n in range(3)))


async def test_small_folds_are_made_as_the_log_is_read_and_again_of_their_own_leaves_alone(
    community: Community,
) -> None:
    await say_what_is_few(community)
    for reads in (set(range(66)), {60, 61, 62}):
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
    held, entries[60] = entries[60], replace(entry(60, community_statement(VOTE)), leaf_hash=entries[60].leaf_hash)
    async with community.following() as view:
        with pytest.raises(Fatal, match="are not those of the log's tree"):
            await view.run()
    entries[60] = held
    async with community.following() as view:
        await caught_up(view, 66)
        assert list(view.folds().key_epochs.entries) == [1]


async def test_nobody_judges_by_what_is_not_in_the_tree_in_a_long_burst_neither(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.views.life.PAGE", 4)
    await community.say(a_signal("one"))
    async with community.following() as view:
        await caught_up(view, 1)
        folds = view.folds()
        forged = community_statement(EPOCH)
        entries = community.store._disk.entries
        # A tree of twelve signals, in whose rows stands something else: no page of them is taken.
        burst = [a_signal(f"burst {n}") for n in range(12)]
        grown, group = community.chain.grow_by(tuple(entry(1 + at, each) for at, each in enumerate(burst)))
        await community.store.append(community.chain.head, group)
        entries[2] = replace(entry(2, forged), leaf_hash=entries[2].leaf_hash)
        await seal(community.store, grown.head)
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    view.current()
                except Unavailable:
                    break
                await asyncio.sleep(0.01)
        assert folds.key_epochs.entries == {}


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


@asynccontextmanager
async def erasing(community: Community, *, now_ms: int = NOW_MS) -> AsyncIterator[Eraser]:
    async with community.following() as view:
        await caught_up(view, community.chain.size)

        async def erased(indices: Sequence[int]) -> None:
            community.store.done.append(f"memory {sorted(indices)}")

        yield Eraser(UK, community.store, community.facts, erased, lambda: now_ms, ready=view.placed)


def records(community: Community, index: int) -> tuple[bytes, ...]:
    found = codec.decode_frame(community.store._disk.entries[index].frame)
    assert found.present == bool(found.records)
    return found.records


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
    assert community.store.done == []


async def test_what_is_erased_already_is_not_written_again(community: Community) -> None:
    await community.say(about("a", expires_at_ms=NOW_MS + 5))
    for _ in range(2):
        async with erasing(community, now_ms=NOW_MS + 5) as eraser:
            await eraser.erase()
            await community.facts.forget(None)
    assert community.store.done == ["store [0]", "memory [0]"]


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
    assert community.store.done == []

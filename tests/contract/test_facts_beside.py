"""A long log taken into its fold by a process beside: the same fold, whatever becomes of the process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import structs

from exchange import codec
from exchange.domain.bodies import Erasure, ErasureReason, Retraction, RetractionReason
from exchange.errors import Fatal, Unavailable
from exchange.ledger.merkle import CompactRange
from exchange.stores.facts import FactsFile
from exchange.stores.facts_beside import FactsBeside, beside
from exchange.stores.facts_page import Page, pack, unpack
from exchange.views import life, telling
from exchange.views.making import Making
from tests.contract.builders import WIDTH
from tests.contract.followed_log import Community, a_signal, caught_up, entry, ids_of
from tests.unit.builders import ALPHA, NOW_MS, community_statement, digest, pdq_record, signal_statement

SIZE = 400
HASHES = tuple(digest(f"hash {n}") for n in range(3))

Way = Callable[[FactsFile], AbstractAsyncContextManager[Making]]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a log of some hundreds of entries one that has far to go, in pages and commits of which it has many."""
    monkeypatch.setattr(life, "FAR", 100)
    monkeypatch.setattr(life, "COMMITTED_BYTES", 60_000)
    monkeypatch.setattr(telling, "PAGE", 40)


@pytest.fixture
async def community(tmp_path: Path) -> Community:
    """Return a log with something of everything that a fold reads, part of it below the floor."""
    made = Community(tmp_path)
    one, secret = a_signal("one"), a_signal("secret", audience=["beta"])
    await made.say(a_signal("below", audience=["beta"]), *(a_signal(f"below {n}") for n in range(WIDTH)))
    await made.say(one, secret, signal_statement(records=[pdq_record("a"), pdq_record("b")]).statement)
    await made.say(
        community_statement(Retraction(ids_of(one), RetractionReason.ERROR, NOW_MS), ALPHA),
        community_statement(Erasure(ids_of(secret), ErasureReason.LEGAL), ALPHA),
        signal_statement(records=[pdq_record("one"), pdq_record("two")], seed="again").statement,
    )
    await made.say(*(a_signal(str(n)) for n in range(SIZE - made.chain.size)))
    await made.store.archive(WIDTH)
    return made


def rows(community: Community) -> dict[str, list[Any]]:
    """Return everything that the fold's file holds."""
    file = apsw.Connection(str(community.folder / "life"), flags=apsw.SQLITE_OPEN_READONLY)
    tables: Sequence[Any] = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    found = {name: sorted(file.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for (name,) in tables}
    file.close()
    return found


async def made_here(community: Community) -> dict[str, list[Any]]:
    """Return the fold as the hub's own process makes it; it is gone afterwards."""
    async with community.following() as view:
        await caught_up(view, SIZE)
        found = rows(community)
        await community.facts.forget(None)
    return found


class Watched:
    """A way to have the fold made that remembers what came of it, and may do something before a page."""

    def __init__(self, before: Callable[[int, FactsBeside], None] = lambda _at, _made: None) -> None:
        self._before = before
        self.answers: list[bool] = []
        self.places: list[int] = []

    @asynccontextmanager
    async def __call__(self, facts: FactsFile) -> AsyncIterator[Making]:
        async with beside(facts, asyncio.Lock()) as made:
            self._made, self._facts = made, facts
            yield self

    async def take(self, entries: Sequence[tuple[bytes, bytes]], place: CompactRange | None) -> bool:
        self._before(len(self.answers), self._made)
        self.answers.append(await self._made.take(entries, place))
        self.places.append(self._facts.place().size)
        return self.answers[-1]


def pid(made: FactsBeside) -> int:
    assert made.child.process is not None
    return made.child.process.pid


async def test_the_fold_is_the_one_that_is_made_here(community: Community) -> None:
    expected, way = await made_here(community), Watched()
    async with community.following(making=way) as view:
        await caught_up(view, SIZE)
        assert rows(community) == expected
        assert view.folds() is not None
    assert way.answers == [True] * len(way.answers)
    assert len(way.answers) >= SIZE // 40
    # It is committed in several parts, and nothing is told to be taken before it is.
    assert 2 < len(set(way.places)) < len(way.places)
    assert way.places[-1] == SIZE


@pytest.mark.parametrize("page", [0, 5, 8])
async def test_what_a_killed_process_has_committed_stays_and_the_rest_is_taken_here(
    community: Community, page: int
) -> None:
    def kill(at: int, made: FactsBeside) -> None:
        if at == page:
            os.kill(pid(made), signal.SIGKILL)

    expected, way = await made_here(community), Watched(kill)
    async with community.following(making=way) as view:
        await caught_up(view, SIZE)
        assert rows(community) == expected
    assert way.answers == [True] * page + [False]
    assert way.places[-1] < SIZE


async def test_without_a_process_it_is_taken_here(community: Community, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = await made_here(community)
    monkeypatch.setattr("sys.executable", "/no/such/interpreter")
    way = Watched()
    async with community.following(making=way) as view:
        await caught_up(view, SIZE)
        assert rows(community) == expected
    assert way.answers == [False]


async def test_what_is_not_the_logs_own_is_not_taken(community: Community) -> None:
    entries = community.store._disk.entries
    at = SIZE - 1
    entries[at] = structs.replace(entry(at, a_signal("forged")), leaf_hash=entries[at].leaf_hash)
    way = Watched()
    async with community.following(making=way) as view:
        with pytest.raises(Fatal, match="are not those of the log's tree"):
            await community.run
        assert community.facts.place().size == 0
        with pytest.raises(Unavailable):
            view.current()
    assert way.places[-1] < SIZE


async def test_what_is_near_is_taken_here(community: Community) -> None:
    async with community.following() as view:
        await caught_up(view, SIZE)
    await community.say(*(a_signal(f"later {n}") for n in range(life.FAR - 1)))
    way = Watched()
    async with community.following(making=way) as view:
        await caught_up(view, SIZE + life.FAR - 1)
    assert way.answers == []


async def test_who_sorts_and_forgets_meanwhile_takes_nothing_from_it(community: Community) -> None:
    """The eraser and the archiver go on beside it."""
    expected = await made_here(community)
    turn = asyncio.Lock()

    @asynccontextmanager
    async def disturbed(facts: FactsFile) -> AsyncIterator[Making]:
        async with beside(facts, turn) as made:

            class Disturbed:
                async def take(self, entries: Sequence[tuple[bytes, bytes]], place: CompactRange | None) -> bool:
                    taken = await made.take(entries, place)
                    await facts.sort()
                    await facts.forget(WIDTH // 2)
                    return taken

            yield Disturbed()
            assert turn.locked()

    async with community.following(making=disturbed) as view:
        await caught_up(view, SIZE)
        assert rows(community) == expected
    async with community.following() as view:
        await caught_up(view, SIZE)
        ids = [id_ for n in range(SIZE - WIDTH - 10) for id_ in ids_of(a_signal(str(n)))]
        assert len(view.current().signals(ids)) == len(ids)
    assert not turn.locked()


async def test_a_file_that_is_at_another_place_takes_nothing(community: Community) -> None:
    async with community.following() as view:
        await caught_up(view, SIZE)
        before, place = rows(community), community.facts.place()
        leaf = codec.frame_leaf((await community.store.read(SIZE - 1, 1))[0].frame)
        with pytest.raises(Unavailable, match="at another place"):
            await community.facts.take([telling.told(SIZE - 1, leaf, b"")], place)
        assert rows(community) == before
        assert community.facts.place() == place


@pytest.mark.parametrize("place", [None, CompactRange(), CompactRange.of(7, HASHES)])
def test_a_page_comes_out_as_it_went_in(place: CompactRange | None) -> None:
    size = place.size if place is not None else 3
    entries = [(b"leaf", b""), (b"", b"f" * 70_000), (b"", b"frame")][:size]
    page = Page(size - len(entries), entries, place)
    assert unpack(pack(page)) == page
    assert (
        unpack(
            pack(
                replace(page, entries=[(b"found again", frame) if frame else (leaf, frame) for leaf, frame in entries])
            )
        )
        == page
    )

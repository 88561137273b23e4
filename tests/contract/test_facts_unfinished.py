"""A fold whose taking does not end well, on a full disk or for a caller that is gone: memory and file agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pytest

from exchange.codec_bodies import kind_of
from exchange.domain.bodies import Body, Opinion, OpinionCategory, OpinionReason, Retraction, RetractionReason
from exchange.domain.statement import Header
from exchange.errors import Unavailable
from exchange.ports import ToldEntry
from exchange.stores.facts import FactsFile
from tests.unit.builders import NOW_MS, UK, digest, signal_body

BEFORE = tuple(digest(f"before {n}") for n in range(500))
NEW = tuple(digest(f"new {n}") for n in range(500))
ALL = (*BEFORE, *NEW)
#: As many pages as a file may ever have.
PLENTY = 1 << 30


def entry(index: int, body: Body, ids: Sequence[bytes] = ()) -> ToldEntry:
    header = Header(UK, kind_of(body), "alpha", NOW_MS, bytes(16), tuple(ids), body)
    return ToldEntry(index, header, NOW_MS, late=False, directory_size=10, audience=None)


def entries_of(first: int, ids: Sequence[bytes], targets: Sequence[bytes]) -> list[ToldEntry]:
    """Return entries that say these signals, and something about those."""
    said = [entry(first + n, signal_body(), ids[at : at + 50]) for n, at in enumerate(range(0, len(ids), 50))]
    opinion = Opinion(tuple(targets), OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE)
    retraction = Retraction(tuple(targets), RetractionReason.ERROR, NOW_MS)
    return [*said, entry(first + len(said), opinion), entry(first + len(said) + 1, retraction)]


#: Some of these are said twice, and then something is said about them.
FIRST = entries_of(0, (*BEFORE, *BEFORE[250:350]), BEFORE[:50])
NEXT = entries_of(len(FIRST), (*NEW, *BEFORE[300:400]), (*NEW[:50], *BEFORE[225:325]))


async def take(facts: FactsFile, entries: Sequence[ToldEntry]) -> None:
    await facts.take(entries, facts.place().extend([digest(f"leaf {each.index}") for each in entries]))


async def leave_room(facts: FactsFile, pages: int) -> None:
    """Let the file grow by so many pages and no further."""
    await facts.writes(lambda file: file.pragma("max_page_count", file.pragma("page_count") + pages))


@pytest.fixture(params=[10_000, 100], ids=["in memory", "sorted in at once"])
async def facts(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[FactsFile]:
    made = await FactsFile.open(tmp_path / "life", most_newest=request.param)
    await take(made, FIRST)
    yield made
    await made.aclose()


@pytest.fixture
async def other(tmp_path: Path, facts: FactsFile) -> AsyncIterator[FactsFile]:
    """A file that had room for all of it."""
    made = await FactsFile.open(tmp_path / "other", most_newest=facts.most_newest)
    await take(made, FIRST)
    await take(made, NEXT)
    yield made
    await made.aclose()


async def rows(facts: FactsFile) -> dict[str, list[Any]]:
    """Return everything that the file holds, which is whole."""

    def job(file: apsw.Connection) -> dict[str, list[Any]]:
        assert file.pragma("integrity_check") == "ok"
        tables: list[Any] = file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {name: sorted(file.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for (name,) in tables}

    return await facts.reads(job)


async def test_where_the_disk_fills_while_it_takes_it_takes_nothing(facts: FactsFile, other: FactsFile) -> None:
    """In whatever statement that is: each time there is room for one page more."""
    before, place, known = await rows(facts), facts.place(), facts.signals(BEFORE)
    refused = 0
    for pages in count():
        await leave_room(facts, pages)
        try:
            await take(facts, NEXT)
        except Unavailable as error:
            assert "disk is full" in error.message
            refused += 1
        else:
            break
        assert facts.place() == place
        assert facts.signals(ALL) == known
        assert await rows(facts) == before
    assert refused > 10
    assert facts.signals(ALL) == other.signals(ALL)
    assert await rows(facts) == await rows(other)
    for each in (facts, other):
        await leave_room(each, PLENTY)
        await each.sort()
    assert await rows(facts) == await rows(other)
    assert not facts.damaged


@pytest.mark.parametrize("facts", [10_000], indirect=True)
async def test_where_the_disk_fills_while_it_sorts_it_finds_everything(facts: FactsFile, other: FactsFile) -> None:
    await take(facts, NEXT)
    before, known = await rows(facts), facts.signals(ALL)
    assert len(known) == len(ALL)
    refused = 0
    for pages in count():
        await leave_room(facts, pages)
        try:
            await facts.sort()
        except Unavailable as error:
            assert "disk is full" in error.message
            refused += 1
        else:
            break
        assert facts.signals(ALL) == known
        assert await rows(facts) == before
    assert refused > 3
    assert facts.signals(ALL) == known
    await other.sort()
    assert await rows(facts) == await rows(other)
    assert not facts.damaged


async def test_what_a_caller_that_is_gone_had_taken_is_taken(facts: FactsFile) -> None:
    taking = asyncio.ensure_future(take(facts, NEXT))
    await asyncio.sleep(0)  # now the thread has it
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await facts.sort()  # behind it
    assert facts.place().size == len(FIRST) + len(NEXT)
    assert len(facts.signals(ALL)) == len(ALL)
    await take(facts, entries_of(facts.place().size, [digest("one more")], NEW[50:60]))

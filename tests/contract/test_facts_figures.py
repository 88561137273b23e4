"""What a log's facts add up to for a report: of a period, and of an election, and of the last word alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.domain.bodies import (
    Disposition,
    DispositionState,
    Erasure,
    ErasureReason,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Retraction,
    RetractionReason,
    SourceAction,
)
from exchange.stores.facts import FactsFile
from exchange.stores.facts_figures import FactsFigures
from tests.contract.facts_book import ONE, TWO, Book
from tests.unit.builders import digest, signal_body

ELECTION = digest("an election")
ACTED = (DispositionState.ACTIONED, SourceAction.REMOVED)


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Book]:
    """Entry 0 is signal ONE, which names an election, entry 1 signal TWO, which does not."""
    facts = await FactsFile.open(tmp_path / "facts")
    made = Book(facts)
    await made.tell(replace(signal_body(), election=ELECTION), ids=[ONE])
    await made.tell(signal_body(), ids=[TWO])
    yield made
    await facts.aclose()


async def test_the_last_word_of_each_member_counts(book: Book) -> None:
    for by in ("beta", "gamma"):
        await book.tell(Disposition((ONE, TWO), DispositionState.PENDING_REVIEW), by)
    index = (await book.tell(Disposition((ONE,), *ACTED), "beta")).index
    figures = FactsFigures(book.facts)
    assert await figures.dispositions(0, b"") == {ACTED: 1, (DispositionState.PENDING_REVIEW, 0): 3}
    assert await figures.dispositions(index, b"") == {ACTED: 1}
    assert await figures.dispositions(0, ELECTION) == {ACTED: 1, (DispositionState.PENDING_REVIEW, 0): 1}
    assert await figures.dispositions(index + 1, b"") == {}


async def test_each_end_counts_once(book: Book) -> None:
    await book.tell(Retraction((ONE, TWO), RetractionReason.OVERTURNED_ON_APPEAL))
    await book.tell(Retraction((ONE,), RetractionReason.ERROR))
    index = (await book.tell(Erasure((TWO,), ErasureReason.ON_REQUEST))).index
    figures = FactsFigures(book.facts)
    back = (False, int(RetractionReason.OVERTURNED_ON_APPEAL))
    gone = (True, int(ErasureReason.ON_REQUEST))
    assert await figures.endings(0, b"") == {back: 2, gone: 1}
    assert await figures.endings(0, ELECTION) == {back: 1}
    assert await figures.endings(index, b"") == {gone: 1}


async def test_a_signal_that_several_call_wrong_is_disputed_once(book: Book) -> None:
    for by in ("beta", "gamma"):
        await book.tell(Opinion((ONE,), OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE), by)
        await book.tell(Opinion((TWO,), OpinionCategory.POSITIVE_CLASS, OpinionReason.REVIEWED), by)
    figures = FactsFigures(book.facts)
    assert await figures.disputed(0, b"") == {"alpha": 1}
    assert await figures.disputed(0, ELECTION) == {"alpha": 1}
    await book.tell(Opinion((ONE,), OpinionCategory.POSITIVE_CLASS, OpinionReason.REVIEWED), "beta")
    assert await figures.disputed(0, b"") == {"alpha": 1}
    await book.tell(Opinion((ONE,), OpinionCategory.POSITIVE_CLASS, OpinionReason.REVIEWED), "gamma")
    assert await figures.disputed(0, b"") == {}

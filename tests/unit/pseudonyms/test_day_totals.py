"""What members used, told once a day and community."""

from __future__ import annotations

import pytest

from exchange.domain.bodies import Budget, BudgetTotal
from exchange.domain.validation import DAY_MS
from exchange.errors import Unavailable
from exchange.pseudonyms.budget import Budgets, Reserved, Terms
from exchange.pseudonyms.day_totals import GRACE_MS, MOST_DAYS, DayTotals
from tests.unit.pseudonyms.budget_book import MemoryBook
from tests.unit.pseudonyms.ledgers import MemoryLedgers

UK = "test.exchange/uk"
TODAY = 20_000
NOW = TODAY * DAY_MS + GRACE_MS
MEMBERS = {"alpha", "beta"}


@pytest.fixture
def ledgers() -> MemoryLedgers:
    return MemoryLedgers()


@pytest.fixture
def book() -> MemoryBook:
    return MemoryBook()


def made(ledgers: MemoryLedgers, book: MemoryBook) -> DayTotals:
    return DayTotals(ledgers, Budgets(book, lambda _: Terms(0, 0), lambda: NOW), book)


async def used(book: MemoryBook, day: int, epoch: int, member: str, count: int) -> None:
    await book.write(epoch, member, Reserved(), day=day, count=count)


async def test_a_day_is_told_when_it_is_over_rounded_and_sorted(ledgers: MemoryLedgers, book: MemoryBook) -> None:
    for epoch, member, count in [(2, "alpha", 1), (1, "beta", 1_001), (1, "alpha", 2_000), (1, "gamma", 5)]:
        await used(book, TODAY - 1, epoch, member, count)
    totals = made(ledgers, book)
    assert await totals.tell(UK, MEMBERS, NOW - 1) == []  # the hub's clock may be behind
    assert await totals.tell(UK, MEMBERS, NOW) == [TODAY - 1]
    rows = (BudgetTotal("alpha", 1, 2_000), BudgetTotal("alpha", 2, 1_000), BudgetTotal("beta", 1, 2_000))
    assert ledgers.said == [(UK, Budget(TODAY - 1, rows))]


async def test_a_day_is_told_once(ledgers: MemoryLedgers, book: MemoryBook) -> None:
    await used(book, TODAY - 1, 1, "alpha", 7)
    for _ in range(2):  # a restart is another object over the same book
        await made(ledgers, book).tell(UK, MEMBERS, NOW)
    assert len(ledgers.said) == 1
    assert await made(ledgers, book).tell("test.exchange/side", MEMBERS, NOW) == [TODAY - 1]


async def test_what_did_not_get_through_is_told_later(ledgers: MemoryLedgers, book: MemoryBook) -> None:
    await used(book, TODAY - 2, 1, "alpha", 7)
    await used(book, TODAY - 1, 1, "beta", 7)
    ledgers.fails = Unavailable("away")
    with pytest.raises(Unavailable):
        await made(ledgers, book).tell(UK, MEMBERS, NOW)
    ledgers.fails = None
    assert await made(ledgers, book).tell(UK, MEMBERS, NOW) == [TODAY - 2, TODAY - 1]


async def test_missed_days_are_told_up_to_a_month_back(ledgers: MemoryLedgers, book: MemoryBook) -> None:
    for back in (1, MOST_DAYS, MOST_DAYS + 1):
        await used(book, TODAY - back, 1, "alpha", 7)
    assert await made(ledgers, book).tell(UK, MEMBERS, NOW) == [TODAY - MOST_DAYS, TODAY - 1]


async def test_a_day_on_which_nothing_was_used_is_not_told(ledgers: MemoryLedgers, book: MemoryBook) -> None:
    await used(book, TODAY - 1, 1, "gamma", 7)
    assert await made(ledgers, book).tell(UK, MEMBERS, NOW) == []
    assert await book.told_through(UK) == TODAY - 1

"""Budgets of evaluations: over a book in memory, and over the file that the service keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.validation import DAY_MS
from exchange.errors import Fatal, OverQuota
from exchange.pseudonyms.budget import BLOCK, HELD_DAYS, PARTS, ROUNDED_TO, BudgetBook, Budgets, Terms
from exchange.stores.budget_book import BudgetFile
from tests.unit.pseudonyms.budget_book import MemoryBook


class _Clock:
    def __init__(self) -> None:
        self.day = 20_000

    def now_ms(self) -> int:
        return self.day * DAY_MS + 7_000


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def budgets(book: BudgetBook, clock: _Clock, users: int = 10_000, daily: int = 100) -> Budgets:
    return Budgets(book, lambda _: Terms(users, daily), clock.now_ms)


async def used_up(budget: Budgets, epoch: int = 1, step: int = 10) -> int:
    """Take until there is no more; return how many it was."""
    taken = 0
    while True:
        try:
            await budget.take(epoch, "alpha", step)
        except OverQuota:
            return taken
        taken += step


async def test_the_declared_users_once_and_an_increment_a_day(clock: _Clock) -> None:
    budget = budgets(MemoryBook(), clock)
    assert await used_up(budget) == 10_000 + 100
    assert await used_up(budget) == 0
    clock.day += 1
    assert await used_up(budget) == 100
    clock.day += 3
    assert await used_up(budget) == 300
    clock.day += 1_000
    assert await used_up(budget) == HELD_DAYS * 100
    assert await used_up(budget, epoch=2) == 10_000 + 100  # another epoch is another index


async def test_a_clock_that_goes_back_gives_nothing(clock: _Clock) -> None:
    budget = budgets(MemoryBook(), clock)
    await used_up(budget)
    for day in (-5, 5, -5, 5):
        clock.day += day
        assert await used_up(budget) == 0


async def test_a_refusal_takes_nothing_and_says_when(clock: _Clock) -> None:
    book = MemoryBook()
    budget = budgets(book, clock, users=50, daily=0)
    with pytest.raises(OverQuota) as caught:
        await budget.take(1, "alpha", 51)
    assert caught.value.retry_after_ms == DAY_MS - 7_000
    assert book.writes == 0
    await budget.take(1, "alpha", 50)


async def test_a_restart_wastes_a_block_at_most_and_never_gives_one_back(clock: _Clock) -> None:
    book = MemoryBook()
    await budgets(book, clock).take(1, "alpha", 1)
    assert await used_up(budgets(book, clock)) == 10_000 + 100 - BLOCK
    assert await used_up(budgets(book, clock)) == 0


async def test_a_restart_does_not_waste_a_small_budget(clock: _Clock) -> None:
    book = MemoryBook()
    await budgets(book, clock, users=500, daily=100).take(1, "alpha", 1)
    assert await used_up(budgets(book, clock, users=500, daily=100)) == 600 - 600 // PARTS


async def test_whoever_stops_waiting_does_not_lose_a_block(clock: _Clock) -> None:
    book = MemoryBook()
    budget = budgets(book, clock)
    for _ in range(3):
        taking = asyncio.create_task(budget.take(1, "alpha", 1))
        await asyncio.sleep(0)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
    assert await used_up(budget, step=1) == 10_000 + 100 - 3


async def test_one_write_for_a_block(clock: _Clock) -> None:
    book = MemoryBook()
    budget = budgets(book, clock)
    for _ in range(BLOCK):
        await budget.take(1, "alpha", 1)
    assert book.writes == 1


async def test_members_do_not_share(clock: _Clock) -> None:
    budget = budgets(MemoryBook(), clock)
    await used_up(budget)
    await budget.take(1, "beta", 10_000)


async def test_totals_are_rounded_up(clock: _Clock) -> None:
    budget = budgets(MemoryBook(), clock)
    await budget.take(1, "alpha", BLOCK + 1)
    await budget.take(1, "beta", 1)
    assert await budget.rounded_totals(clock.day) == {(1, "alpha"): 2 * ROUNDED_TO, (1, "beta"): ROUNDED_TO}
    assert await budget.rounded_totals(clock.day + 1) == {}


@given(counts=st.lists(st.integers(1, 3_000), max_size=12), users=st.integers(0, 5_000), daily=st.integers(0, 500))
async def test_never_more_than_its_terms(counts: list[int], users: int, daily: int) -> None:
    clock, book = _Clock(), MemoryBook()
    taken = 0
    budget = budgets(book, clock, users, daily)
    for count in counts:
        try:
            await budget.take(1, "alpha", count)
        except OverQuota:
            continue
        taken += count
    assert taken <= users + daily
    assert sum((await book.totals(clock.day)).values()) >= taken


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[BudgetFile]:
    async with aclosing(await BudgetFile.open(path)) as book:
        yield book


async def test_the_file_remembers(tmp_path: Path, clock: _Clock) -> None:
    async with opened(tmp_path / "service" / "budget.sqlite") as book:
        assert await book.read(1, "alpha") is None
        assert await used_up(budgets(book, clock, users=2_500)) == 2_600
    async with opened(tmp_path / "service" / "budget.sqlite") as book:
        assert await used_up(budgets(book, clock, users=2_500)) == 0
        assert await book.totals(clock.day) == {(1, "alpha"): 2_600}
        assert await book.read(2, "alpha") is None


async def test_the_file_is_one_processs_and_one_releases(tmp_path: Path) -> None:
    path = tmp_path / "budget.sqlite"
    async with opened(path):
        with pytest.raises(Fatal):
            await BudgetFile.open(path)
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(Fatal):
        await BudgetFile.open(path)


async def test_the_file_is_nobody_elses_to_read(tmp_path: Path) -> None:
    async with opened(tmp_path / "budget.sqlite"):
        assert (tmp_path / "budget.sqlite").stat().st_mode & 0o077 == 0

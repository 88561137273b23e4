"""Where signals were said: by id, however they came into the file's index, and also while they do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from exchange.domain.bodies import (
    Erasure,
    ErasureReason,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Retraction,
    RetractionReason,
)
from exchange.errors import Unavailable
from exchange.ports import Doomed
from exchange.stores import facts_sayings
from exchange.stores.facts import FactsFile
from exchange.stores.facts_newest import Sorting, key_of, keys_in
from exchange.stores.inserting import insert
from tests.contract.facts_book import ERROR, ONE, TWO, Book
from tests.unit.builders import NOW_MS, digest, signal_body

#: They begin alike, so the index knows them by one number.
TWINS = tuple(ONE[:8] + digest(f"twin {n}")[8:] for n in range(3))
LATER = NOW_MS + 9_000


@pytest.fixture(
    params=[(1, 100), (3, 100), (4, 1), (4, 5), (10_000, 100)],
    ids=["sorted in at once", "by threes", "row by row", "in parts", "in memory"],
)
async def book(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Book]:
    most, part = request.param
    in_parts_of(part, monkeypatch)
    facts = await FactsFile.open(tmp_path / "life", most_newest=most)
    yield Book(facts)
    await facts.aclose()


def in_parts_of(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_sayings, "PART", rows)
    monkeypatch.setattr(facts_sayings, "_FASTER", 0)


async def index_of(book: Book, id_: bytes) -> int | None:
    found = book.facts.signals((id_,)).get(id_)
    return None if found is None else found.index


def in_index(book: Book) -> list[tuple[int, int]]:
    """Return what the file has sorted in, by another connection."""
    file = apsw.Connection(str(book.facts.path), flags=apsw.SQLITE_OPEN_READONLY)
    rows: list[tuple[int, int]] = file.execute("SELECT key, idx FROM said ORDER BY idx").fetchall()  # type: ignore[assignment]
    file.close()
    return rows


async def test_the_index_gets_them_many_at_a_time(tmp_path: Path) -> None:
    book = Book(await FactsFile.open(tmp_path / "life", most_newest=3))
    ids = [digest(str(n)) for n in range(4)]
    for id_ in ids[:2]:
        await book.tell(signal_body(), ids=(id_,))
    assert in_index(book) == []
    await book.tell(signal_body(), ids=ids[2:])
    assert in_index(book) == [(key_of(ids[0]), 0), (key_of(ids[1]), 1), *sorted((key_of(id_), 2) for id_ in ids[2:])]
    await book.tell(signal_body(), ids=(ONE,))
    assert len(in_index(book)) == 4
    assert await index_of(book, ONE) == 3
    await book.facts.aclose()


async def test_they_get_there_part_by_part_in_the_order_of_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts_of(10, monkeypatch)
    book = Book(await FactsFile.open(tmp_path / "life", most_newest=30))
    ids = [digest(str(n)) for n in range(60)]
    keys = sorted(map(key_of, ids[:30]))
    seen = []
    for n in range(0, 60, 10):
        await book.tell(signal_body(), ids=ids[n : n + 10])
        seen.append(sorted(key for key, _ in in_index(book)))
        assert len(book.facts.signals(ids[: n + 10])) == n + 10
    # Thirty are filled in in three steps, the last of which sees that these were all; then ten at each.
    assert seen == [[], [], [], [], [], keys[:10]]
    for n in range(3):
        await book.tell(signal_body(), ids=(digest(f"another {n}"),))
        seen.append(sorted(key for key, _ in in_index(book)))
    assert seen[-3:] == [keys[:20], keys, keys]
    await book.facts.aclose()


async def test_a_part_that_fails_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts_of(5, monkeypatch)
    book = Book(await FactsFile.open(tmp_path / "life", most_newest=10))
    ids = [digest(str(n)) for n in range(40)]
    failing, go_on = random.Random(3), Sorting.go_on

    def fail(sorting: Sorting, rows: int) -> None:
        go_on(sorting, rows)
        if failing.random() < 0.4:
            raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(Sorting, "go_on", fail)
    while len(book.told) < len(ids):
        with suppress(Unavailable):
            await book.tell(signal_body(), ids=(ids[len(book.told)],))
        if failing.random() < 0.1:
            with suppress(Unavailable):
                await book.facts.sort()
        known = ids[: len(book.told)]
        assert {id_: facts.index for id_, facts in book.facts.signals(known).items()} == {
            id_: index for index, id_ in enumerate(known)
        }
    monkeypatch.setattr(Sorting, "go_on", go_on)
    await book.facts.sort()
    assert [index for _, index in in_index(book)] == list(range(40))
    await book.facts.aclose()


@pytest.mark.parametrize("seed", range(4))
async def test_it_is_what_was_said_whatever_is_done_meanwhile(book: Book, seed: int) -> None:
    dice = random.Random(seed)
    ids = [*TWINS, ONE, *(digest(f"{seed} {n}") for n in range(12))]
    first: dict[bytes, int] = {}
    again: dict[bytes, set[int]] = {}
    for _ in range(60):
        some = tuple(dice.sample(ids, dice.randrange(1, 4)))
        entry = await book.tell(signal_body(expires_at_ms=LATER), ids=some)
        for id_ in some:
            if first.setdefault(id_, entry.index) != entry.index:
                again.setdefault(id_, set()).add(entry.index)
        if dice.random() < 0.2:
            await book.facts.aclose()
            book.facts = await FactsFile.open(book.facts.path, most_newest=dice.choice([2, 7, 100]))
        assert {id_: facts.index for id_, facts in book.facts.signals(ids).items()} == first
    # Each was said again somewhere: all of that goes with the first.
    wanted = {
        index: {id_ for id_, places in again.items() if index in places} for index in set().union(*again.values())
    }
    for id_ in ids:
        await book.tell(Erasure((id_,), ErasureReason.ON_REQUEST))
    doomed = {each.index: set(each.signal_ids or ()) for each in await book.facts.doomed(NOW_MS, 10_000)}
    for id_, index in first.items():
        wanted.setdefault(index, set()).add(id_)
    assert doomed == wanted


async def test_two_that_begin_alike_are_two(book: Book) -> None:
    one, two, three = TWINS
    assert key_of(one) == key_of(two) == key_of(three)
    await book.tell(signal_body(), ids=(one,))
    await book.tell(signal_body(), "beta", ids=(two,))
    assert await index_of(book, three) is None
    await book.tell(Retraction((two,), RetractionReason.ERROR, NOW_MS), "beta")
    found = book.facts.signals(TWINS)
    assert {id_: (facts.index, facts.publisher, facts.live) for id_, facts in found.items()} == {
        one: (0, "alpha", True),
        two: (1, "beta", False),
    }
    await book.facts.forget(1)
    assert set(book.facts.signals(TWINS)) == {two}
    await book.facts.forget(2)
    assert book.facts.signals(TWINS) == {}


async def test_what_only_looks_like_an_id_is_none(book: Book) -> None:
    """The joined ids of a statement hold other 32 bytes, too, which are no signal's."""
    left, right = ONE, ONE[:8] + digest("right")[8:]
    between = left[16:] + right[:16]
    await book.tell(signal_body(), ids=(left, right))
    await book.tell(signal_body(), ids=(between[:8] + digest("elsewhere")[8:],))
    assert await index_of(book, between) is None


async def test_what_is_over_goes_with_the_first_wherever_it_was_said_again(book: Book) -> None:
    await book.tell(signal_body(expires_at_ms=NOW_MS + 10), ids=(ONE,))
    await book.tell(signal_body(expires_at_ms=LATER), ids=(TWO,))
    assert await book.facts.doomed(NOW_MS, 10) == []
    await book.tell(signal_body(expires_at_ms=LATER), ids=(ONE, TWO))
    # At the latest ten minutes later it is known, however many there are.
    assert await book.facts.doomed(NOW_MS + 600_000, 10) == [
        Doomed(0, None),
        Doomed(1, None),
        Doomed(2, None),
        Doomed(2, frozenset({ONE, TWO})),
    ]


async def test_what_is_said_again_once_it_is_erased_goes_at_once(book: Book) -> None:
    await book.tell(signal_body(expires_at_ms=LATER), ids=(ONE, TWO))
    await book.tell(Erasure((ONE,), ErasureReason.ON_REQUEST))
    await book.facts.gone(await book.facts.doomed(NOW_MS, 10))
    await book.tell(signal_body(expires_at_ms=LATER), ids=(ONE, digest("new")))
    assert await book.facts.doomed(NOW_MS, 10) == [Doomed(2, frozenset({ONE}))]


async def test_what_was_retracted_only_may_be_said_again(book: Book) -> None:
    await book.tell(signal_body(expires_at_ms=LATER), ids=(ONE,))
    await book.tell(ERROR)
    await book.tell(signal_body(expires_at_ms=LATER), ids=(ONE,))
    assert await book.facts.doomed(NOW_MS, 10) == []
    assert not book.facts.signals((ONE,))[ONE].live


async def test_what_was_said_again_is_no_new_signal_once_the_first_is_forgotten(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    await book.tell(signal_body(), ids=(ONE, TWO, TWINS[0]))
    await book.facts.forget(1)
    assert set(book.facts.signals((ONE, TWO, *TWINS))) == {TWO, TWINS[0]}
    await book.tell(signal_body(), ids=(ONE,))
    assert await index_of(book, ONE) == 2  # said anew
    await book.facts.forget(3)
    assert book.facts.signals((ONE, TWO, *TWINS)) == {}


async def test_one_that_is_said_a_thousand_times_costs_each_time_the_same(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, look = list[int](), facts_sayings._ids_at

    def noted(connection: apsw.Connection, index: int) -> bytes:
        looked.append(index)
        return look(connection, index)

    monkeypatch.setattr(facts_sayings, "_ids_at", noted)
    for _ in range(1_000):
        await book.tell(signal_body(expires_at_ms=LATER), ids=(ONE,))
    assert await index_of(book, ONE) == 0
    await book.tell(Erasure((ONE,), ErasureReason.ON_REQUEST))
    assert len(await book.facts.doomed(NOW_MS, 10_000)) == 1_000
    await book.tell(Opinion((ONE,), OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE), "beta")
    assert len(looked) < 6_000


async def test_a_damaged_page_of_ids_makes_the_file_anew(book: Book) -> None:
    for n in range(300):
        await book.tell(signal_body(), ids=(digest(str(n)),))
    path = book.facts.path
    await book.facts.aclose()
    file = apsw.Connection(str(path))
    file.execute("UPDATE ids SET ids = x'0011' WHERE idx = 299")
    file.execute("UPDATE place SET sorted = 0")
    file.close()
    book.facts = await FactsFile.open(path)
    assert book.facts.place().size == 0
    assert not book.facts.damaged


async def test_on_a_full_disk_what_is_over_still_goes(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    await book.tell(signal_body(expires_at_ms=NOW_MS + 1), ids=(ONE,))

    def full(_: object) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(facts_sayings.Sayings, "sort_in", full)
    assert await book.facts.doomed(NOW_MS + 1, 10) == [Doomed(0, None)]


async def test_a_row_is_there_for_whatever_something_is_said_about(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    await book.tell(Opinion((ONE,), OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE), "beta")
    assert await book.reports.disputed("alpha", 1) == (1, 1)


async def test_what_could_not_be_taken_is_not_in_memory(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    twice = [replace(book.told[0], index=1), replace(book.told[0], index=0)]
    twice[0] = replace(twice[0], header=replace(twice[0].header, signal_ids=(TWO,)))
    with pytest.raises(Exception, match="UNIQUE"):
        await book.facts.take(twice, book.facts.place())
    assert await index_of(book, TWO) is None
    await book.tell(signal_body(), ids=(digest("three"),))
    await book.tell(signal_body(), ids=(TWO,))
    assert await index_of(book, TWO) == 2


async def test_nothing_is_out_of_sight_while_it_is_sorted_in(tmp_path: Path) -> None:
    book = Book(await FactsFile.open(tmp_path / "life", most_newest=50))
    dice, known, looked = random.Random(1), list[bytes](), 0
    for _ in range(60):
        new = [dice.randbytes(32) for _ in range(40)]
        telling = asyncio.create_task(book.tell(signal_body(), ids=new))
        while not telling.done():
            some = dice.sample(known, min(len(known), 5))
            assert len(book.facts.signals(some)) == len(some)
            looked += len(some)
            await asyncio.sleep(0)
        await telling
        known += new
    assert looked
    assert len(in_index(book)) > 2_000
    await book.facts.aclose()


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 513, 1_100])
def test_rows_are_inserted_each_once(count: int) -> None:
    file = apsw.Connection(":memory:")
    file.execute("CREATE TABLE t(a, b)")
    rows: Sequence[tuple[int, str]] = [(n, str(n)) for n in range(count)]
    insert(file, "INSERT INTO t", "(?, ?)", rows)
    assert file.execute("SELECT a, b FROM t ORDER BY rowid").fetchall() == list(rows)


def test_keys_are_the_first_eight_bytes_of_each() -> None:
    ids = [digest(str(n)) for n in range(5)]
    assert keys_in(b"".join(ids)) == tuple(map(key_of, ids))
    assert [key.to_bytes(8, "big", signed=True) for key in keys_in(b"".join(ids))] == [id_[:8] for id_ in ids]

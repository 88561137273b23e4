"""The fold of a log's life, in its file: what each kind changes, what comes first, and what a crash leaves."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from exchange.domain.bodies import (
    Acknowledgement,
    Body,
    Disposition,
    DispositionState,
    Election,
    Erasure,
    ErasureReason,
    LagCell,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Quarantine,
    QuarantineReason,
    Release,
    Retraction,
    RetractionReason,
    SourceAction,
)
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.lag import Stage
from exchange.domain.life import MemberFacts
from exchange.errors import Fatal, Unavailable
from exchange.ledger.merkle import CompactRange
from exchange.ports import Doomed, OpinionRow, Period, ToldEntry
from exchange.stores import facts_schema
from exchange.stores.facts import FactsFile
from tests.contract.facts_book import ERROR, LABEL, ONE, TWO, Book
from tests.unit.builders import NOW_MS, community_header, digest, signal_body


async def test_a_signal_is_known_by_its_id(book: Book) -> None:
    body = signal_body(actioned_at_ms=NOW_MS - 5)
    entry = await book.tell(body, ids=(ONE, TWO), audience=frozenset({"beta", "gamma"}))
    found = book.facts.signals((ONE, TWO, digest("unknown")))
    assert set(found) == {ONE, TWO}
    facts = found[ONE]
    assert (facts.index, facts.publisher, facts.label, facts.directory_size) == (entry.index, "alpha", body.label, 10)
    assert facts.audience == frozenset({"beta", "gamma"})
    assert (facts.actioned_at_ms, facts.received_at_ms, facts.live) == (NOW_MS - 5, NOW_MS, True)
    assert book.facts.place().size == 1


async def test_whose_audience_is_not_known_is_for_nobody(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,), audience=frozenset())
    assert book.facts.signals((ONE,))[ONE].audience == frozenset()


async def test_the_first_word_about_a_signal_wins(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    plain = book.facts.signals((ONE,))[ONE]
    assert (plain.retracted_ms, plain.in_lag) == (None, True)
    await book.tell(signal_body(label=Label.MISLEADING_SPAM), ids=(ONE,))
    first = await book.tell(ERROR)
    assert book.facts.signals((ONE,))[ONE].retracted_ms == first.received_at_ms
    await book.tell(replace(ERROR, reason=RetractionReason.LEGAL), after_ms=5)
    facts = book.facts.signals((ONE,))[ONE]
    assert facts.retracted_ms == first.received_at_ms
    assert (facts.index, facts.label, facts.retracted_at, facts.live) == (0, LABEL, first.index, False)
    (ending,) = await book.reports.endings((-1, b""), 10)
    assert (ending.index, ending.reason) == (first.index, RetractionReason.ERROR)


async def test_only_its_publisher_replaces_a_signal(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    await book.tell(signal_body(replaces=(ONE,)), "beta", ids=(digest("theirs"),))
    assert book.facts.signals((ONE,))[ONE].replaced_at is None
    await book.tell(signal_body(replaces=(ONE,), backfill=True), ids=(TWO,))
    assert book.facts.signals((ONE,))[ONE].replaced_at == 2
    assert not book.facts.signals((TWO,))[TWO].in_lag


async def test_of_opinions_and_dispositions_the_last_one_counts(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    await book.tell(Opinion((ONE,), OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE), "beta")
    await book.tell(Opinion((ONE,), OpinionCategory.POSITIVE_CLASS, OpinionReason.REVIEWED), "beta")
    await book.tell(Disposition((ONE,), DispositionState.PENDING_REVIEW), "beta")
    await book.tell(Disposition((ONE,), DispositionState.ACTIONED, SourceAction.REMOVED), "beta")
    assert await book.reports.opinions(ONE) == [
        OpinionRow("beta", OpinionCategory.POSITIVE_CLASS, OpinionReason.REVIEWED, 2)
    ]
    said = await book.reports.said((ONE,))
    assert said[ONE, "beta"].state == DispositionState.ACTIONED
    assert said[ONE, "beta"].index == 4


async def test_acknowledgements_only_move_on(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    cells = (LagCell("alpha", LABEL, b"", retraction=False, counts=(0, 2)),)
    await book.tell(Acknowledgement(5, -7, 3, cells), "beta")
    await book.tell(Acknowledgement(4, 0, 0, cells), "beta")
    facts = book.facts.member("beta")
    assert (facts.processed_through, facts.clock_offset_ms, facts.clock_error_ms) == (5, -7, 3)
    assert (await book.lag())[Stage.DELIVERED, "alpha", "beta"] == (1, 1)
    assert book.facts.member("nobody") == MemberFacts()


async def test_what_is_said_by_few_statements_is_found_by_its_place(book: Book) -> None:
    vote = Election("vote", "A vote", NOW_MS, NOW_MS + 9, (1, 3), 60_000, 600_000, 14)
    await book.tell(signal_body(), ids=(ONE,))
    await book.tell(vote, "operator")
    await book.tell(ERROR)
    await book.tell(vote, "operator")
    assert list(book.facts.few()) == [1, 3]
    await book.facts.forget(2)
    assert list(book.facts.few()) == [1, 3]  # they stand for ever
    again = await FactsFile.open(book.facts.path)
    assert list(again.few()) == [1, 3]
    await again.aclose()
    await book.facts.forget(None)
    assert list(book.facts.few()) == []


async def test_quarantine_and_release(book: Book) -> None:
    await book.tell(Quarantine("alpha", 3, QuarantineReason.BURST), "operator")
    await book.tell(Quarantine("alpha", 5, QuarantineReason.CANARY), "operator")
    assert book.facts.member("alpha").quarantined_from == 3
    await book.tell(Quarantine("alpha", 1, QuarantineReason.OPERATOR), "operator")
    assert book.facts.member("alpha").quarantined_from == 1
    await book.tell(Release("alpha"), "operator")
    assert book.facts.member("alpha").quarantined_from is None
    assert book.facts.member("alpha").released_at == 3


async def test_what_is_over_or_erased_has_to_go_until_it_is_gone(book: Book) -> None:
    await book.tell(signal_body(expires_at_ms=NOW_MS + 10), ids=(ONE,))
    await book.tell(signal_body(expires_at_ms=NOW_MS + 1_000), ids=(TWO,))
    assert await book.facts.doomed(NOW_MS, 10) == []
    await book.tell(Erasure((TWO,), ErasureReason.ON_REQUEST))
    doomed = await book.facts.doomed(NOW_MS + 10, 10)
    assert doomed == [Doomed(0, None), Doomed(1, frozenset({TWO}))]
    await book.facts.gone(doomed)
    assert await book.facts.doomed(NOW_MS + 10, 10) == []
    assert await book.facts.doomed(NOW_MS + 1_000, 10) == [Doomed(1, None)]


async def test_what_has_to_go_is_looked_for_when_something_has_come_or_is_over_and_no_more_often(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub of many quiet communities asks each of them every second."""
    looked: list[None] = []
    reads = book.facts.reads

    async def counted(job: Callable[[apsw.Connection], object]) -> object:
        looked.append(None)
        return await reads(job)

    monkeypatch.setattr(book.facts, "reads", counted)
    await book.tell(signal_body(expires_at_ms=NOW_MS + 1_000), ids=(ONE,))
    await book.tell(signal_body(expires_at_ms=NOW_MS + 9_000), ids=(ONE, TWO))
    for second in range(3):
        assert await book.facts.doomed(NOW_MS + second, 10) == []
    assert len(looked) == 1
    await book.tell(signal_body(expires_at_ms=NOW_MS + 5_000), ids=(digest("three"),))
    for _ in range(2):
        assert await book.facts.doomed(NOW_MS, 10) == []
    assert len(looked) == 2
    doomed = [Doomed(0, None), Doomed(1, frozenset({ONE}))]
    for _ in range(2):  # it is told until it is done
        assert await book.facts.doomed(NOW_MS + 1_000, 10) == doomed
    await book.facts.gone(doomed)
    for _ in range(2):
        assert await book.facts.doomed(NOW_MS + 1_000, 10) == []
    assert len(looked) == 5
    assert await book.facts.doomed(NOW_MS + 5_000, 10) == [Doomed(2, None)]


async def test_what_another_process_has_written_is_looked_at(book: Book) -> None:
    await book.tell(signal_body(expires_at_ms=NOW_MS + 9_000), ids=(ONE,))
    assert await book.facts.doomed(NOW_MS, 10) == []
    with closing(apsw.Connection(str(book.facts.path))) as other:
        other.execute("UPDATE statements SET expires_at_ms = ?", (NOW_MS,))
    assert await book.facts.doomed(NOW_MS, 10) == [Doomed(0, None)]


async def test_what_was_said_again_is_over_with_the_first_also_where_the_clock_went_back(book: Book) -> None:
    await book.tell(signal_body(expires_at_ms=NOW_MS + 10), ids=(ONE,))
    await book.facts.gone(await book.facts.doomed(NOW_MS + 10, 10))
    await book.tell(signal_body(expires_at_ms=NOW_MS + 9_000), ids=(ONE,))
    await book.facts.sort()
    assert await book.facts.doomed(NOW_MS, 10) == []
    assert await book.facts.doomed(NOW_MS + 10, 10) == [Doomed(1, frozenset({ONE}))]


async def test_wherever_a_signal_was_said_again_its_record_goes_with_the_first(book: Book) -> None:
    await book.tell(signal_body(expires_at_ms=NOW_MS + 10), ids=(ONE,))
    await book.tell(signal_body(expires_at_ms=NOW_MS + 9_000), ids=(ONE, TWO))
    assert await book.facts.doomed(NOW_MS + 10, 10) == [Doomed(0, None), Doomed(1, frozenset({ONE}))]
    await book.facts.gone(await book.facts.doomed(NOW_MS + 10, 10))
    assert await book.facts.doomed(NOW_MS + 10, 10) == []
    await book.tell(Erasure((TWO,), ErasureReason.ON_REQUEST))
    await book.tell(signal_body(expires_at_ms=NOW_MS + 9_000), ids=(TWO,))  # said again once it is erased
    doomed = await book.facts.doomed(NOW_MS + 10, 10)
    assert doomed == [Doomed(1, frozenset({TWO})), Doomed(3, frozenset({TWO}))]
    await book.facts.gone(doomed[:1])
    assert await book.facts.doomed(NOW_MS + 10, 10) == doomed[1:]


async def test_a_number_that_no_table_holds_is_the_logs_trouble_alone(book: Book) -> None:
    flag = Quarantine("alpha", 1 << 63, QuarantineReason.BURST)
    entry = ToldEntry(0, community_header(flag), NOW_MS, late=False, directory_size=1, audience=None)
    with pytest.raises(Fatal):
        await book.facts.take([entry], CompactRange())


async def test_a_damaged_page_makes_the_file_anew(book: Book) -> None:
    log = a_log(3)
    await book.facts.take(log, CompactRange().extend([digest(str(n)) for n in range(len(log))]))
    path = book.facts.path
    await book.facts.aclose()
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 4096):
        data[at : at + 64] = os.urandom(64)
    path.write_bytes(data)
    again = await FactsFile.open(path)
    ids = [id_ for entry in log for id_ in entry.header.signal_ids]
    if not again.damaged and again.place().size:
        with pytest.raises(Unavailable):
            again.signals(ids)
        await again.forget(None)
    assert not again.damaged
    assert again.place() == CompactRange()
    assert again.signals(ids) == {}
    await again.aclose()


async def test_what_is_below_the_floor_is_forgotten_with_all_that_was_said_of_it(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    await book.tell(Opinion((ONE,), OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE), "beta")
    await book.tell(ERROR)
    await book.tell(signal_body(), ids=(TWO,))
    await book.facts.forget(3)
    assert set(book.facts.signals((ONE, TWO))) == {TWO}
    assert await book.reports.opinions(ONE) == []
    assert await book.reports.endings((-1, b""), 10) == []
    assert sum(row.signals for row in await book.reports.activity(Period(), b"") if row.kind == Kind.SIGNAL) == 2


async def everything(facts: FactsFile) -> list[list[tuple[object, ...]]]:
    """Return all rows of all tables."""

    def job(connection: apsw.Connection) -> list[list[tuple[object, ...]]]:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return [sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in sorted(names)]

    return await facts.reads(job)


def a_log(seed: int, length: int = 120) -> list[ToldEntry]:
    """Return a log at random, of every kind."""
    dice = random.Random(seed)
    ids: list[bytes] = []
    entries = []
    for index in range(length):
        targets = tuple(dice.sample(ids, min(len(ids), 2))) or (ONE,)
        new = (digest(f"{seed} {index}"),)
        bodies: list[Body] = [
            signal_body(actioned_at_ms=NOW_MS - dice.randrange(9_000), replaces=targets[:1]),
            signal_body(),
            Retraction(targets, RetractionReason.ERROR, NOW_MS),
            Erasure(targets, ErasureReason.ON_REQUEST),
            Opinion(targets, dice.randrange(1, 4), OpinionReason.REVIEWED),
            Disposition(targets, dice.randrange(1, 6), 0, 0, NOW_MS, NOW_MS + dice.randrange(9_000)),
            Acknowledgement(index, 0, 0, (LagCell("alpha", LABEL, b"", retraction=False, counts=(1, 2)),)),
            Quarantine("beta", index, QuarantineReason.BURST),
            Release("beta"),
        ]
        body = dice.choice(bodies)
        header = community_header(body)
        if header.kind == Kind.SIGNAL:
            ids.extend(new)
            header = replace(header, signal_ids=new)
        by = dice.choice(["alpha", "beta", "gamma"])
        entries.append(ToldEntry(index, replace(header, publisher=by), NOW_MS + index, dice.random() < 0.1, 10, None))
    return entries


@pytest.mark.parametrize("seed", range(5))
async def test_however_it_is_cut_into_pages_it_is_the_same_and_so_it_is_again(tmp_path: Path, seed: int) -> None:
    log, dice = a_log(seed), random.Random(seed)
    whole = await FactsFile.open(tmp_path / "whole")
    await whole.take(log, CompactRange().extend([digest(str(n)) for n in range(len(log))]))
    cut = await FactsFile.open(tmp_path / "cut")
    at = 0
    while at < len(log):
        step = dice.randrange(1, 20)
        page = log[at : at + step]
        await cut.take(page, cut.place().extend([digest(str(n)) for n in range(at, at + len(page))]))
        at += len(page)
        if dice.random() < 0.3:
            await cut.aclose()
            cut = await FactsFile.open(tmp_path / "cut")
    assert await everything(whole) == await everything(cut)
    await whole.forget(None)
    assert whole.place() == CompactRange()
    await whole.take(log, cut.place())
    assert await everything(whole) == await everything(cut)
    await whole.aclose()
    await cut.aclose()


async def test_a_page_that_cannot_be_taken_changes_nothing(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    before = await everything(book.facts)
    twice = [replace(book.told[0], index=1), replace(book.told[0], index=0)]  # the second meets a row that is there
    with pytest.raises(Exception, match="UNIQUE"):
        await book.facts.take(twice, CompactRange())
    assert await everything(book.facts) == before
    assert book.facts.place().size == 1


@pytest.mark.parametrize("damage", ["another form", "no database", "half a database", "a bad place"])
async def test_a_file_that_is_none_is_made_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "life"
    facts = await FactsFile.open(path)
    await facts.take(a_log(1), CompactRange().extend([digest(str(n)) for n in range(120)]))
    await facts.aclose()
    match damage:
        case "another form":
            apsw.Connection(str(path)).pragma("user_version", 99)
        case "no database":
            path.write_bytes(b"not a database at all" * 500)
        case "half a database":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case _:
            apsw.Connection(str(path)).execute("UPDATE place SET hashes = x'00'")
    facts = await FactsFile.open(path)
    assert facts.place() == CompactRange()
    await facts.take(a_log(1), CompactRange().extend([digest(str(n)) for n in range(120)]))
    await facts.aclose()


@pytest.mark.parametrize("breaks", ["a folder in its place", "a full disk", "its newest signals"])
async def test_a_file_that_cannot_be_opened_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    path = tmp_path / "life"
    connections: list[apsw.Connection] = []
    opened = facts_schema._open

    def noted(path: Path, *, create: bool = True) -> apsw.Connection:
        connections.append(opened(path, create=create))
        return connections[-1]

    monkeypatch.setattr(facts_schema, "_open", noted)
    match breaks:
        case "a folder in its place":
            path.mkdir()
        case "a full disk":
            monkeypatch.setattr(facts_schema, "make_tables", full)
        case _:
            monkeypatch.setattr("exchange.stores.facts.Sayings", full)
    before = set(threading.enumerate())
    with pytest.raises(Fatal if path.is_dir() else Unavailable):
        await FactsFile.open(path)
    assert set(threading.enumerate()) <= before
    for connection in connections:
        with pytest.raises(apsw.ConnectionClosedError):
            connection.execute("SELECT 1")


def full(*_: object) -> None:
    raise apsw.FullError("database or disk is full")


async def test_one_that_there_is_no_room_to_make_anew_is_made_by_whoever_looks_next(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    with monkeypatch.context() as broken, pytest.raises(Unavailable, match="disk is full"):
        broken.setattr(facts_schema, "make_tables", full)
        await book.facts.forget(None)
    to_be_made = book.facts.damaged
    assert to_be_made
    await book.facts.forget(None)
    assert not book.facts.damaged
    assert book.facts.place() == CompactRange()
    assert book.facts.signals((ONE,)) == {}

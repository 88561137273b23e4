"""The fold of a log's life, in its file: what each kind changes, what comes first, and what a crash leaves."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from exchange.domain.bodies import (
    Acknowledgement,
    Body,
    Disposition,
    DispositionReason,
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
from exchange.domain.debts import debt_of, late_before
from exchange.domain.elections import ElectionFacts
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.lag import Stage, bucket_of
from exchange.domain.life import MemberFacts
from exchange.domain.statement import Header
from exchange.domain.validation import DAY_MS
from exchange.ledger.merkle import CompactRange
from exchange.ports import ActivityRow, Doomed, OpinionRow, Period, ToldEntry
from exchange.stores.facts import FactsFile
from exchange.stores.facts_reports import FactsReports
from tests.unit.builders import NOW_MS, UK, community_header, digest, signal_body

ONE, TWO = digest("one"), digest("two")
DAY = NOW_MS // DAY_MS
LABEL = Label.HARASSMENT_TARGETED


class Book:
    """A file of facts, and the log that it was told of."""

    def __init__(self, facts: FactsFile) -> None:
        self.facts = facts
        self.reports = FactsReports(facts)
        self.told: list[ToldEntry] = []

    async def tell(
        self,
        body: Body | None,
        by: str = "alpha",
        *,
        ids: Sequence[bytes] = (),
        late: bool = False,
        audience: frozenset[str] | None = None,
        after_ms: int = 0,
    ) -> ToldEntry:
        """Tell it the next entry."""
        index = len(self.told)
        plain = community_header(body) if body is not None and not ids else None
        header = Header(UK, plain.kind if plain else Kind.SIGNAL, by, NOW_MS, bytes(16), tuple(ids), body)
        entry = ToldEntry(index, header, NOW_MS + after_ms, late, 10, audience)
        await self.facts.take([entry], self.facts.place().extend((digest(f"leaf {index}"),)))
        self.told.append(entry)
        return entry

    async def lag(self) -> dict[tuple[Stage, str, str], tuple[int, ...]]:
        """Return its lag, by stage, publisher and receiver: the buckets that hold something."""
        rows = await self.reports.lag(Period(), b"")
        return {
            (Stage(row.stage), row.publisher, row.receiver): tuple(
                b for b, n in enumerate(row.counts) for _ in range(n)
            )
            for row in rows
        }


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Book]:
    facts = await FactsFile.open(tmp_path / "folds" / "life")
    yield Book(facts)
    await facts.aclose()


ERROR = Retraction((ONE,), RetractionReason.ERROR, NOW_MS)


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
    await book.tell(signal_body(label=Label.MISLEADING_SPAM), ids=(ONE,))
    first = await book.tell(ERROR)
    await book.tell(replace(ERROR, reason=RetractionReason.LEGAL))
    facts = book.facts.signals((ONE,))[ONE]
    assert (facts.index, facts.label, facts.retracted_at, facts.live) == (0, LABEL, first.index, False)
    (ending,) = await book.reports.endings((-1, b""), 10)
    assert (ending.index, ending.reason) == (first.index, RetractionReason.ERROR)


async def test_only_its_publisher_replaces_a_signal(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    await book.tell(signal_body(replaces=(ONE,)), "beta", ids=(digest("theirs"),))
    assert book.facts.signals((ONE,))[ONE].replaced_at is None
    await book.tell(signal_body(replaces=(ONE,)), ids=(TWO,))
    assert book.facts.signals((ONE,))[ONE].replaced_at == 2


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


async def test_elections_are_kept_by_the_id_of_their_statement(book: Book) -> None:
    vote = Election("vote", "A vote", NOW_MS, NOW_MS + 9, (1, 3), 60_000, 600_000, 14)
    entry = ToldEntry(
        0, community_header(vote), NOW_MS, late=False, directory_size=10, audience=None, statement_id=digest("vote")
    )
    assert book.facts.elections() == {}
    await book.facts.take([entry], CompactRange().extend((digest("leaf"),)))
    assert book.facts.elections() == {digest("vote"): ElectionFacts(digest("vote"), 0, vote)}
    again = await FactsFile.open(book.facts._path)
    assert again.elections() == book.facts.elections()
    await again.aclose()
    await book.facts.forget(None)
    assert book.facts.elections() == {}


async def test_quarantine_and_release(book: Book) -> None:
    await book.tell(Quarantine("alpha", 3, QuarantineReason.BURST), "operator")
    await book.tell(Quarantine("alpha", 1, QuarantineReason.CANARY), "operator")
    assert book.facts.member("alpha").quarantined_from == 3
    await book.tell(Release("alpha"), "operator")
    assert book.facts.member("alpha").quarantined_from is None


async def test_lag_by_stage(book: Book) -> None:
    await book.tell(signal_body(actioned_at_ms=NOW_MS - 1_000), ids=(ONE,))
    acted = Disposition((ONE,), DispositionState.ACTIONED, SourceAction.REMOVED, 0, NOW_MS + 20, NOW_MS + 100)
    await book.tell(acted, "beta")
    await book.tell(acted, "beta")  # said twice, done once
    await book.tell(replace(ERROR, decided_at_ms=NOW_MS - 50), after_ms=500)
    await book.tell(Disposition((ONE,), DispositionState.REVERSED, actioned_at_ms=NOW_MS + 700), "beta")
    assert await book.lag() == {
        (Stage.REPORTED, "alpha", ""): (bucket_of(1_000),),
        (Stage.RECEIVED, "alpha", ""): (0,),
        (Stage.MATCHED, "alpha", "beta"): (bucket_of(20),),
        (Stage.ACTIONED, "alpha", "beta"): (bucket_of(100),),
        (Stage.MIGRATION, "alpha", "beta"): (bucket_of(1_100),),
        (Stage.UNDO_REPORTED, "alpha", ""): (bucket_of(550),),
        (Stage.UNDONE, "alpha", "beta"): (bucket_of(200),),
    }


async def test_what_is_late_or_backfill_is_kept_out_of_lag(book: Book) -> None:
    await book.tell(signal_body(actioned_at_ms=NOW_MS - 1_000), ids=(ONE,), late=True)
    await book.tell(signal_body(actioned_at_ms=NOW_MS - 1_000, backfill=True), ids=(TWO,))
    acted = Disposition((ONE, TWO), DispositionState.ACTIONED, SourceAction.REMOVED, 0, NOW_MS + 20, NOW_MS + 100)
    await book.tell(acted, "beta")
    await book.tell(ERROR, late=True)
    assert await book.lag() == {}


async def test_a_lag_report_is_of_its_days_and_election(book: Book) -> None:
    vote = digest("an election")
    await book.tell(signal_body(election=vote), ids=(ONE,))
    await book.tell(signal_body(), ids=(TWO,), after_ms=DAY_MS)
    assert len(await book.reports.lag(Period(), vote)) == 1
    assert [sum(row.counts) for row in await book.reports.lag(Period(), b"")] == [2]
    assert [sum(row.counts) for row in await book.reports.lag(Period(DAY + 1), b"")] == [1]
    assert [sum(row.counts) for row in await book.reports.lag(Period(0, DAY), b"")] == [1]


async def test_activity_counts_statements_and_signals(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE, TWO))
    await book.tell(ERROR)
    assert await book.reports.activity(Period(), b"") == [
        ActivityRow("alpha", Kind.SIGNAL, LABEL, 1, 2),
        ActivityRow("alpha", Kind.RETRACTION, 0, 1, 1),
    ]


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


async def test_debts_follow_from_it(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    await book.tell(ERROR)
    (ending,) = await book.reports.endings((-1, b""), 10)
    signal = book.facts.signals((ONE,))[ONE]

    async def debt() -> tuple[bool, bool, bool]:
        said = (await book.reports.said((ONE,))).get((ONE, "beta"))
        facts = (await book.reports.members()).get("beta", MemberFacts())
        late_ms = late_before(NOW_MS + 73 * 3_600_000, 0)
        found = debt_of(signal, ending, "beta", facts, said, late_before_ms=late_ms)
        return found.owes, found.open, found.overdue

    assert await debt() == (False, False, False)
    await book.tell(Acknowledgement(0), "beta")
    assert await debt() == (True, True, True)
    await book.tell(Disposition((ONE,), DispositionState.PENDING_REVIEW), "beta")
    assert await debt() == (True, True, True)
    upheld = Disposition((ONE,), DispositionState.UPHELD, SourceAction.REMOVED, DispositionReason.OWN_TERMS)
    await book.tell(upheld, "beta")
    assert await debt() == (True, False, False)


async def test_who_undid_it_before_it_was_taken_back_owes_nothing_more(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    upheld = Disposition((ONE,), DispositionState.UPHELD, SourceAction.REMOVED, DispositionReason.OWN_TERMS)
    await book.tell(upheld, "gamma")
    await book.tell(Disposition((ONE,), DispositionState.REVERSED), "beta")
    await book.tell(ERROR)
    (ending,) = await book.reports.endings((-1, b""), 10)
    said = await book.reports.said((ONE,))
    signal = book.facts.signals((ONE,))[ONE]
    open_ = {
        member: debt_of(signal, ending, member, MemberFacts(), said[ONE, member], late_before_ms=0).open
        for member in ("beta", "gamma")
    }
    assert open_ == {"beta": False, "gamma": True}  # what was upheld before was upheld without knowing


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
    twice = [replace(book.told[0], index=9), replace(book.told[0], index=0)]  # the second meets a row that is there
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

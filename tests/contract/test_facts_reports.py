"""What the fold of a log's life adds up to: lag, debts, activity."""

from __future__ import annotations

from dataclasses import replace

from exchange.domain.bodies import (
    Acknowledgement,
    Disposition,
    DispositionReason,
    DispositionState,
    Erasure,
    ErasureReason,
    SourceAction,
)
from exchange.domain.debts import debt_of, late_before
from exchange.domain.kinds import Kind
from exchange.domain.lag import Stage, bucket_of
from exchange.domain.life import MemberFacts
from exchange.domain.validation import DAY_MS
from exchange.ports import ActivityRow, Period
from tests.contract.facts_book import DAY, ERROR, LABEL, ONE, TWO, Book
from tests.unit.builders import NOW_MS, digest, signal_body


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


async def test_who_acknowledges_what_is_erased_already_owes_nothing(book: Book) -> None:
    await book.tell(signal_body(), ids=(ONE,))
    await book.tell(Acknowledgement(0), "beta")
    await book.tell(Erasure((ONE,), ErasureReason.ON_REQUEST))
    await book.tell(Acknowledgement(2), "gamma")
    (ending,) = await book.reports.endings((-1, b""), 10)
    members, signal = await book.reports.members(), book.facts.signals((ONE,))[ONE]
    owes = {
        name: debt_of(signal, ending, name, members[name], None, late_before_ms=0).owes for name in ("beta", "gamma")
    }
    assert owes == {"beta": True, "gamma": False}


async def test_lag_is_counted_once_and_not_from_before_there_was_a_signal(book: Book) -> None:
    await book.tell(signal_body(actioned_at_ms=NOW_MS - 9_000), ids=(ONE,))
    before = Disposition((ONE,), DispositionState.ACTIONED, SourceAction.REMOVED, 0, NOW_MS - 5_000, NOW_MS - 4_000)
    await book.tell(before, "gamma")
    acted = replace(before, matched_at_ms=NOW_MS + 20, actioned_at_ms=NOW_MS + 100)
    for state in (acted, Disposition((ONE,), DispositionState.PENDING_REVIEW), acted):
        await book.tell(state, "beta")
    lag = await book.lag()
    assert {key: value for key, value in lag.items() if key[2]} == {
        (Stage.MATCHED, "alpha", "beta"): (bucket_of(20),),
        (Stage.ACTIONED, "alpha", "beta"): (bucket_of(100),),
        (Stage.MIGRATION, "alpha", "beta"): (bucket_of(9_100),),
    }


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

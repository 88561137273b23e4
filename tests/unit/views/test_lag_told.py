"""What new entries tell of lag, live: by stage and receiver, without what is late, and within a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from exchange import codec
from exchange.domain.bodies import (
    Acknowledgement,
    Audience,
    Body,
    Disposition,
    DispositionState,
    LagCell,
    Opinion,
    Retraction,
    SignalHeader,
    SourceAction,
)
from exchange.domain.lag import Stage
from exchange.domain.life import MAX_TARGETS, SignalFacts
from exchange.domain.statement import Header
from exchange.ports import ToldEntry
from exchange.views.lag_told import told_lag

UK, ONE = "example/uk", b"1" * 32
SIGNAL = SignalHeader(1, 3, 4, 3, Audience.EVERYONE, 9_999_999, (10,), actioned_at_ms=900)
FACTS = SignalFacts(ONE, 0, "alpha", 1, 9_999_999, 1_000, 1, actioned_at_ms=600)


def entry(body: Body, publisher: str = "beta", *, late: bool = False, received_at_ms: int = 1_000) -> ToldEntry:
    header = Header(UK, codec.kind_of(body), publisher, 996, bytes(16), (), body)
    return ToldEntry(7, header, received_at_ms, late, 1, None)


def known(ids: Sequence[bytes]) -> Mapping[bytes, SignalFacts]:
    return {id_: FACTS for id_ in ids if id_ == ONE}


def told(*entries: ToldEntry) -> dict[tuple[Stage, str], tuple[int, ...]]:
    return {key: histogram.trimmed for key, histogram in told_lag(entries, known).items()}


def test_each_kind_tells_of_its_stages() -> None:
    assert told(entry(SIGNAL, "alpha"), entry(replace(SIGNAL, actioned_at_ms=0), "alpha")) == {
        (Stage.RECEIVED, ""): (0, 0, 0, 2),
        (Stage.REPORTED, ""): (0, 0, 0, 0, 0, 0, 0, 1),
    }
    cells = (LagCell("alpha", 1, b"", False, (0, 2)), LagCell("alpha", 0, b"", True, (1,)))
    acknowledged = entry(Acknowledgement(3, cells=cells))
    assert told(acknowledged, acknowledged, entry(Acknowledgement(3, cells=cells[:1]), "gamma")) == {
        (Stage.DELIVERED, "beta"): (0, 4),
        (Stage.UNDO_DELIVERED, "beta"): (2,),
        (Stage.DELIVERED, "gamma"): (0, 2),
    }
    acted = Disposition((ONE, bytes(32)), DispositionState.ACTIONED, SourceAction.REMOVED, 0, 1_001, 1_004)
    assert told(entry(acted)) == {
        (Stage.MATCHED, "beta"): (0, 1),
        (Stage.ACTIONED, "beta"): (0, 0, 0, 1),
        (Stage.MIGRATION, "beta"): (0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
    }
    reversed_ = Disposition((ONE,), DispositionState.REVERSED, actioned_at_ms=1_010)
    assert told(entry(reversed_)) == {}, "of a signal that stands"
    taken_back = replace(FACTS, retracted_at=6, retracted_ms=1_002)
    (lag,) = told_lag([entry(reversed_)], lambda _: {ONE: taken_back}).items()
    assert (lag[0], lag[1].trimmed) == ((Stage.UNDONE, "beta"), (0, 0, 0, 0, 1))
    backfilled = replace(taken_back, in_lag=False)
    assert told_lag([entry(reversed_)], lambda _: {ONE: backfilled}).keys() == {(Stage.UNDONE, "beta")}
    assert told_lag([entry(acted)], lambda _: {ONE: backfilled}) == {}, "as the reports have it"
    early = replace(taken_back, retracted_ms=5_000)
    assert told_lag([entry(reversed_)], lambda _: {ONE: early}) == {}, "not done for its sake"
    assert told(entry(Retraction((ONE,), 1, 992), "alpha")) == {(Stage.UNDO_REPORTED, ""): (0, 0, 0, 0, 1)}


def test_what_is_late_or_backfill_or_says_no_time_tells_nothing() -> None:
    assert told(
        entry(SIGNAL, late=True),
        entry(replace(SIGNAL, backfill=True)),
        entry(Retraction((ONE,), 1)),
        entry(Retraction((ONE,), 1, 992), late=True),
        entry(Disposition((ONE,), DispositionState.ACTIONED, SourceAction.REMOVED)),
        entry(Disposition((ONE,), DispositionState.PENDING_REVIEW)),
        entry(Opinion((ONE,), 1, 1)),
    ) == {}  # fmt: skip


def test_no_more_is_looked_up_than_one_statement_may_name() -> None:
    asked: list[int] = []

    def look(ids: Sequence[bytes]) -> Mapping[bytes, SignalFacts]:
        asked.append(len(ids))
        return {}

    many = tuple(bytes([n]) * 32 for n in range(100))
    told_lag([entry(Disposition(many, DispositionState.PENDING_REVIEW, matched_at_ms=5))] * 5, look)
    assert sum(asked) == MAX_TARGETS

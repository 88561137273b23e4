"""Counts made into the figures of a report: small numbers kept back, lags read off their histograms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exchange.domain.bodies import DispositionState, ErasureReason, RetractionReason, SourceAction
from exchange.domain.kinds import KINDS, Kind, Log
from exchange.domain.labels import Label
from exchange.domain.lag import LEAST_MEASURED, Histogram, Stage, band_of
from exchange.report.payload import Cell, Division, Figures, LagLine, MemberLine, Plainly, Row, Table
from exchange.report.suppression import is_few, parts_of

NOT_SHOWN = "not shown"
#: Kinds of statement that are about signals, and so about people; the others are about organisations and keys.
ABOUT_SIGNALS = (
    Kind.SIGNAL,
    Kind.RETRACTION,
    Kind.OPINION,
    Kind.DISPOSITION,
    Kind.ERASURE,
    Kind.REFERRAL,
    Kind.REFERRAL_UPDATE,
    Kind.NOTE,
)
_NOTHING = Division((), 0, withheld=False)


@dataclass(frozen=True, slots=True)
class Owed:
    """How one member answered the ends of signals that it was given."""

    closed: int = 0
    #: Not answered yet, within the deadline.
    open: int = 0
    overdue: int = 0


@dataclass(slots=True)
class Counted:
    """What was counted, before anything is kept back."""

    members: Sequence[MemberLine] = ()
    #: Statements of each kind; None where only signals of one election are counted.
    statements: Mapping[int, int] | None = None
    by_label: Mapping[int, int] = field(default_factory=dict)
    by_publisher: Mapping[str, int] = field(default_factory=dict)
    #: By day, or by week.
    by_period: Mapping[str, int] = field(default_factory=dict)
    #: By state and action.
    dispositions: Mapping[tuple[int, int], int] = field(default_factory=dict)
    #: By whether it is an erasure, and reason.
    endings: Mapping[tuple[bool, int], int] = field(default_factory=dict)
    disputed: Mapping[str, int] = field(default_factory=dict)
    debts: Mapping[str, Owed] = field(default_factory=dict)
    #: By stage and "", by stage and receiver, and by stage and day or week.
    lag: Mapping[tuple[int, str], Histogram] = field(default_factory=dict)
    lag_by_receiver: Mapping[tuple[int, str], Histogram] = field(default_factory=dict)
    lag_by_period: Mapping[tuple[int, str], Histogram] = field(default_factory=dict)


def few(least: int) -> str:
    """Return what stands in place of a small number."""
    return f"fewer than {least}"


def figures_of(counted: Counted, least: int) -> Figures:
    """Return the figures, with every number of signals below ``least`` kept back."""
    receivers = max(1, len(counted.members))
    return Figures(
        members=tuple(counted.members),
        tables=tuple(_tables(counted, least)),
        running=_running(counted.statements),
        lag=_lag(counted.lag, least, receivers),
        lag_by_receiver=_lag(counted.lag_by_receiver, least, 1),
        lag_trend=_lag(counted.lag_by_period, least, receivers),
    )


def _tables(counted: Counted, least: int) -> Iterable[Table]:
    yield _table("signals-by-period", counted.by_period, least)
    yield _table("signals-by-label", _named(counted.by_label, Label), least)
    yield _table("signals-by-publisher", counted.by_publisher, least)
    if counted.statements is not None:
        of = {kind.name.lower(): counted.statements.get(kind, 0) for kind in ABOUT_SIGNALS}
        yield _table("statements-by-kind", of, least)
    yield _dispositions(counted.dispositions, least)
    back = {reason: count for (erasure, reason), count in counted.endings.items() if not erasure}
    erased = {reason: count for (erasure, reason), count in counted.endings.items() if erasure}
    yield _table("taken-back-by-reason", _named(back, RetractionReason), least)
    yield _table("erased-by-reason", _named(erased, ErasureReason), least)
    yield _table("disputed-by-publisher", counted.disputed, least)
    # Who was given what was ended owes for it: so many debts tell how few signals there were.
    ended = sum(back.values()) + erased.get(ErasureReason.ON_REQUEST, 0)
    yield _debts(counted.debts, least, told=not is_few(ended, least))


def _named(numbers: Mapping[int, int], words: type[Label | RetractionReason | ErasureReason]) -> dict[str, int]:
    return {_word(words, value): count for value, count in sorted(numbers.items())}


def _word(words: type[Label | RetractionReason | ErasureReason | DispositionState | SourceAction], value: int) -> str:
    known = {each.value: each.name.lower() for each in words}
    return known.get(value, f"number {value}" if value else "not said")


def _table(
    id_: str, numbers: Mapping[str, int], least: int, below: Mapping[str, Mapping[str, int]] | None = None
) -> Table:
    total = sum(numbers.values())
    return Table(id_, few(least) if is_few(total, least) else total, _division(numbers, least, below or {}))


def _division(numbers: Mapping[str, int], least: int, below: Mapping[str, Mapping[str, int]]) -> Division:
    """Return what may be said of the parts; of a part that is not shown, nothing that it is divided into is."""
    parts = parts_of(numbers, least)
    if parts is None:
        return Division((), 0, withheld=True)
    kept: Cell = few(least) if parts.all_few else NOT_SHOWN
    rows = [
        Row(
            name,
            kept if number is None else number,
            _division(below[name], least, {}) if number and name in below else None,
        )
        for name, number in parts.shown
    ]
    return Division(tuple(rows), parts.together, withheld=False)


def _dispositions(numbers: Mapping[tuple[int, int], int], least: int) -> Table:
    states: dict[str, int] = {}
    actions: dict[str, dict[str, int]] = {}
    for (state, action), count in sorted(numbers.items()):
        word = _word(DispositionState, state)
        states[word] = states.get(word, 0) + count
        if action:
            actions.setdefault(word, {})[_word(SourceAction, action)] = count
    # Where some told no action, those that did are not all of it: they are not divided.
    whole = {word: parts for word, parts in actions.items() if sum(parts.values()) == states[word]}
    return _table("dispositions-by-state", states, least, whole)


def _debts(debts: Mapping[str, Owed], least: int, *, told: bool) -> Table:
    if not told:
        return Table("debts-by-member", NOT_SHOWN, Division((), 0, withheld=True))
    owed = {member: each.closed + each.open + each.overdue for member, each in sorted(debts.items())}
    states = {
        member: {"closed": each.closed, "open": each.open, "overdue": each.overdue} for member, each in debts.items()
    }
    return _table("debts-by-member", owed, least, states)


def _running(statements: Mapping[int, int] | None) -> tuple[Plainly, ...]:
    if statements is None:
        return ()
    of = [row for row in KINDS.values() if row.log is Log.COMMUNITY and row.kind not in ABOUT_SIGNALS]
    return tuple(Plainly(row.name.replace("_", "-"), statements.get(row.kind, 0)) for row in of)


def _lag(histograms: Mapping[tuple[int, str], Histogram], least: int, receivers: int) -> tuple[LagLine, ...]:
    """Return how long each stage took, where that cannot tell of a few signals.

    So many receivers measure one signal so many times: what a few come to must look the same, however few they are.
    """
    measured = max(LEAST_MEASURED, (least - 1) * receivers + 1)
    return tuple(_lag_line(stage, of, histogram, measured) for (stage, of), histogram in sorted(histograms.items()))


def _lag_line(stage: int, of: str, histogram: Histogram, least_measured: int) -> LagLine:
    word = Stage(stage).word
    band = band_of(histogram.total)
    if band is None or histogram.total < least_measured:
        return LagLine(word, of, few(least_measured), None, None, None)
    return LagLine(word, of, f"{band:,} or more", *(histogram.quantile_ms(share) for share in (0.5, 0.95, 0.99)))

"""A period of a ledger, counted: what is in its facts, and what its directory said of its members then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from exchange.cli.progress.reading import Ledger
from exchange.domain.debts import Debt, Ending, Said, debt_of, late_before
from exchange.domain.directory import Directory
from exchange.domain.elections import ElectionFacts
from exchange.domain.kinds import Kind
from exchange.domain.lag import Histogram
from exchange.domain.life import MemberFacts, SignalFacts, could_see
from exchange.ports import Period
from exchange.report.figures import Counted, Owed
from exchange.report.payload import MemberLine
from exchange.report.wording import WEEK
from exchange.stores.facts_figures import FactsFigures
from exchange.stores.facts_reports import FactsReports

_EPOCH = date(1970, 1, 1)
#: A longer period is shown by weeks.
_MOST_DAYS = 31
_ENDINGS = 256
_MOST_NAME = 200
_NO_FACTS = MemberFacts()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be counted."""

    origin: str
    first_day: date
    last_day: date
    election: ElectionFacts | None
    as_at_ms: int
    deadline_hours: int

    @property
    def election_id(self) -> bytes:
        """The election's id; empty for all signals."""
        return self.election.id if self.election else b""

    @property
    def period(self) -> Period:
        """All of it."""
        return Period(day_number(self.first_day), day_number(self.last_day))

    def pieces(self) -> Iterator[tuple[str, Period]]:
        """Yield its days, or where there are many its weeks, which begin on Mondays, each with its name."""
        if (self.last_day - self.first_day).days < _MOST_DAYS:
            step, first = 1, self.first_day
        else:
            step, first = 7, self.first_day - timedelta(self.first_day.weekday())
        while first <= self.last_day:
            last = min(self.last_day, first + timedelta(step - 1))
            name = first.isoformat() if step == 1 else f"{WEEK}{first}"
            yield name, Period(day_number(max(first, self.first_day)), day_number(last))
            first += timedelta(step)


def day_number(day: date) -> int:
    """Return a day as its number since 1970."""
    return (day - _EPOCH).days


def day_of(number: int) -> date:
    """Return the day of a number since 1970."""
    return _EPOCH + timedelta(number)


async def counted(ledger: Ledger, directory: Directory, wanted: Wanted) -> Counted:
    """Return what a period adds up to."""
    reports, figures = FactsReports(ledger.facts), FactsFigures(ledger.facts)
    election, since = wanted.election_id, ledger.since(wanted.period.from_day)
    members = await reports.members()
    found = Counted(members=_members(directory, wanted.origin, members))
    statements, labels, publishers = dict[int, int](), dict[int, int](), dict[str, int]()
    for row in await reports.activity(wanted.period, election):
        statements[row.kind] = statements.get(row.kind, 0) + row.statements
        if row.kind == Kind.SIGNAL:
            labels[row.label] = labels.get(row.label, 0) + row.signals
            publishers[row.member] = publishers.get(row.member, 0) + row.signals
    found.statements = None if election else statements
    found.by_label, found.by_publisher = labels, dict(sorted(publishers.items()))
    await _count_pieces(found, reports, wanted)
    found.dispositions = await figures.dispositions(since, election)
    found.endings = await figures.endings(since, election)
    found.disputed = dict(sorted((await figures.disputed(since, election)).items()))
    late_before_ms = late_before(wanted.as_at_ms, wanted.deadline_hours)
    given = _Given(directory, wanted.origin, members, late_before_ms)
    found.debts = await _owed(ledger, reports, given, election, since)
    await _count_lag(found, reports, wanted)
    return found


def _members(directory: Directory, origin: str, facts: Mapping[str, MemberFacts]) -> tuple[MemberLine, ...]:
    lines = []
    for entry in directory.members.values():
        if entry.ever_in(origin):
            state = "suspended" if entry.suspended else "active" if origin in entry.communities else "left"
            flagged = facts.get(entry.id, _NO_FACTS).quarantined_from is not None
            name, kind = entry.display_name[:_MOST_NAME], entry.member_class.name.lower()
            lines.append(MemberLine(entry.id, name, kind, state, flagged))
    return tuple(sorted(lines, key=lambda line: (line.member_class, line.id)))


async def _count_pieces(found: Counted, reports: FactsReports, wanted: Wanted) -> None:
    signals, lag = dict[str, int](), dict[tuple[int, str], Histogram]()
    names = []
    for name, period in wanted.pieces():
        names.append(name)
        rows = await reports.activity(period, wanted.election_id)
        signals[name] = sum(row.signals for row in rows if row.kind == Kind.SIGNAL)
        for told in await reports.lag(period, wanted.election_id):
            lag.setdefault((told.stage, name), Histogram.empty()).add(told.counts)
    stages = {stage for stage, _ in lag}
    found.by_period = signals
    found.lag_by_period = {
        (stage, name): lag.get((stage, name), Histogram.empty()) for stage in stages for name in names
    }


async def _count_lag(found: Counted, reports: FactsReports, wanted: Wanted) -> None:
    whole, by_receiver = dict[tuple[int, str], Histogram](), dict[tuple[int, str], Histogram]()
    for row in await reports.lag(wanted.period, wanted.election_id):
        whole.setdefault((row.stage, ""), Histogram.empty()).add(row.counts)
        if row.receiver:
            by_receiver.setdefault((row.stage, row.receiver), Histogram.empty()).add(row.counts)
    found.lag, found.lag_by_receiver = whole, by_receiver


@dataclass(frozen=True, slots=True)
class _Given:
    """Who was given what, as far as the ledger shows it."""

    directory: Directory
    origin: str
    members: Mapping[str, MemberFacts]
    late_before_ms: int

    def debts(self, signal: SignalFacts, ending: Ending, said: Mapping[tuple[bytes, str], Said]) -> Iterator[Debt]:
        """Yield how each member stands to the end of a signal: of a restricted one, each that said something."""
        for member in sorted(self.directory.members):
            answer = said.get((signal.signal_id, member))
            given = could_see(self.directory, self.origin, member, signal, until_size=ending.directory_size)
            if member != signal.publisher and (given or answer is not None):
                facts = self.members.get(member, _NO_FACTS)
                yield debt_of(signal, ending, member, facts, answer, late_before_ms=self.late_before_ms)


async def _owed(ledger: Ledger, reports: FactsReports, given: _Given, election: bytes, since: int) -> dict[str, Owed]:
    found: dict[str, list[int]] = {}
    place: tuple[int, bytes] = (since - 1, b"\xff" * 32)
    while endings := await reports.endings(place, _ENDINGS):
        ids = [ending.signal_id for ending in endings]
        said, signals = await reports.said(ids), ledger.facts.signals(ids)
        for ending in endings:
            signal = signals.get(ending.signal_id)
            if signal is None or not ending.opens_debts or election not in (b"", signal.election):
                continue
            for debt in given.debts(signal, ending, said):
                if debt.owes:
                    state = 0 if debt.closed_at is not None else 2 if debt.overdue else 1
                    found.setdefault(debt.member, [0, 0, 0])[state] += 1
        place = (endings[-1].index, endings[-1].signal_id)
    return {member: Owed(*counts) for member, counts in sorted(found.items())}

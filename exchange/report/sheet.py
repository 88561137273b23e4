"""A report from beginning to end, as pieces that every form of it sets: so none of them can say more than another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exchange.report.payload import Cell, Division, LagLine, Payload, Table, stated
from exchange.report.picture import FIRST, SECOND, Curve, Picture, bars, curves
from exchange.report.wording import HEADLINE, STAGES, TABLES, WEEK, day, duration, end_ms, moment, plain

#: The columns of a table of single facts, which may be long texts.
FACTS = ("what", "value")


@dataclass(frozen=True, slots=True)
class Grid:
    """A table."""

    id: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    #: Repeats what the table says.
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the report."""

    id: str
    title: str
    paragraphs: tuple[str, ...]
    grids: tuple[Grid, ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """All of it."""

    title: str
    subtitle: str
    chapters: tuple[Chapter, ...]


def sheet_of(payload: Payload) -> Sheet:
    """Return what a report says."""
    election = payload.election
    about = f", signals about {election.title}" if election else ""
    return Sheet(
        f"Progress report of {payload.origin}",
        f"{_period(payload)}{about}",
        (
            _about(payload),
            _members(payload),
            _chapter(payload, "signals", "Signals", "signals-by-period", "signals-by-label", "signals-by-publisher"),
            _lag(payload),
            _chapter(payload, "actions", "Actions and referrals", "dispositions-by-state", "statements-by-kind"),
            _chapter(
                payload,
                "undone",
                "Taken back, erased, disputed, owed",
                "taken-back-by-reason",
                "erased-by-reason",
                "disputed-by-publisher",
                "debts-by-member",
            ),
            *_running(payload),
            _verifying(payload),
        ),
    )


def _period(payload: Payload) -> str:
    """Return the period in words, and how much of it had passed when it was counted."""
    days = dict.fromkeys((day(payload.first_day), day(payload.last_day)))
    ends = end_ms(payload.last_day)
    passed = ends is None or payload.as_at_ms >= ends
    return " to ".join(days) + ("" if passed else f", up to {moment(payload.as_at_ms)}")


def _about(payload: Payload) -> Chapter:
    rows = [
        ("community", payload.origin),
        ("first day", payload.first_day),
        ("last day", payload.last_day),
        ("counted, and answers owed, as at", moment(payload.as_at_ms)),
        ("overdue after", f"{payload.deadline_hours} hours"),
        ("least number shown", str(payload.least)),
        ("vouched for by", f"{payload.signer.member} ({payload.signer.role})"),
    ]
    if payload.election is not None:
        election = payload.election
        rows[3:3] = [
            ("election", f"{election.title} ({election.name})"),
            ("its window", f"{moment(election.begins_ms)} to {moment(election.polling_ends_ms)}"),
            ("its target for lag", duration(election.lag_target_ms)),
        ]
    said = [
        (
            "Every figure here was counted from the community's ledger, entry by entry, and not taken on anybody's"
            " word. All days are in UTC. The report holds no identifier of any person or account."
        ),
        (
            f"Numbers of signals and of answers below {payload.least} are not shown, and neither are those by which"
            " they could be worked out. A member that knows its own numbers may work out more than others."
        ),
    ]
    if payload.election is not None:
        said.append("Only signals that name this election are counted, and what was said of them.")
    return Chapter("about", "About this report", tuple(said), (Grid("about", "What it covers", FACTS, tuple(rows)),))


def _members(payload: Payload) -> Chapter:
    members = payload.figures.members
    classes = sorted({each.member_class for each in members})
    states = ("active", "suspended", "left")
    counts = tuple(
        (
            plain(name),
            *(str(sum((each.member_class, each.state) == (name, state) for each in members)) for state in states),
        )
        for name in classes
    )
    rows = tuple(
        (each.id, each.name, plain(each.member_class), plain(each.state), "yes" if each.flagged else "no")
        for each in members
    )
    return Chapter(
        "members",
        "Members",
        ("As they stood at the end of the period. A flagged member is in quarantine: matchers hold its signals back.",),
        (
            Grid("members-by-class", "Members, by class", ("class", *states), counts),
            Grid("members", "Members, by name", ("member", "name", "class", "state", "flagged"), rows),
        ),
    )


def _chapter(payload: Payload, id_: str, title: str, *wanted: str) -> Chapter:
    tables = {table.id: table for table in payload.figures.tables}
    grids = tuple(_grid(tables[name], payload) for name in wanted if name in tables)
    return Chapter(id_, title, (), grids)


def _grid(table: Table, payload: Payload) -> Grid:
    caption, part, unit, note = TABLES.get(table.id, (table.id, "part", "number", ""))
    notes = [note] if note else []
    if table.parts.withheld:
        notes.append("There are too few to divide them.")
    elif table.parts.together:
        least = payload.least
        notes.append(f"What is not shown here is below {least}, or would tell a number that is.")
    picture = None
    if table.id == "signals-by-period" and table.parts.rows:
        numbers = [
            (row.name.removeprefix(WEEK), row.count if isinstance(row.count, int) else None) for row in table.parts.rows
        ]
        picture = bars("signals-by-period", caption, "The numbers of the table below it, as bars.", numbers)
    rows = (*_rows(table.parts), ("all", _cell(table.total)))
    return Grid(table.id, caption, (part, unit), rows, " ".join(notes), picture)


def _rows(parts: Division, before: str = "") -> Iterator[tuple[str, str]]:
    for row in parts.rows:
        yield f"{before}{row.name.replace('_', ' ')}", _cell(row.count)
        if row.parts is not None:
            yield from _rows(row.parts, f"{row.name.replace('_', ' ')}: ")
    if parts.together:
        yield f"{before}together, of what is not shown", _cell(parts.together)


def _cell(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else cell


_LAG_COLUMNS = ("stage", "half", "19 of 20", "99 of 100", "measured")


def _lag(payload: Payload) -> Chapter:
    figures = payload.figures
    whole = tuple((f"{plain(line.stage)}: {STAGES.get(line.stage, '')}", *_times(line)) for line in figures.lag)
    by = tuple((plain(line.stage), line.of, *_times(line)) for line in figures.lag_by_receiver)
    trend = tuple((plain(line.stage), line.of, *_times(line)) for line in figures.lag_trend)
    columns = ("stage", "receiver", *_LAG_COLUMNS[1:])
    return Chapter(
        "lag",
        "Lag",
        (
            (
                "How long things took. Each time is above what was measured, and at most twice that: half of all took"
                " less than the first, and so on. Times are by the clocks of those who measured."
            ),
        ),
        (
            Grid("lag", "Lag, by stage", _LAG_COLUMNS, whole),
            Grid(
                "lag-trend",
                "Lag, over time",
                ("stage", "when", *_LAG_COLUMNS[1:]),
                trend,
                picture=_trend([line for line in figures.lag_trend if line.stage == HEADLINE]),
            ),
            Grid("lag-by-receiver", "Lag, by receiver", columns, by),
        ),
    )


def _times(line: LagLine) -> tuple[str, ...]:
    if line.p50_ms is None:
        return ("too few", "too few", "too few", line.measured)
    return (*map(duration, (line.p50_ms, line.p95_ms, line.p99_ms)), line.measured)


def _trend(lines: Sequence[LagLine]) -> Picture | None:
    if not any(line.p50_ms for line in lines):
        return None
    return curves(
        "lag-trend",
        "Lag from the hub's receipt until a receiver had the signal, over time",
        "The rows of the table below it for the stage delivered, on a scale of tens.",
        [line.of.removeprefix(WEEK) for line in lines],
        (
            Curve("half took less", [line.p50_ms for line in lines], FIRST),
            Curve("19 of 20", [line.p95_ms for line in lines], SECOND, dashed=True),
        ),
    )


def _running(payload: Payload) -> Iterator[Chapter]:
    rows = tuple((plain(each.name), f"{each.count:,}") for each in payload.figures.running)
    if rows:
        said = ("Statements about the exchange itself, its members and its keys: not about anybody's content.",)
        grid = Grid("running", "Statements about the exchange itself", ("kind of statement", "statements"), rows)
        yield Chapter("running", "Running the exchange", said, (grid,))


def _verifying(payload: Payload) -> Chapter:
    tree, directory = stated(payload.checkpoint), stated(payload.directory_checkpoint)
    rows = (
        ("ledger", tree.origin),
        ("its size", f"{tree.size:,}"),
        ("its root", tree.root.hex()),
        ("directory", directory.origin),
        ("its size", f"{directory.size:,}"),
        ("its root", directory.root.hex()),
        ("public key of who vouches", payload.signer.public_key),
        ("release", payload.release),
    )
    return Chapter(
        "verify",
        "How to check this report",
        (
            (
                f"With the whole folder, and as a member: {payload.verify}. It checks the signature, that each file is"
                " the one that was signed, that the ledger of today still begins with what was counted, and counts it"
                " again."
            ),
            (
                "Without a connection to the exchange, --offline checks the files and the signature, and says what it"
                " could not."
            ),
            "This file alone proves nothing: report.json and report.dsse.json belong to it.",
        ),
        (Grid("verify", "What it is tied to", FACTS, rows),),
    )

"""``exchange lag``, ``debts`` and ``signal``: what a community's ledger adds up to, as the hub tells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from enum import IntEnum
from pathlib import Path

import click

from exchange.cli.connect import origin_of, with_client
from exchange.cli.election import one_of
from exchange.cli.output import client_option, community_option, emit, json_option, say
from exchange.domain.bodies import (
    DispositionState,
    Election,
    OpinionCategory,
    OpinionReason,
    RetractionReason,
)
from exchange.domain.elections import ElectionFacts
from exchange.domain.labels import Label
from exchange.domain.lag import Histogram, Stage, upper_bound_ms
from exchange_client import ClientConfig, ExchangeClient
from exchange_client.json_words import id_of, name_of
from exchange_client.reports import Debt, LagReport, LagRow, SignalReport

_EPOCH = date(1970, 1, 1).toordinal()
_BAR = 30
_YEARS_H = 10 * 365 * 24
#: More than one in so many later than an election's alert is too slow.
_ONE_IN = 20
_STAGES = click.Choice([stage.word for stage in Stage])


def _day(moment: datetime | None) -> int:
    return 0 if moment is None else moment.date().toordinal() - _EPOCH


def _word(words: type[IntEnum], value: int) -> str:
    return str(name_of(words, value) or "-")


def _duration(at_most_ms: int | None) -> str:
    """Return an upper bound for people: two figures, in the unit that fits."""
    if at_most_ms is None:
        return "-"
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if at_most_ms >= size:
            return f"{at_most_ms / size:.2g} {unit}" if at_most_ms < 100 * size else f"{at_most_ms / size:.0f} {unit}"
    return f"{at_most_ms} ms"


_DAY = click.DateTime(["%Y-%m-%d"])
_ELECTION = click.option(
    "--election", default="", metavar="NAME", help="Only of signals that name this election: its name, or its id."
)


async def _election_of(client: ExchangeClient, origin: str, named: str) -> ElectionFacts | None:
    """Return the election that was asked for; None for no election. Raises `Rejected` (NOT_FOUND)."""
    if not named:
        return None
    return one_of(await client.elections(origin), named, "here")


@click.command()
@community_option
@client_option
@click.option("--from", "since", type=_DAY, metavar="DATE", help="First day (UTC). Default: all there is.")
@click.option("--to", "until", type=_DAY, metavar="DATE", help="Last day. Default: today.")
@_ELECTION
@click.option("--stage", "stages", type=_STAGES, multiple=True, help="Only these stages. Repeat for more.")
@click.option("--member", "members", multiple=True, help="Only where this one publishes or receives. Repeat for more.")
@json_option
def lag(
    name: str,
    client_path: Path,
    since: datetime | None,
    until: datetime | None,
    election: str,
    stages: tuple[str, ...],
    members: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Tell how long signals and retractions take, between whom: the headline number.

    Half of all took less than p50, and so on: each is an upper bound, at most twice what was measured. Lags hold the
    times of two clocks as they are; how far those are off the hub's stands beneath, as their members measured it.

    Of an election it also tells who is slower from one platform's action to the next one's than its alert: where more
    than one in twenty surely took longer, exit code 1.

    \b
    Stages:
      reported      the publisher's action, until the hub had its signal
      received      the making of the statement, until the hub had it
      delivered     the hub's receipt, until a receiver had the signal (as it acknowledges)
      matched       ... until a receiver found its own content or account by it
      actioned      ... until a receiver acted
      migration     the publisher's action, until a receiver's
      undo_reported, undo_delivered, undone: the same for taking back
    Examples:
      exchange lag --community uk-elections --client beta/liaison/client.toml
      exchange lag --stage migration --from 2026-11-01 --community uk-elections --client beta/liaison/client.toml --json
    """

    async def job(client: ExchangeClient, settings: ClientConfig) -> tuple[LagReport, ElectionFacts | None]:
        origin = origin_of(settings.exchange, name)
        named = await _election_of(client, origin, election)
        id_ = b"" if named is None else named.id
        return await client.lag(origin, from_day=_day(since), to_day=_day(until), election=id_), named

    report, named = with_client(client_path, job)
    rows = [
        row
        for row in report.rows
        if (not stages or _word(Stage, row.stage) in stages)
        and (not members or {row.publisher, row.receiver} & set(members))
    ]
    if as_json:
        for row in rows:
            emit(_lag_json(row), as_json=True)
        for clock in report.clocks:
            emit({"clock": clock.member, "offset_ms": clock.offset_ms, "error_ms": clock.error_ms}, as_json=True)
    else:
        say(*_lag_lines(rows), *_clock_lines(report))
    if named is not None and _tell_alert(named.election, report.rows, as_json=as_json):
        raise SystemExit(1)


def _lag_json(row: LagRow) -> dict[str, object]:
    histogram = row.histogram
    return {
        "stage": _word(Stage, row.stage),
        "publisher": row.publisher,
        "receiver": row.receiver or None,
        "label": name_of(Label, row.label),
        "count": histogram.total,
        **{f"p{share}_ms": histogram.quantile_ms(share / 100) for share in (50, 95, 99)},
        "counts": list(row.counts),
    }


def _lag_lines(rows: Sequence[LagRow]) -> Iterator[str]:
    if not rows:
        yield "nothing was measured"
    stage = 0
    for row in rows:
        if row.stage != stage:
            stage = row.stage
            yield f"{_word(Stage, stage).upper()}"
            yield f"  {'publisher':<16} {'receiver':<16} {'label':<28} {'count':>8} {'p50':>9} {'p95':>9} {'p99':>9}"
        histogram = row.histogram
        bounds = "".join(f" {'<' + _duration(histogram.quantile_ms(share)):>9}" for share in (0.5, 0.95, 0.99))
        label = _word(Label, row.label)
        yield f"  {row.publisher:<16} {row.receiver or '-':<16} {label:<28} {histogram.total:>8}{bounds}"
        yield from _bars(histogram)


def _against_alert(rows: Sequence[LagRow], alert_ms: int) -> list[tuple[str, str, int, int]]:
    """Return publisher, receiver, how many actions surely came later than the alert, and how many there were."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        if row.stage == Stage.MIGRATION:
            late = sum(count for at, count in enumerate(row.counts) if at and upper_bound_ms(at - 1) >= alert_ms)
            before = found.get((row.publisher, row.receiver), (0, 0))
            found[row.publisher, row.receiver] = before[0] + late, before[1] + row.histogram.total
    return [(*who, late, all_) for who, (late, all_) in sorted(found.items())]


def _tell_alert(election: Election, rows: Sequence[LagRow], *, as_json: bool) -> bool:
    """Tell who is slower than an election's alert; whether anybody is."""
    measured = _against_alert(rows, election.lag_alert_ms)
    if not as_json:
        say(*_alert_lines(election, measured))
    for publisher, receiver, late, all_ in measured if as_json else ():
        data = {"publisher": publisher, "receiver": receiver, "late": late, "of": all_}
        emit({"alert": election.name, **data, "too_slow": _too_slow(late, all_)}, as_json=True)
    return any(_too_slow(late, all_) for *_, late, all_ in measured)


def _too_slow(late: int, all_: int) -> bool:
    return late * _ONE_IN > all_


def _alert_lines(election: Election, measured: Sequence[tuple[str, str, int, int]]) -> Iterator[str]:
    limits = f"target {_duration(election.lag_target_ms)}, alert {_duration(election.lag_alert_ms)}"
    yield f"{election.name}: from one platform's action to the next one's, {limits}"
    for publisher, receiver, late, all_ in measured:
        alert = "  TOO SLOW" if _too_slow(late, all_) else ""
        yield f"  {publisher:<16} {receiver:<16} later than the alert: {late} of {all_}{alert}"


def _bars(histogram: Histogram) -> Iterator[str]:
    """Yield a bar for each bucket from the first to the last that holds any."""
    used = [bucket for bucket, count in enumerate(histogram.counts) if count]
    most = max(histogram.counts)
    for bucket in range(used[0], used[-1] + 1) if used else ():
        count = histogram.counts[bucket]
        bar = "#" * -(-count * _BAR // most)
        yield f"      {'<' + _duration(upper_bound_ms(bucket)):>9} {bar:<{_BAR}} {count}".rstrip()


def _clock_lines(report: LagReport) -> Iterator[str]:
    if report.clocks:
        yield "CLOCKS, ahead of the hub's (-: behind it)"
    for clock in report.clocks:
        known = f"{clock.offset_ms:+} ms, give or take {clock.error_ms} ms" if clock.error_ms else "not measured"
        yield f"  {clock.member:<16} {known}"


@click.command()
@community_option
@client_option
@click.option("--member", "member_", default="", metavar="ID", help="Only of this receiver.")
@click.option("--all", "closed_too", is_flag=True, help="Also what is closed, or was never owed.")
@click.option("--deadline-hours", type=click.IntRange(1, _YEARS_H), help="Silence for longer is overdue. Default: 72.")
@_ELECTION
@json_option
def debts(
    name: str,
    client_path: Path,
    member_: str,
    deadline_hours: int | None,
    election: str,
    *,
    closed_too: bool,
    as_json: bool,
) -> None:
    """List who was given signals that were taken back or erased, and has not said what it did about that.

    A debt is closed with `exchange dispose`. Exit code 1 when something is overdue.

    \b
    Examples:
      exchange debts --community uk-elections --client alpha/liaison/client.toml
      exchange debts --member beta --all --community uk-elections --client beta/liaison/client.toml --json
    """

    async def job(client: ExchangeClient, settings: ClientConfig) -> int:
        origin = origin_of(settings.exchange, name)
        named = await _election_of(client, origin, election)
        asked = client.debts(
            origin,
            member=member_,
            open_only=not closed_too,
            deadline_hours=deadline_hours or 0,
            election=b"" if named is None else named.id,
        )
        overdue = found = 0
        async for debt in asked:
            if not found and not as_json:
                say(_DEBTS_HEAD)
            found += 1
            overdue += debt.overdue
            emit(_debt_json(debt), as_json=as_json, lines=[_debt_line(debt)])
        if not found and not as_json:
            say("nothing is owed" if not closed_too else "nothing was ended that anybody was given")
        return overdue

    if with_client(client_path, job):
        raise SystemExit(1)


_DEBTS_HEAD = f"{'publisher':<16} {'ended by':<32} {'entry':>8} {'receiver':<16} {'said':<14} {'state':<8} signal"


def _debt_json(debt: Debt) -> dict[str, object]:
    return {
        "signal_id": debt.signal_id.hex(),
        "publisher": debt.publisher,
        "label": name_of(Label, debt.label),
        "ended_by": "erasure" if debt.erasure else "retraction",
        "reason": name_of(RetractionReason, debt.reason),
        "ended_at": debt.ended_at,
        "ended_at_ms": debt.ended_at_ms,
        "member": debt.member,
        "said": name_of(DispositionState, debt.said),
        "owes": debt.owes,
        "open": debt.open,
        "overdue": debt.overdue,
        "closed_at": debt.closed_at,
    }


def _debt_line(debt: Debt) -> str:
    by = "erasure" if debt.erasure else f"retraction: {_word(RetractionReason, debt.reason)}"
    said = _word(DispositionState, debt.said) if debt.said else "nothing"
    state = (
        "OVERDUE" if debt.overdue else "open" if debt.open else "closed" if debt.closed_at is not None else "not owed"
    )
    ended = f"{debt.publisher:<16} {by:<32} {debt.ended_at:>8}"
    return f"{ended} {debt.member:<16} {said:<14} {state:<8} {debt.signal_id.hex()}"


@click.command()
@click.argument("id_", metavar="SIGNAL_ID")
@community_option
@client_option
@json_option
def signal(id_: str, name: str, client_path: Path, *, as_json: bool) -> None:
    """Tell what the ledger says of one signal: where it stands, what others think of it and did with it.

    \b
    Example:
      exchange signal 5f1c... --community uk-elections --client beta/liaison/client.toml
    """
    signal_id = id_of(id_, "SIGNAL_ID")

    async def job(client: ExchangeClient, settings: ClientConfig) -> SignalReport:
        return await client.signal(origin_of(settings.exchange, name), signal_id)

    report = with_client(client_path, job)
    data = _signal_json(report)
    emit(data, as_json=as_json, lines=list(_signal_lines(report)))


def _signal_json(report: SignalReport) -> dict[str, object]:
    return {
        "signal_id": report.signal_id.hex(),
        "index": report.index,
        "publisher": report.publisher,
        "label": name_of(Label, report.label),
        "received_at_ms": report.received_at_ms,
        "expires_at_ms": report.expires_at_ms,
        "retracted_at": report.retracted_at,
        "erased_at": report.erased_at,
        "replaced_at": report.replaced_at,
        "quarantined": report.quarantined,
        "disputed": report.disputed,
        "opinions": [
            {
                "member": each.member,
                "category": name_of(OpinionCategory, each.category),
                "reason": name_of(OpinionReason, each.reason),
            }
            for each in report.opinions
        ],
        "dispositions": {_word(DispositionState, state): members for state, members in report.dispositions.items()},
        "size": report.size,
    }


def _signal_lines(report: SignalReport) -> Iterator[str]:
    yield f"{_word(Label, report.label)}, of {report.publisher}, entry {report.index}"
    yield f"  received {_moment(report.received_at_ms)}, expires {_moment(report.expires_at_ms)}"
    for what, index in (
        ("taken back", report.retracted_at),
        ("erased", report.erased_at),
        ("replaced", report.replaced_at),
    ):
        if index is not None:
            yield f"  {what} by entry {index}"
    if report.quarantined:
        yield "  quarantined: its publisher's entries are flagged"
    if report.disputed:
        yield "  disputed"
    for each in report.opinions:
        yield f"  {each.member} thinks: {_word(OpinionCategory, each.category)}, {_word(OpinionReason, each.reason)}"
    for state, members in report.dispositions.items():
        yield f"  {members} member{'s' * (members != 1)}: {_word(DispositionState, state)}"


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")

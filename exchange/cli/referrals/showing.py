"""``exchange referrals list``, ``show``, ``notes`` and ``contacts``: what there is, as the hub tells its parties."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from exchange.cli.connect import origin_of, with_client
from exchange.cli.output import client_option, community_option, emit, json_option, say
from exchange.domain.addressed import ReferralOutcome, ReferralState, ReferralUrgency
from exchange.domain.bodies import TargetClass
from exchange.domain.contacts import ContactPurpose
from exchange.domain.labels import Label
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, ExchangeClient, MemberContacts, NoteReport, ReferralReport, ReferralStep
from exchange_client.json_referrals import contacts_to_json, note_to_json, report_to_json
from exchange_client.json_words import bytes32, name_of

_STATES = ("unanswered", *(state.name.lower() for state in ReferralState))
_HEAD = f"{'referral':<64} {'from':<16} {'to':<16} {'label':<28} {'urgency':<8} {'state':<12} {'waits for':<16} by when"


def _id(text: str) -> bytes:
    id_ = bytes32(text)
    if not id_:
        raise click.UsageError("an id is 64 hexadecimal characters")
    return id_


@click.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@click.option("--open", "open_only", is_flag=True, help="Only what is not closed.")
@click.option("--overdue", "overdue_only", is_flag=True, help="Only what is overdue; exit code 1 when anything is.")
@community_option
@client_option
@json_option
def list_referrals(
    name: str, client_path: Path, state: str | None, *, open_only: bool, overdue_only: bool, as_json: bool
) -> None:
    """List the referrals that you made, or that were made to you, the newest first.

    \b
    Examples:
      exchange referrals list --open --community uk-elections --client met-police/authority/client.toml
      exchange referrals list --overdue --community uk-elections --client alpha/liaison/client.toml --json
    """
    unanswered = state == _STATES[0]
    number = 0 if state is None or unanswered else int(ReferralState[state.upper()])

    async def job(client: ExchangeClient, settings: ClientConfig) -> int:
        found = 0
        asked = client.referrals.list(
            origin_of(settings.exchange, name),
            state=number,
            unanswered_only=unanswered,
            open_only=open_only,
            overdue_only=overdue_only,
        )
        async for report in asked:
            if not found and not as_json:
                say(_HEAD)
            found += 1
            emit(report_to_json(report), as_json=as_json, lines=[_line(report)])
        return found

    found = with_client(client_path, job)
    if not found and not as_json:
        say("there is none")
    if found and overdue_only:
        raise SystemExit(1)


@click.command()
@click.argument("referral")
@community_option
@client_option
@json_option
def show(name: str, client_path: Path, referral: str, *, as_json: bool) -> None:
    """Show one referral, what has become of it, and the notes on it.

    \b
    Example:
      exchange referrals show 5f1c... --community uk-elections --client met-police/authority/client.toml
    """
    id_ = _id(referral)

    async def job(client: ExchangeClient, settings: ClientConfig) -> ReferralReport:
        return await client.referrals.get(origin_of(settings.exchange, name), id_)

    report = with_client(client_path, job)
    emit(report_to_json(report), as_json=as_json, lines=list(_lines(report)))


@click.command()
@click.argument("signal_id")
@community_option
@client_option
@json_option
def notes(name: str, client_path: Path, signal_id: str, *, as_json: bool) -> None:
    """List the notes on a disputed signal that you may read. Those on a referral come with `show`.

    \b
    Example:
      exchange referrals notes 9ab0... --community uk-elections --client alpha/liaison/client.toml
    """
    id_ = _id(signal_id)

    async def job(client: ExchangeClient, settings: ClientConfig) -> tuple[NoteReport, ...]:
        return await client.referrals.notes(origin_of(settings.exchange, name), id_)

    found = with_client(client_path, job)
    for each in found:
        emit(note_to_json(each), as_json=as_json, lines=[_note_line(each)])
    if not found and not as_json:
        say("there is none that you may read")


@click.command()
@community_option
@client_option
@json_option
def contacts(name: str, client_path: Path, *, as_json: bool) -> None:
    """List the desks of a community's members. An operator sets them with `exchange member contact`.

    \b
    Example:
      exchange referrals contacts --community uk-elections --client alpha/liaison/client.toml
    """

    async def job(client: ExchangeClient, settings: ClientConfig) -> tuple[MemberContacts, ...]:
        return await client.referrals.contacts(origin_of(settings.exchange, name))

    found = with_client(client_path, job)
    for member in found:
        emit(contacts_to_json(member), as_json=as_json, lines=list(_contact_lines(member)))
    if not found and not as_json:
        say("no member has a desk in the directory")


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


def _line(report: ReferralReport) -> str:
    label, urgency = (name_of(Label, report.record.label), name_of(ReferralUrgency, report.record.urgency))
    state = name_of(ReferralState, report.state) or "unanswered"
    due = _moment(report.due_ms) if report.due_ms else "-"
    who = f"{report.id.hex()} {report.publisher:<16} {report.authority:<16}"
    more = "  OVERDUE" if report.overdue else ""
    more += f"  GONE AT {_moment(report.ends_at_ms)}" if report.ends_soon(wall_ms()) else ""
    return f"{who} {label!s:<28} {urgency!s:<8} {state!s:<12} {report.waits_for or '-':<16} {due}{more}"


def _lines(report: ReferralReport) -> Iterator[str]:
    record = report.record
    what = f"{name_of(Label, record.label)}, {name_of(ReferralUrgency, record.urgency)}"
    yield f"{what}: {report.publisher} to {report.authority}"
    yield f"  referred {_moment(report.received_at_ms)}, entry {report.index}; case {record.case_ref}"
    yield f"  ask for the material: {record.contact}"
    if record.handover:
        yield f"  it is handed over at: {record.handover}"
    if record.target_class:
        yield f"  aimed at: {name_of(TargetClass, record.target_class)}"
    if record.election:
        yield f"  about election {record.election.hex()}"
    for id_ in record.signal_ids:
        yield f"  about signal {id_.hex()}"
    told = [(step.index, _step_line(step)) for step in report.steps]
    told += [(each.index, f"  {_note_line(each)}") for each in report.notes]
    yield from (line for _, line in sorted(told))
    if report.waits_for:
        by = f", until {_moment(report.due_ms)}" if report.due_ms else ""
        yield f"  waits for {report.waits_for}{by}{': OVERDUE' if report.overdue else ''}"
        yield f"  will be gone, open or not, at {_moment(report.ends_at_ms)}"


def _step_line(step: ReferralStep) -> str:
    said = str(name_of(ReferralState, step.record.state))
    if step.record.outcome:
        said += f": {name_of(ReferralOutcome, step.record.outcome)}"
    if step.record.reference:
        said += f" ({step.record.reference})"
    return f"  {_moment(step.record.at_ms)} {step.publisher}: {said}"


def _note_line(note: NoteReport) -> str:
    return f"{_moment(note.received_at_ms)} {note.publisher}: {note.text}"


def _contact_lines(member: MemberContacts) -> Iterator[str]:
    yield f"{member.member} ({member.member_class}): {member.display_name}"
    for each in member.contacts:
        more = ", ".join(filter(None, [each.hours, " ".join(each.languages)]))
        yield f"  {name_of(ContactPurpose, each.purpose)}: {each.address}{f' ({more})' if more else ''}"

"""``exchange report``: a period of a community's ledger counted, made into files, and signed."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import click

from exchange.cli.connect import origin_of, with_client
from exchange.cli.election import one_of
from exchange.cli.made_files import of_extra, write
from exchange.cli.output import client_option, community_option, emit, json_option
from exchange.cli.progress.counting import Wanted, counted, day_number, day_of
from exchange.cli.progress.reading import Ledger, read_ledger
from exchange.domain.debts import DEADLINE_HOURS
from exchange.domain.elections import ElectionFacts
from exchange.domain.kinds import Role
from exchange.domain.validation import DAY_MS, SKEW_MS
from exchange.errors import Reason, Rejected
from exchange.ops.clocks import wall_ms
from exchange.report.figures import figures_of
from exchange.report.payload import FORMAT, HOW, Election, Payload, Signer, release
from exchange.report.suppression import SMALLEST_LEAST
from exchange_client import ClientConfig, ExchangeClient
from exchange_client.auditor import Auditor, Tree

LEAST = 5
#: What needs the packages of the extra.
WHAT = "a report"
#: Who may vouch for a report: people, not pipelines.
SIGNERS = frozenset({Role.LIAISON, Role.AUTHORITY, Role.OPERATOR})
_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@community_option
@client_option
@click.option("--from", "first", type=_DAY, metavar="DATE", help="First day (UTC). Default: the ledger's first.")
@click.option("--to", "last", type=_DAY, metavar="DATE", help="Last day. Default: that of the newest entry.")
@click.option("--election", "named", default="", metavar="NAME", help="Only signals that name it, by name or id.")
@click.option(
    "--least",
    type=click.IntRange(SMALLEST_LEAST, 1000),
    default=LEAST,
    show_default=True,
    help="Numbers of signals below this are not shown.",
)
@click.option(
    "--deadline-hours",
    type=click.IntRange(1, 100_000),
    default=DEADLINE_HOURS,
    show_default=True,
    help="Silence for longer is overdue.",
)
@click.option(
    "--state",
    "kept",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what was read here: the next report reads on from there.",
)
@json_option
def report(
    folder: Path,
    name: str,
    client_path: Path,
    first: datetime | None,
    last: datetime | None,
    named: str,
    least: int,
    deadline_hours: int,
    kept: Path | None,
    *,
    as_json: bool,
) -> None:
    """Make the progress report of a community into FOLDER: page, PDF, CSV, JSON and plots, signed.

    The figures are counted from the ledger's leaves, each checked, up to one signed checkpoint. A liaison's, an
    authority's or an operator's workload makes and signs it; anybody in the community can count it again.

    \b
    Examples:
      exchange report progress --community uk-elections --client beta/liaison/client.toml
      exchange report may --from 2026-05-01 --to 2026-05-31 --community uk-elections --client beta/liaison/client.toml
      exchange report polls --election general-2027 --community uk-elections --client beta/liaison/client.toml
    """
    build = of_extra("report", "building", WHAT)
    if first is not None and last is not None and last < first:
        raise click.UsageError("--to lies before --from")
    if first is not None and day_number(first.date()) > wall_ms() // DAY_MS:
        raise click.UsageError("--from lies in the future: a report counts what has been said, and nothing is yet")

    async def job(client: ExchangeClient, settings: ClientConfig) -> dict[str, bytes]:
        if settings.role_number not in SIGNERS:
            raise Rejected(
                Reason.CONFIG,
                f"a {settings.role} does not vouch for reports",
                hint="name the client of a liaison, an authority or an operator",
            )
        auditor = await client.auditor(origin_of(settings.exchange, name))
        asked_ms = wall_ms()
        tree = await auditor.tree()
        until_ms = None if last is None else _end_ms(last.date())
        async with read_ledger(auditor, tree, kept, until_ms=until_ms, quiet=as_json) as ledger:
            newest = day_of((ledger.position.received_at_ms or wall_ms()) // DAY_MS)
            to = newest if last is None else last.date()
            begins = day_of(min(ledger.days, default=day_number(to))) if first is None else first.date()
            as_at_ms = max(ledger.position.received_at_ms, min(_end_ms(to), asked_ms - SKEW_MS))
            chosen = election_of(ledger, named) if named else None
            wanted = Wanted(auditor.origin, min(begins, to), to, chosen, as_at_ms, deadline_hours)
            made = await _payload(auditor, tree, ledger, wanted, settings, least)
        found: dict[str, bytes] = build.files_of(made, auditor.keys.present)
        return found

    files = with_client(client_path, job)
    write(files, folder)
    row = {"folder": str(folder), "files": sorted(files)}
    lines = [
        f"{len(files)} files in {folder}: open report.html",
        f"to check it: exchange verify-report {folder} --client {client_path}",
    ]
    emit(row, as_json=as_json, lines=lines)


def _end_ms(day: date) -> int:
    return (day_number(day) + 1) * DAY_MS


def election_of(ledger: Ledger, named: str) -> ElectionFacts:
    """Return an election of the ledger by its name or its id in hexadecimal. Raises `Rejected` (NOT_FOUND)."""
    return one_of(ledger.folded_elections().entries.values(), named, "in the ledger in this time")


def election_line(chosen: ElectionFacts | None) -> Election | None:
    """Return what a report says of its election."""
    if chosen is None:
        return None
    said = chosen.election
    return Election(chosen.id.hex(), said.name, said.title, said.begins_ms, said.polling_ends_ms, said.lag_target_ms)


async def _payload(
    auditor: Auditor, tree: Tree, ledger: Ledger, wanted: Wanted, settings: ClientConfig, least: int
) -> Payload:
    until_ms = _end_ms(wanted.last_day)
    directory, directory_note = await auditor.directory_at(until_ms=until_ms)
    key = auditor.keys.present
    return Payload(
        format=FORMAT,
        release=release(),
        verify=HOW,
        origin=wanted.origin,
        first_day=wanted.first_day.isoformat(),
        last_day=wanted.last_day.isoformat(),
        election=election_line(wanted.election),
        as_at_ms=wanted.as_at_ms,
        least=least,
        deadline_hours=wanted.deadline_hours,
        checkpoint=tree.note.decode(),
        directory_checkpoint=directory_note.decode(),
        signer=Signer(settings.member, settings.role, key.public_key.hex()),
        figures=figures_of(await counted(ledger, directory, wanted), least),
        files={},
    )

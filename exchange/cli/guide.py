"""``exchange guide``: the guide for candidates, made into files for a plain web server, a mail or a printer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from exchange.cli.connect import origin_of, with_client
from exchange.cli.guidance import STALE, today
from exchange.cli.made_files import of_extra, write
from exchange.cli.output import emit, json_option, say
from exchange.cli.told_guidance import told_by
from exchange.errors import Reason, Rejected
from exchange.guide.files import own_profiles, read_country, read_profile_file
from exchange.guide.whole import Entry, Guide
from exchange_client import ClientConfig, ExchangeClient


@click.group()
def guide() -> None:
    """The guide for candidates: what has happened, what to do now, where to report it.

    \b
    Example:
      exchange guide build site --address https://guide.example.org/
    """


@guide.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--profiles",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A platform's profile. Repeat for more. Default: those that come with this release.",
)
@click.option("--community", "name", default="", help="Take what its ledger has: profiles, and measured times.")
@click.option(
    "--client",
    "client_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="EXCHANGE_CLIENT",
    show_envvar=True,
    help="With --community: who we are, where the hub is.",
)
@click.option("--address", default="", help="Where the guide will be: for the QR code and the snippet.")
@click.option(
    "--font", type=click.Path(path_type=Path, dir_okay=False), help="A TrueType font for the PDF. Default: Vera."
)
@STALE
@json_option
def build(
    folder: Path,
    files: tuple[Path, ...],
    name: str,
    client_path: Path | None,
    address: str,
    font: Path | None,
    stale_days: int,
    *,
    as_json: bool,
) -> None:
    """Make the guide: pages, plain text, PDF, JSON; with --address a QR code and a snippet; and a pack of all of it.

    The same facts and the same day make the same bytes. Nothing in it needs a script, or anything from elsewhere.
    With --community every leaf of its ledger is read and checked; what may not be shown is left out, and told.
    """
    building = of_extra("guide", "building", "the guide")
    entries = {profile.platform: Entry(profile) for profile in map(read_profile_file, files or own_profiles())}
    if name:
        if client_path is None:
            raise Rejected(Reason.INVALID, "--community needs --client")
        lacking = partial(of_extra("guide", "pdf", "the guide").letters_lacking, font=font)
        entries, left_out = _from_ledger(client_path, name, entries, lacking, stale_days, quiet=as_json)
        for each in left_out:
            say(f"left out: {each}", err=True)
    ordered = tuple(entry for _, entry in sorted(entries.items()))
    whole = Guide(read_country(), ordered, today(), stale_days, address)
    made = building.files_of(whole, font=font)
    write(made, folder)
    row = {"folder": str(folder), "files": len(made), "platforms": sorted(entries)}
    emit(row, as_json=as_json, lines=[f"{len(made)} files in {folder}, for {', '.join(sorted(entries))}"])
    if not address:
        say("no QR code and no snippet: --address says where the guide will be", err=True)


def _from_ledger(
    client_path: Path,
    name: str,
    known: dict[str, Entry],
    lacking: Callable[[str], list[str]],
    days: int,
    *,
    quiet: bool,
) -> tuple[dict[str, Entry], list[str]]:
    """Return the profiles that a community's ledger has, and all of them with the times that it has measured."""

    async def job(client: ExchangeClient, settings: ClientConfig) -> tuple[dict[str, Entry], list[str]]:
        origin = origin_of(settings.exchange, name)
        return await told_by(client, origin, known, lacking, today=today(), days=days, quiet=quiet)

    return with_client(client_path, job)

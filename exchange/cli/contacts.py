"""``exchange member contact``: the desks of members in the directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from exchange.cli.connect import as_client
from exchange.cli.cosigning import directory_of, say_or_write, to_sign_option
from exchange.cli.output import client_option, emit, json_option
from exchange.domain.bodies import Member
from exchange.domain.contacts import Contact, ContactPurpose, problem_of
from exchange.errors import Reason, Rejected
from exchange_client import ClientConfig, ExchangeClient

_PURPOSE = click.option(
    "--purpose",
    type=click.Choice([each.name.lower() for each in ContactPurpose]),
    required=True,
    help="What the desk is there for.",
)


@click.group()
def contact() -> None:
    """The desks of members, which every member reads: who to write to, call, or send a lawful request to.

    They stay in the directory for ever, also when they change: a desk's address, never a person's name, address or
    number. No desk is for emergencies: those are a call to 999.

    \b
    Examples:
      exchange member contact set alpha --purpose requests --address https://alpha.example/lawful-requests \\
          --hours "Mon-Fri 09:00-17:00 Europe/London" --language en --client hub/operator/client.toml
      exchange member contact remove alpha --purpose requests --client hub/operator/client.toml
    """


@contact.command("set")
@click.argument("id_", metavar="ID")
@_PURPOSE
@click.option("--address", required=True, help="mailto:, https: or tel: of a desk.")
@click.option("--hours", default="", help="For people: when somebody is there, at most 100 characters.")
@click.option("--language", "languages", multiple=True, metavar="CODE", help="ISO 639, such as en. Repeat for more.")
@client_option
@to_sign_option
@json_option
def set_(
    id_: str,
    purpose: str,
    address: str,
    hours: str,
    languages: tuple[str, ...],
    client_path: Path,
    to_sign: Path | None,
    *,
    as_json: bool,
) -> None:
    """Set a member's desk for a purpose, in place of the one that it has for it."""
    number = ContactPurpose[purpose.upper()]
    _change(
        id_,
        number,
        Contact(number, address, hours, tuple(sorted(set(languages)))),
        client_path,
        to_sign,
        as_json=as_json,
    )


@contact.command()
@click.argument("id_", metavar="ID")
@_PURPOSE
@client_option
@to_sign_option
@json_option
def remove(id_: str, purpose: str, client_path: Path, to_sign: Path | None, *, as_json: bool) -> None:
    """Take a member's desk for a purpose out of the list. What was said stays in the directory's ledger."""
    _change(id_, ContactPurpose[purpose.upper()], None, client_path, to_sign, as_json=as_json)


def _change(
    id_: str, purpose: ContactPurpose, new: Contact | None, client_path: Path, to_sign: Path | None, *, as_json: bool
) -> None:
    settings = ClientConfig.load(client_path)

    async def job(client: ExchangeClient, _: ClientConfig) -> Member:
        entry = (await client.directory()).members.get(id_)
        if entry is None:
            raise Rejected(Reason.NOT_FOUND, f"{id_} is not a member")
        roles = tuple(sorted(map(int, entry.roles)))
        return Member(entry.id, entry.display_name, entry.member_class, roles, entry.contacts)

    known = as_client(settings, job)
    kept = [each for each in known.contacts if each.purpose != purpose]
    if new is None and len(kept) == len(known.contacts):
        raise Rejected(Reason.NOT_FOUND, f"{id_} has no desk for {purpose.name.lower()}")
    contacts = tuple(sorted([*kept, *([new] if new else [])], key=lambda each: (each.purpose, each.address)))
    if problem := problem_of(contacts):
        raise Rejected(Reason.INVALID, f"its contacts {problem}")
    said = say_or_write(settings, directory_of(settings, replace(known, contacts=contacts)), to_sign, as_json=as_json)
    if said is not None:
        data = {"member": id_, "directory_index": said[0], "contacts": len(contacts)}
        emit(data, as_json=as_json, lines=[f"done, directory entry {said[0]}"])

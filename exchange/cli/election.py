"""``exchange election``: elections that signals may name, and by which reports can be cut."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click

from exchange.cli.connect import origin_of, with_client
from exchange.cli.output import client_option, community_option, emit, json_option, say
from exchange.domain.bodies import Election, TargetClass
from exchange.domain.elections import ElectionFacts
from exchange.errors import Reason, Rejected
from exchange_client import ClientConfig, ExchangeClient
from exchange_client.json_words import time_of

_TARGETS = click.Choice([word.name.lower() for word in TargetClass])


@click.group()
def election() -> None:
    """Elections: a window, whom they are about, how fast signals should travel, and when what names them is over.

    \b
    Examples:
      exchange election create uk-general-2029 --begins 2029-04-01T00:00:00Z --polling-ends 2029-05-03T21:00:00Z \\
          --community uk-elections --client hub/operator/client.toml
      exchange election list --community uk-elections --client alpha/liaison/client.toml
    """


@election.command()
@click.argument("election_name", metavar="NAME")
@click.option("--title", default="", help="For people. Default: the name.")
@click.option("--begins", required=True, help="From when on signals may name it: a time with its zone.")
@click.option("--polling-ends", required=True, help="The end of polling: a time with its zone.")
@click.option("--target", "targets", type=_TARGETS, multiple=True, help="Whom it is about. Default: all.")
@click.option("--lag-target", default=60, show_default=True, help="Seconds that it should take to the next action.")
@click.option("--lag-alert", default=600, show_default=True, help="Seconds from which on that is too long.")
@click.option("--keep-days", default=28, show_default=True, help="Days after polling; then all that names it is over.")
@community_option
@client_option
@json_option
def create(
    election_name: str,
    title: str,
    begins: str,
    polling_ends: str,
    targets: tuple[str, ...],
    lag_target: int,
    lag_alert: int,
    keep_days: int,
    name: str,
    client_path: Path,
    *,
    as_json: bool,
) -> None:
    """Let signals name an election, by the id that this prints. An operator says it; it cannot be changed.

    \b
    Example:
      exchange election create uk-general-2029 --title "UK general election 2029" --target candidate \\
          --begins 2029-04-01T00:00:00Z --polling-ends 2029-05-03T21:00:00Z \\
          --community uk-elections --client hub/operator/client.toml
    """
    classes = sorted(int(TargetClass[word.upper()]) for word in targets) or [word.value for word in TargetClass]
    body = Election(
        election_name,
        title or election_name,
        time_of(begins, "--begins"),
        time_of(polling_ends, "--polling-ends"),
        tuple(classes),
        lag_target * 1_000,
        lag_alert * 1_000,
        keep_days,
    )

    async def job(client: ExchangeClient, settings: ClientConfig) -> ElectionFacts:
        origin = origin_of(settings.exchange, name)
        receipt = await client.say(origin, body)
        (found,) = [each for each in await client.elections(origin) if each.index == receipt.index]
        return found

    found = with_client(client_path, job)
    emit(_json(found), as_json=as_json, lines=[f"{election_name} can be named by signals: {found.id.hex()}"])


@election.command("list")
@community_option
@client_option
@json_option
def list_elections(name: str, client_path: Path, *, as_json: bool) -> None:
    """List the elections of a community, with the ids that signals name them by.

    \b
    Example:
      exchange election list --community uk-elections --client alpha/liaison/client.toml --json
    """

    async def job(client: ExchangeClient, settings: ClientConfig) -> list[ElectionFacts]:
        return list(await client.elections(origin_of(settings.exchange, name)))

    found = with_client(client_path, job)
    for each in found:
        emit(_json(each), as_json=as_json, lines=_lines(each))
    if not found and not as_json:
        say("no election can be named here")


def one_of(known: Iterable[ElectionFacts], named: str, where: str) -> ElectionFacts:
    """Return one of these elections by its name or its id in hexadecimal. Raises `Rejected` (NOT_FOUND)."""
    found = list(known)
    for each in found:
        if named.lower() in (each.election.name, each.id.hex()):
            return each
    names = ", ".join(sorted(each.election.name for each in found))
    hint = f"there is: {names}" if names else "there is none: an operator announces one with `exchange election create`"
    raise Rejected(Reason.NOT_FOUND, f"there is no election {named[:80]!r} {where}", hint=hint)


def _lines(facts: ElectionFacts) -> list[str]:
    said = facts.election
    whom = ", ".join(TargetClass(number).name.lower() for number in said.target_classes)
    limits = f"target {said.lag_target_ms / 1000:g} s, alert {said.lag_alert_ms / 1000:g} s"
    return [
        f"{said.name}  {facts.id.hex()}",
        f"  {said.title}: {_day(said.begins_ms)} to {_day(said.polling_ends_ms)}, about {whom}",
        f"  lag: {limits}; what names it is over on {_day(facts.over_at_ms)}",
    ]


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


def _json(facts: ElectionFacts) -> dict[str, object]:
    said = facts.election
    return {
        "id": facts.id.hex(),
        "index": facts.index,
        "name": said.name,
        "title": said.title,
        "begins_ms": said.begins_ms,
        "polling_ends_ms": said.polling_ends_ms,
        "targets": [TargetClass(number).name.lower() for number in said.target_classes],
        "lag_target_ms": said.lag_target_ms,
        "lag_alert_ms": said.lag_alert_ms,
        "keep_days": said.keep_days,
        "over_at_ms": facts.over_at_ms,
    }

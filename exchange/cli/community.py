"""``exchange community``: making communities and listing them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from exchange import config
from exchange.cli.connect import origin_of, with_client
from exchange.cli.cosigning import directory_of, say_or_write, to_sign_option
from exchange.cli.output import client_option, config_option, emit, json_option
from exchange.domain.bodies import Community
from exchange.domain.identifiers import Origin
from exchange.errors import Reason, Rejected
from exchange.ledger.ed25519 import SigningKey
from exchange.opening import make_log
from exchange.stores.folders import read_key
from exchange.stores.opened import stores_in
from exchange_client import ClientConfig, ExchangeClient


@click.group()
def community() -> None:
    """Communities: the members who share one ledger.

    \b
    Examples:
      exchange community create uk-elections --config hub/hub.toml --client hub/operator/client.toml
      exchange community list --client hub/operator/client.toml
    """


@community.command()
@click.argument("name")
@click.option("--title", default="", help="For people. Default: the name.")
@click.option("--retention-days", default=400, show_default=True, help="How long the feed serves an entry.")
@click.option("--max-expiry-days", default=365, show_default=True, help="Longest life of a signal.")
@click.option("--replay-window-days", default=30, show_default=True, help="How old a resubmission may be.")
@click.option("--public-entries", is_flag=True, help="Let anyone read the headers, not members only.")
@config_option
@client_option
@to_sign_option
@json_option
def create(
    name: str,
    title: str,
    retention_days: int,
    max_expiry_days: int,
    replay_window_days: int,
    config_path: Path,
    client_path: Path,
    to_sign: Path | None,
    *,
    public_entries: bool,
    as_json: bool,
) -> None:
    """Make a community: its log and key on this machine, and its statement in the directory.

    Run it on the hub's machine while the hub is serving; it opens the new log at once.
    """
    settings = config.load(config_path)
    origin = Origin.parse(origin_of(settings.exchange, name))
    if origin is None or origin.is_directory:
        raise Rejected(Reason.INVALID, f"{name!r} cannot be a community's name")
    _refuse_existing(client_path, str(origin))
    key = asyncio.run(_log_key(settings, origin))
    body = Community(
        str(origin),
        title or name,
        key.public_key,
        0,
        retention_days,
        max_expiry_days,
        replay_window_days,
        public_entries,
    )

    client = ClientConfig.load(client_path)
    said = say_or_write(client, directory_of(client, body), to_sign, as_json=as_json)
    if said is not None:
        emit({"community": str(origin), "directory_index": said[0]}, as_json=as_json, lines=[f"{origin} is there"])


def _refuse_existing(client_path: Path, origin: str) -> None:
    """Stop before an existing community's rules are replaced by defaults: a shorter retention deletes."""

    async def job(client: ExchangeClient, _: ClientConfig) -> bool:
        return origin in (await client.directory()).communities

    if with_client(client_path, job):
        raise Rejected(Reason.CONFLICT, f"{origin} exists already; nothing was changed")


async def _log_key(settings: config.Config, origin: Origin) -> SigningKey:
    """Make the log, or go on with one whose statement did not get through the first time."""
    folders, stores = settings.folders, stores_in(settings.folders, settings.place)
    if not stores.here(origin) or not folders.key(origin.log).exists():
        return await make_log(folders, origin, stores)
    try:
        await stores.make(origin)
    except Rejected as error:
        if error.reason is not Reason.CONFLICT:
            raise
    return read_key(folders.key(origin.log))


@community.command(name="list")
@client_option
@json_option
def list_(client_path: Path, *, as_json: bool) -> None:
    """List the communities of the exchange."""

    async def job(client: ExchangeClient, _: ClientConfig) -> list[dict[str, object]]:
        directory = await client.directory()
        return [
            {
                "community": c.origin,
                "title": c.title,
                "members": sum(1 for _ in directory.community_members(c.origin)),
                "retention_days": c.retention_days,
                "max_expiry_days": c.max_expiry_days,
            }
            for c in directory.communities.values()
        ]

    for row in with_client(client_path, job):
        emit(row, as_json=as_json, lines=[f"{row['community']:<40} {row['members']:>3} members  {row['title']}"])

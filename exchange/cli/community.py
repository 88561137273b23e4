"""``exchange community``: making communities and listing them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import click

from exchange import config
from exchange.cli.connect import origin_of, with_client
from exchange.cli.cosigning import directory_of, say_or_write, to_sign_option
from exchange.cli.output import client_option, config_option, emit, json_option
from exchange.cli.succession import last_of_lost, succession_of
from exchange.domain.bodies import Community, Membership, State
from exchange.domain.directory import Directory
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
      exchange community create uk-2 --succeeds uk --config hub/hub.toml --client hub/operator/client.toml
      exchange community list --client hub/operator/client.toml
    """


@community.command()
@click.argument("name")
@click.option("--title", default="", help="For people. Default: the name.")
@click.option("--retention-days", default=400, show_default=True, help="How long the feed serves an entry.")
@click.option("--max-expiry-days", default=365, show_default=True, help="Longest life of a signal.")
@click.option("--replay-window-days", default=30, show_default=True, help="How old a resubmission may be.")
@click.option("--public-entries", is_flag=True, help="Let anyone read the headers, not members only.")
@click.option(
    "--succeeds",
    default="",
    metavar="COMMUNITY",
    help="Close this community's log, entries of which are lost for good, and take its members over.",
)
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
    succeeds: str,
    config_path: Path,
    client_path: Path,
    to_sign: Path | None,
    *,
    public_entries: bool,
    as_json: bool,
) -> None:
    """Make a community: its log and key on this machine, and its statement in the directory.

    Run it on the hub's machine while the hub is serving; it opens the new log at once.

    With --succeeds it takes the place of one whose log cannot be brought back. Its statement names the last checkpoint
    known of that log, where nothing can be said any more: this cannot be undone.
    """
    settings = config.load(config_path)
    origin = Origin.parse(origin_of(settings.exchange, name))
    if origin is None or origin.is_directory:
        raise Rejected(Reason.INVALID, f"{name!r} cannot be a community's name")
    directory = with_client(client_path, lambda client, _: client.directory())
    if str(origin) in directory.communities:
        # Its rules would be replaced by defaults: a shorter retention deletes.
        raise Rejected(Reason.CONFLICT, f"{origin} exists already; nothing was changed")
    closed = _Closed()
    if succeeds:
        closed = _Closed.of(settings, directory, origin_of(settings.exchange, succeeds))
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
        *closed.named,
    )
    members = [Membership(member, str(origin), State.ACTIVE) for member in closed.members]

    client = ClientConfig.load(client_path)
    said = say_or_write(client, directory_of(client, body, *members), to_sign, as_json=as_json)
    if said is None:
        return
    lines = [f"{origin} is there"]
    if succeeds:
        old, size, _ = closed.named
        lines.append(f"{old} is closed at {size} entries; {len(members)} members were taken over")
    row = {"community": str(origin), "directory_index": said[0], "succeeds": succeeds, "members": closed.members}
    emit(row, as_json=as_json, lines=lines)


@dataclass(frozen=True, slots=True)
class _Closed:
    """The log that a new one takes the place of: origin, last size and root; and the members of its community."""

    named: tuple[str, int, bytes] = ("", 0, b"")
    members: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: config.Config, directory: Directory, origin: str) -> _Closed:
        """Raises `Rejected` where that log has lost nothing, or is closed already."""
        last = last_of_lost(settings, succession_of(directory, origin))
        members = tuple(sorted(each.id for each in directory.community_members(origin)))
        return cls((origin, last.size, last.root), members)


async def _log_key(settings: config.Config, origin: Origin) -> SigningKey:
    """Make the log, or go on with one that was begun: with its key alone, or whose statement did not get through."""
    folders, stores = settings.folders, stores_in(settings.folders, settings.place)
    if not folders.key(origin.log).exists():
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
                "succeeds": c.succeeds,
                "successor": directory.successors.get(c.origin, ""),
            }
            for c in directory.communities.values()
        ]

    for row in with_client(client_path, job):
        closed = f"  closed: {row['successor']} took its place" if row["successor"] else ""
        line = f"{row['community']:<40} {row['members']:>3} members  {row['title']}{closed}"
        emit(row, as_json=as_json, lines=[line])

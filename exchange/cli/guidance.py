"""``exchange guidance``: platforms' profiles for candidates, checked, published and read."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path

import click

from exchange.cli.connect import origin_of, with_client
from exchange.cli.output import REFUSED, client_option, community_option, emit, json_option, say
from exchange.domain.bodies import State
from exchange.domain.guidance import guidance_of
from exchange.domain.guidance_body import Guidance
from exchange.domain.kinds import Role
from exchange.errors import Reason, Rejected
from exchange.guide.checking import STALE_DAYS, Finding, check_country, check_profile
from exchange.guide.facts import Country, Profile, plain
from exchange.guide.files import COUNTRY, own_profiles, read_country, read_profile_file
from exchange_client import ClientConfig, ExchangeClient

STALE = click.option(
    "--stale-days",
    type=click.IntRange(1),
    default=STALE_DAYS,
    show_default=True,
    help="Facts that were seen longer ago are stale.",
)


@click.group()
def guidance() -> None:
    """Profiles of platforms for candidates: rules, ways to report, what to expect, each fact with its source.

    \b
    Examples:
      exchange guidance check
      exchange guidance put facebook.json --member meta --community uk-elections --client hub/operator/client.toml
      exchange guidance get facebook --community uk-elections --client beta/liaison/client.toml
    """


def today() -> date:
    """Return the day (UTC)."""
    return datetime.now(UTC).date()


def _findings(value: Profile | Country, stale_days: int) -> list[Finding]:
    if isinstance(value, Country):
        return check_country(value, today(), stale_days)
    return check_profile(value, today(), stale_days)


@guidance.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False), metavar="[FILE]...")
@STALE
@json_option
def check(files: tuple[Path, ...], stale_days: int, *, as_json: bool) -> None:
    """Check profiles: every fact has its source, none is stale, every kind of abuse is covered. 1 when not.

    Without a file: those that come with this release, and what they share.
    """
    named: list[tuple[str, Profile | Country]] = [(str(path), read_profile_file(path)) for path in files]
    if not files:
        named = [(path.name, read_profile_file(path)) for path in own_profiles()]
        named.append((COUNTRY.name, read_country()))
    wrong = False
    for name, value in named:
        found = _findings(value, stale_days)
        wrong = wrong or bool(found)
        lines = [f"{name}: {each}" for each in found] or [f"{name}: good"]
        emit({"file": name, "findings": [str(each) for each in found]}, as_json=as_json, lines=lines)
    if wrong:
        sys.exit(REFUSED)


@guidance.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--member", default="", help="For operators: the member that the platform is. Default: none yet.")
@community_option
@client_option
@json_option
def put(file: Path, member: str, name: str, client_path: Path, *, as_json: bool) -> None:
    """Publish a profile. Said by the platform's own liaison it is confirmed, by an operator it is compiled."""
    profile = read_profile_file(file)
    if found := _findings(profile, STALE_DAYS):
        raise Rejected(Reason.INVALID, f"{file}: {found[0]}", hint=f"exchange guidance check {file}")

    async def job(client: ExchangeClient, settings: ClientConfig) -> int:
        whose = member if settings.role_number is Role.OPERATOR else settings.member
        body = guidance_of(plain(profile), whose)
        return (await client.say(origin_of(settings.exchange, name), body)).index

    index = with_client(client_path, job)
    row = {"platform": profile.platform, "version": profile.version, "index": index}
    emit(row, as_json=as_json, lines=[f"{profile.platform}, version {profile.version}: entry {index}"])


@guidance.command()
@click.argument("platform")
@community_option
@client_option
@json_option
def withdraw(platform: str, name: str, client_path: Path, *, as_json: bool) -> None:
    """Withdraw a platform's profile. It can be published again, with a higher version."""

    async def job(client: ExchangeClient, settings: ClientConfig) -> int:
        origin = origin_of(settings.exchange, name)
        known = {each.platform: each for each in await client.guidance(origin)}
        if platform not in known:
            raise Rejected(Reason.NOT_FOUND, f"{platform} has no profile here")
        last = known[platform]
        return (await client.say(origin, Guidance(platform, last.version + 1, State.ENDED, last.member))).index

    index = with_client(client_path, job)
    emit({"platform": platform, "index": index}, as_json=as_json, lines=[f"withdrawn, entry {index}"])


@guidance.command(name="list")
@community_option
@client_option
@json_option
def list_(name: str, client_path: Path, *, as_json: bool) -> None:
    """List the platforms that have a profile in a community."""

    async def job(client: ExchangeClient, settings: ClientConfig) -> None:
        for each in await client.guidance(origin_of(settings.exchange, name)):
            row = {
                "platform": each.platform,
                "version": each.version,
                "publisher": each.publisher,
                "member": each.member,
                "confirmed": each.confirmed,
                "languages": list(each.languages),
                "index": each.index,
            }
            standing = "confirmed" if each.confirmed else "compiled"
            line = f"{each.platform:<24} version {each.version:<4} {standing} by {each.publisher}, entry {each.index}"
            emit(row, as_json=as_json, lines=[line])

    with_client(client_path, job)


@guidance.command()
@click.argument("platform")
@click.option("--language", default="", help="The language that is wanted, such as cy.")
@community_option
@client_option
def get(platform: str, language: str, name: str, client_path: Path) -> None:
    """Print a platform's profile as JSON, once its place in the ledger and its signature are verified."""

    async def job(client: ExchangeClient, settings: ClientConfig) -> None:
        found = await client.guidance_of(origin_of(settings.exchange, name), platform, language)
        standing = "confirmed" if found.confirmed else "compiled from public sources"
        said = f"version {found.version}, {standing}, by {found.publisher}, entry {found.index}"
        say(f"{platform}: {said}", err=True)
        emit(found.profile, as_json=True)

    with_client(client_path, job)

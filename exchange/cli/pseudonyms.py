"""``exchange pseudonyms``: the service that makes pseudonyms of account identifiers, on its own machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from exchange import pseudonym_app, pseudonym_config
from exchange.cli.addresses import listening_options
from exchange.cli.client_files import toml_text, write_new
from exchange.cli.connect import origin_of
from exchange.cli.output import client_option, config_file, emit, json_option, show_settings, unreadable
from exchange.domain.key_epochs import MAX_LIFE_DAYS
from exchange.domain.kinds import Role
from exchange.domain.validation import DAY_MS
from exchange.errors import ExchangeError, Reason, Rejected
from exchange.normal.accounts import data_versions
from exchange.ops import certificates, logging
from exchange.ops.clocks import wall_ms
from exchange.pseudonym_app import Place
from exchange.pseudonyms.epochs import LIFE_DAYS, Epoch, next_times
from exchange.stores.budget_book import read_totals
from exchange.stores.epoch_keys import EpochKeys
from exchange_client import ClientConfig, ExchangeClient

_TOML = """\
# The pseudonym service of {member}. `exchange pseudonyms check-config` checks it; docs/pseudonym-configuration.md
# explains every key.
client = {client}
keys = "keys"
data = "data"
listen = {listen}
communities = [{communities}]

[tls]
certificate = {certificate}
key = {key}
client_authority = {authority}

[ops]
listen = {ops}

# What a member may have evaluated: each of its declared users once in an epoch, and so many a day besides.
[terms]
users = 0
daily = 1_000

# [members.alpha]
# users = 100_000
# daily = 5_000
"""

_CONFIG = config_file("pseudonyms.toml", "EXCHANGE_PSEUDONYMS", "The pseudonym service's")


@click.group()
def pseudonyms() -> None:
    """The pseudonym service: a process with keys and an identity of its own, which sees no record and no identifier.

    \b
    Examples:
      exchange member add notary --class operator --role pseudonyms --community uk-elections \\
          --client hub/operator/client.toml --development-pki hub/pki --folder notary
      exchange pseudonyms init --folder service --client notary/pseudonyms/client.toml --community uk-elections \\
          --development-pki hub/pki
      exchange pseudonyms epoch create --config service/pseudonyms.toml
      exchange pseudonyms serve --config service/pseudonyms.toml
    """


@pseudonyms.command()
@client_option
@click.option("--community", "communities", multiple=True, required=True, help="A community whose members may ask.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=".", show_default=True)
@listening_options("127.0.0.1:7445", ops="127.0.0.1:9465")
@click.option(
    "--development-pki",
    "pki",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Make the server's certificate here, from this development authority. Else put your own into tls/.",
)
@click.option("--host", "hosts", multiple=True, help="Names in that certificate. Default: localhost.")
@json_option
def init(
    client_path: Path,
    communities: tuple[str, ...],
    folder: Path,
    listen: str,
    ops_listen: str,
    pki: Path | None,
    hosts: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Set a service up: pseudonyms.toml, and folders for its keys and its budget book.

    \b
    Example:
      exchange pseudonyms init --client notary/pseudonyms/client.toml --community uk-elections --folder service
    """
    ours = _workload(client_path)
    names = [origin_of(ours.exchange, name).partition("/")[2] for name in communities]
    base = folder.resolve()
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (base / "pseudonyms.toml").exists():
        already = f"nothing was changed: `exchange pseudonyms serve --config {folder / 'pseudonyms.toml'}` runs it"
        raise Rejected(Reason.CONFIG, f"{folder}: there is a service already", hint=already)
    if pki is None:
        tls = (base / "tls" / "server.pem", base / "tls" / "server-key.pem", base / "tls" / "members-ca.pem")
    else:
        try:
            names_of_host = hosts or ("localhost", "127.0.0.1", "::1")
            files = certificates.issue(pki, "pseudonyms", "server", kind="server", hosts=names_of_host)
        except (ValueError, OSError) as error:
            raise Rejected(Reason.CONFIG, str(error)) from error
        tls = (files.certificate, files.key, certificates.authority_files(pki).certificate)
    for name in ("keys", "data"):
        (base / name).mkdir(mode=0o700, exist_ok=True)
    client, certificate, key, authority = (
        toml_text(os.path.relpath(path.resolve(), base)) for path in (client_path, *tls)
    )
    text = _TOML.format(
        member=ours.member,
        client=client,
        listen=toml_text(listen),
        communities=", ".join(map(toml_text, names)),
        certificate=certificate,
        key=key,
        authority=authority,
        ops=toml_text(ops_listen),
    )
    write_new(base / "pseudonyms.toml", text)
    emit({"config": str(folder / "pseudonyms.toml"), "keys": str(folder / "keys")}, as_json=as_json)


def _workload(client_path: Path) -> ClientConfig:
    """Return the client file of a service's own workload. Raises `Rejected` (CONFIG) for another role's."""
    found = ClientConfig.load(client_path)
    if found.role_number is not Role.PSEUDONYMS:
        raise Rejected(
            Reason.CONFIG,
            f"{client_path}: its role is {found.role}, and a pseudonym service acts in the role pseudonyms",
            hint="an operator makes one: exchange member add ID --class operator --role pseudonyms --community NAME",
        )
    return found


def _origins(ours: ClientConfig, settings: pseudonym_config.Config) -> tuple[str, ...]:
    return tuple(origin_of(ours.exchange, name) for name in settings.communities)


@pseudonyms.command()
@_CONFIG
def serve(config_path: Path) -> None:
    """Run the service until SIGTERM, then drain. A second signal ends it at once.

    New key epochs, destroyed ones, and the terms of members are taken up while it runs.

    \b
    Example:
      exchange pseudonyms serve --config service/pseudonyms.toml
    """
    settings = pseudonym_config.load(config_path)
    ours = _workload(settings.client)
    origins = _origins(ours, settings)
    logging.configure(level=settings.log_level)

    async def run() -> None:
        async with ExchangeClient(ours, now_ms=wall_ms) as client:
            place = Place(config_path, ours.exchange, ours.member, origins)
            await pseudonym_app.serve(settings, place, client)

    asyncio.run(run())


@pseudonyms.command()
@_CONFIG
@json_option
def check_config(config_path: Path, *, as_json: bool) -> None:
    """Check the service's configuration and print what is in force, with whole paths. Holds no secrets.

    Also looks whether the files and folders that it names are there and can be read, and whether its client file is of
    the right role; 1 when something is wrong.

    \b
    Example:
      exchange pseudonyms check-config --config service/pseudonyms.toml
    """
    settings = pseudonym_config.load(config_path).resolved()
    show_settings(msgspec.to_builtins(settings, enc_hook=str), list(_unusable(settings)), as_json=as_json)


def _unusable(settings: pseudonym_config.Config) -> Iterator[str]:
    tls = settings.tls
    files = {"tls.certificate": tls.certificate, "tls.key": tls.key, "tls.client_authority": tls.client_authority}
    yield from unreadable(files | {"client": settings.client}, {"keys": settings.keys, "data": settings.data})
    try:
        EpochKeys(settings.keys).load()
        if settings.client.exists():
            _origins(_workload(settings.client), settings)
    except ExchangeError as error:
        yield error.message


@pseudonyms.group()
def epoch() -> None:
    """Key epochs: the keys that pseudonyms are made with, a year each.

    \b
    Examples:
      exchange pseudonyms epoch create --config service/pseudonyms.toml
      exchange pseudonyms epoch list --config service/pseudonyms.toml
      exchange pseudonyms epoch destroy 1 --yes --config service/pseudonyms.toml
    """


def _row(epoch: Epoch) -> dict[str, object]:
    return {
        "epoch": epoch.number,
        "state": epoch.state(wall_ms()).value,
        "begins": _iso(epoch.begins_ms),
        "ends": _iso(epoch.ends_ms),
        "public_key": epoch.public_key.hex(),
    }


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _line(row: dict[str, object]) -> str:
    return f"{row['epoch']:>4}  {row['state']:<9}  {row['begins']} to {row['ends']}  {row['public_key']}"


@epoch.command()
@_CONFIG
@click.option(
    "--begins",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]),
    help="When it begins (UTC). Default: thirty days before the last one ends, or now.",
)
@click.option("--days", type=click.IntRange(1, MAX_LIFE_DAYS), default=LIFE_DAYS, show_default=True, help="Its life.")
@click.option("--number", type=click.IntRange(1), help="Its number. Default: the one after the last key here.")
@json_option
def create(config_path: Path, begins: datetime | None, days: int, number: int | None, *, as_json: bool) -> None:
    """Make the key of the next epoch. A running service takes it up by itself, and announces it on the ledgers."""
    settings = pseudonym_config.load(config_path)
    keys = EpochKeys(settings.keys)
    following, begins_ms, _ = next_times((held.epoch for held in keys.load().values()), wall_ms())
    if begins is not None:
        begins_ms = int(begins.replace(tzinfo=UTC).timestamp() * 1000)
    made = keys.create(number or following, begins_ms, begins_ms + days * DAY_MS, data_versions())
    row = _row(made)
    emit(row, as_json=as_json, lines=[_line(row)])


@epoch.command(name="list")
@_CONFIG
@json_option
def list_(config_path: Path, *, as_json: bool) -> None:
    """List the key epochs that this service has, also those whose keys are destroyed."""
    held = EpochKeys(pseudonym_config.load(config_path).keys).load()
    for number in sorted(held):
        row = _row(held[number].epoch)
        emit(row, as_json=as_json, lines=[_line(row)])


@epoch.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--yes", is_flag=True, help="Do it. There is no way back.")
@click.option("--lost", is_flag=True, help="Its file is lost: nothing is left to destroy, and the ledgers are to know.")
@_CONFIG
@json_option
def destroy(number: int, config_path: Path, *, yes: bool, lost: bool, as_json: bool) -> None:
    """Destroy an epoch's key for good. Nobody can make or check its pseudonyms any more.

    The service does this by itself when an epoch has ended. A running service takes it up, and tells the ledgers.
    """
    if not yes:
        raise Rejected(
            Reason.INVALID,
            f"nothing was destroyed: every pseudonym of key epoch {number} would be useless for good",
            hint=f"exchange pseudonyms epoch destroy {number} --yes",
        )
    keys = EpochKeys(pseudonym_config.load(config_path).keys)
    row = _row(keys.bury(number) if lost else keys.destroy(number))
    emit(row, as_json=as_json, lines=[_line(row)])


@pseudonyms.command()
@_CONFIG
@click.option("--days", type=click.IntRange(1), default=31, show_default=True, help="How many days back.")
@json_option
def totals(config_path: Path, days: int, *, as_json: bool) -> None:
    """Show how many evaluations members have reserved, by day, epoch and member. The service may be running.

    \b
    Example:
      exchange pseudonyms totals --config service/pseudonyms.toml --days 7
    """
    today = datetime.now(UTC).date()
    first = wall_ms() // DAY_MS - days + 1
    for day, number, member, count in read_totals(pseudonym_config.load(config_path).book, first):
        date = (today - timedelta(days=wall_ms() // DAY_MS - day)).isoformat()
        row = {"day": date, "epoch": number, "member": member, "evaluations": count}
        emit(row, as_json=as_json, lines=[f"{date}  {number:>4}  {member:<24} {count:>12,}"])

"""``exchange init``, ``serve`` and ``check-config``: what is done on the hub's own machine."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from exchange import app, config
from exchange.cli.addresses import listening_options
from exchange.cli.client_files import client_toml, public_key, toml_text, write_new
from exchange.cli.output import config_option, emit, json_option, show_settings, unreadable
from exchange.domain.directory_rules import MAX_OPERATOR_KEYS
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import Role
from exchange.errors import Reason, Rejected
from exchange.ledger.ed25519 import SigningKey
from exchange.opening import found_exchange, genesis_statement, make_log
from exchange.ops import certificates, clocks, logging
from exchange.publish.clock import WatchedClock
from exchange.stores.folders import Folders, make_key
from exchange.stores.opened import stores_in
from exchange.stores.redis_place import RedisPlace, parse_place

_HUB_TOML = """\
# The hub of {name}. `exchange check-config` checks it; docs/configuration.md explains every key.
exchange = {exchange}
data = "data"
listen = {listen}
{store}
[tls]
certificate = {certificate}
key = {key}
client_authority = {authority}

[ops]
listen = {ops}
"""


@click.command()
@click.option("--exchange", "name", required=True, help="The exchange's name, such as my.exchange.")
@click.option("--operator", required=True, help="Member id of the first operator.")
@click.option("--operator-name", default="", help="Its name for people. Default: the id.")
@click.option(
    "--operator-key",
    "operator_keys",
    multiple=True,
    metavar="HEX",
    help="Public key of a further operator, made by `exchange key new`. Repeat for more.",
)
@click.option(
    "--threshold",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="How many operators must sign what one must not do alone. It stays as it is for good.",
)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=".", show_default=True)
@listening_options("127.0.0.1:7443", ops="127.0.0.1:9464")
@click.option("--store", default="", help="Where logs lie, where not in files: redis://..., see docs/redis.md.")
@click.option(
    "--bundles",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --store: the folder of entry bundles that all hubs of the store share.",
)
@click.option("--host", "hosts", multiple=True, help="Names in the hub's development certificate. Default: localhost.")
@json_option
def init(
    name: str,
    operator: str,
    operator_name: str,
    operator_keys: tuple[str, ...],
    threshold: int,
    folder: Path,
    listen: str,
    ops_listen: str,
    store: str,
    bundles: Path | None,
    hosts: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Found an exchange: its directory with the genesis, keys, development certificates, configuration.

    Writes hub.toml, data/, pki/ and operator/ into the folder, and prints the genesis hash that every client pins.

    \b
    Examples:
      exchange init --exchange my.exchange --operator my-org --folder hub
      exchange init --exchange my.exchange --operator my-org --folder hub --operator-key 5f1c... --threshold 2
      exchange init --exchange my.exchange --operator my-org --folder hub --store redis://10.0.0.5:6379 \\
          --bundles /shared/bundles
    """
    if bundles is not None and not store:
        raise click.UsageError("--bundles goes with --store: by itself a hub keeps everything in files of its own")
    further = _further_keys(operator_keys, threshold)
    place = parse_place(store, folder.absolute()) if store else None
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "data" / "logs" / Origin.DIRECTORY_LOG).is_dir() or (folder / "hub.toml").exists():
        raise Rejected(Reason.CONFIG, f"{folder}: there is an exchange already", hint=_already(folder / "hub.toml"))
    pki = folder / "pki"
    try:
        certificates.create_authority(pki, name)
        hub = certificates.issue(pki, "hub", "server", kind="server", hosts=hosts or ("localhost", "127.0.0.1", "::1"))
        certificates.issue(pki, operator, Role.OPERATOR.word)
    except (ValueError, OSError) as error:
        raise Rejected(Reason.CONFIG, str(error)) from error
    operator_key = make_key(folder / "operator" / "signing.seed")
    folders = Folders(folder / "data", folder / "data" / "keys", bundles=bundles)
    found = _Founding(name, operator, operator_name or operator, operator_key, further, threshold)
    pin = asyncio.run(_found(folders, found, place))
    text = _HUB_TOML.format(
        name=name,
        exchange=toml_text(name),
        listen=toml_text(listen),
        store=_store_toml(store, bundles),
        ops=toml_text(ops_listen),
        certificate=toml_text(str(hub.certificate.relative_to(folder))),
        key=toml_text(str(hub.key.relative_to(folder))),
        authority=toml_text(str(certificates.authority_files(pki).certificate.relative_to(folder))),
    )
    write_new(folder / "hub.toml", text)
    client = client_toml(folder / "operator" / "client.toml", name, operator, Role.OPERATOR, listen, pki, pin)
    emit(
        {"exchange": name, "genesis": pin.hex(), "config": str(folder / "hub.toml"), "operator_client": str(client)},
        as_json=as_json,
    )


def _already(file: Path) -> str:
    """Return the next step where a folder has an exchange."""
    serve = f"`exchange serve --config {file}` runs it, " if file.exists() else ""
    return f"nothing was changed: {serve}another --folder is for another exchange"


def _further_keys(texts: Sequence[str], threshold: int) -> list[bytes]:
    """Return the public keys of all operators but this one. Raises `click.UsageError` and `Rejected`."""
    further = [public_key(text) for text in texts]
    if len(set(further)) != len(further):
        raise click.UsageError("an --operator-key stands there twice")
    if len(further) >= MAX_OPERATOR_KEYS:
        raise click.UsageError(f"an exchange is founded with at most {MAX_OPERATOR_KEYS} operator keys")
    if threshold > 1 + len(further):
        raise click.UsageError(
            f"--threshold {threshold} takes as many operators: this one, and an --operator-key of each other"
        )
    return further


def _store_toml(store: str, bundles: Path | None) -> str:
    named = {"store": store, "bundles": str(bundles.resolve()) if bundles is not None else ""}
    return "".join(f"{key} = {toml_text(value)}\n" for key, value in named.items() if value)


@dataclass(frozen=True, slots=True)
class _Founding:
    """What a genesis is to say."""

    exchange: str
    operator: str
    operator_name: str
    key: SigningKey
    further_keys: Sequence[bytes]
    threshold: int


async def _found(folders: Folders, founding: _Founding, place: RedisPlace | None) -> bytes:
    stores = stores_in(folders, place)
    statement = genesis_statement(
        founding.exchange,
        await make_log(folders, Origin(founding.exchange, Origin.DIRECTORY_LOG), stores),
        founding.operator,
        founding.operator_name,
        founding.key,
        further_keys=founding.further_keys,
        threshold=founding.threshold,
        now_ms=clocks.wall_ms(),
        nonce=secrets.token_bytes(16),
    )
    return await found_exchange(folders, statement, WatchedClock(clocks.wall_ms, clocks.monotonic_ms), stores)


@click.command()
@config_option
@click.option("--adopt", is_flag=True, help="Take over a log of which this machine has no checkpoint on record.")
@click.option("--accept-clock", is_flag=True, help="Believe the clock after a pause of more than an hour.")
def serve(config_path: Path, *, adopt: bool, accept_clock: bool) -> None:
    """Run the hub until SIGTERM, then drain. A second signal ends it at once.

    \b
    Examples:
      exchange serve --config hub/hub.toml
      exchange serve --config hub/hub.toml --accept-clock      (after the hub was down for more than an hour)
    """
    settings = config.load(config_path)
    logging.configure(level=settings.log_level)
    asyncio.run(app.serve(settings, adopt=adopt, accept_clock=accept_clock))


@click.command()
@config_option
@json_option
def check_config(config_path: Path, *, as_json: bool) -> None:
    """Check the hub's configuration and print what is in force, with whole paths. Holds no secrets.

    Also looks whether the files and folders that it names are there and can be read; 1 when one cannot.

    \b
    Example:
      exchange check-config --config hub/hub.toml
    """
    settings = config.load(config_path).resolved()
    show_settings(msgspec.to_builtins(settings, enc_hook=str), list(_unusable(settings)), as_json=as_json)


def _unusable(settings: config.Config) -> Iterator[str]:
    """Yield what a hub could not start with."""
    tls = settings.tls
    files = {"tls.certificate": tls.certificate, "tls.key": tls.key, "tls.client_authority": tls.client_authority}
    folders = {"data": settings.data, "keys": settings.keys_folder}
    named = {
        "protected.values": settings.protected.values,
        "automation.key": settings.automation.key,
        "automation.canaries": settings.automation.canaries,
    }
    files |= {key: path for key, path in named.items() if path is not None}
    if settings.marks_folder.exists():  # else it is made with the first mark
        folders["marks"] = settings.marks_folder
    if settings.place is not None:
        files |= settings.place.files()
        if settings.bundles is not None:
            folders["bundles"] = settings.bundles
    yield from unreadable(files, folders)

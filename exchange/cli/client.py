"""``exchange client``: a workload's own file, from its member's side, with certificates of its own authority."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.addresses import Address
from exchange.cli.client_files import Connecting, write_client
from exchange.cli.output import emit, json_option
from exchange.domain.identifiers import is_name
from exchange.domain.kinds import CLASS_ROLES, MemberClass, Role
from exchange.errors import Reason, Rejected
from exchange.stores.folders import make_key, read_key
from exchange_client.json_words import bytes32

_PEM = click.Path(path_type=Path, dir_okay=False, exists=True)


def _genesis(_: click.Context, __: click.Parameter, text: str) -> bytes:
    value = bytes32(text)
    if not value:
        raise click.BadParameter("must be 64 hexadecimal characters")
    return value


def _name(_: click.Context, __: click.Parameter, text: str) -> str:
    if not is_name(text):
        raise click.BadParameter("must be a name of a-z, 0-9, dots and hyphens, at most 63")
    return text


@click.command()
@click.option("--exchange", required=True, callback=_name, help="The exchange's name, such as my.exchange.")
@click.option("--member", required=True, callback=_name, help="Your member id there.")
@click.option("--role", required=True, type=click.Choice([role.word for role in Role]), help="What this workload does.")
@click.option(
    "--hub",
    "addresses",
    required=True,
    multiple=True,
    type=Address(),
    help="A hub. Repeat for more.",
)
@click.option("--genesis", required=True, callback=_genesis, help="The exchange's genesis hash, from its operator.")
@click.option("--certificate", required=True, type=_PEM, help="This workload's certificate (PEM), of your authority.")
@click.option("--key", required=True, type=_PEM, help="The certificate's private key (PEM).")
@click.option("--authority", required=True, type=_PEM, help="The authority of the hub's certificate (PEM).")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=".", show_default=True)
@json_option
def client(
    exchange: str,
    member: str,
    role: str,
    addresses: tuple[str, ...],
    genesis: bytes,
    certificate: Path,
    key: Path,
    authority: Path,
    folder: Path,
    *,
    as_json: bool,
) -> None:
    """Write a workload's client.toml into a folder, and its signing key where there is none yet. Needs no hub.

    Prints the public key and what an operator runs to register it. A folder is for one workload.

    \b
    Example:
      exchange client --exchange my.exchange --member alpha --role pipeline --hub hub.example:7443 \\
          --genesis 9c41... --certificate tls.pem --key tls-key.pem --authority ca.pem --folder alpha/pipeline
    """
    path, seed = folder / "client.toml", folder / "signing.seed"
    if path.exists():
        raise Rejected(Reason.CONFIG, f"{path}: exists already; nothing was changed")
    public = (read_key(seed) if seed.exists() else make_key(seed)).public_key.hex()
    write_client(
        path, exchange, member, Role[role.upper()], Connecting(addresses, certificate, key, authority), genesis
    )
    (class_,) = (each for each, roles in CLASS_ROLES.items() if Role[role.upper()] in roles)
    given = "" if class_ is MemberClass.PLATFORM else f" --class {class_.name.lower()}"
    command = f"exchange member add {member}{given} --key {role}={public}"
    told = [f"An operator registers {public} with (and --community for each that you join):", f"  {command}"]
    if role == Role.OPERATOR.word:
        told.append("A key that stands in the genesis is registered already.")
    emit(
        {"client": str(path), "public_key": public, "operator_command": command},
        as_json=as_json,
        lines=[str(path), *told],
    )

"""``exchange key``: a workload's own signing keys, from its member's side: the first, its age, and the next one."""

from __future__ import annotations

import time
from pathlib import Path

import click

from exchange.cli.connect import with_client
from exchange.cli.output import client_option, emit, json_option
from exchange.domain.directory import Directory
from exchange.errors import Reason, Rejected
from exchange.ledger.ed25519 import SigningKey
from exchange.ops.durable import sync_folder
from exchange.stores.folders import make_key
from exchange_client import ClientConfig, ExchangeClient

_DAY_S = 86_400


@click.group()
def key() -> None:
    """The signing key of this workload. A new one is registered by an operator; clients then sign with it.

    \b
    Examples:
      exchange key new alpha/pipeline/signing.seed               (then: exchange client)
      exchange key status --client alpha/pipeline/client.toml
      exchange key next --client alpha/pipeline/client.toml      (then: exchange member key add, by an operator)
      exchange key promote --client alpha/pipeline/client.toml   (then: exchange member key revoke, by an operator)
    """


def age_days(path: Path) -> int:
    """Return how old a key's file is, in whole days."""
    return int((time.time() - path.stat().st_mtime) // _DAY_S)


def standing(directory: Directory, settings: ClientConfig, public: SigningKey) -> str:
    """Return what the directory says of a key: "in force", "revoked", "not registered", or another's."""
    entry = directory.key(public.key_id)
    if entry is None:
        return "not registered"
    if (entry.member, entry.role) != (settings.member, settings.role_number):
        return f"registered for {entry.member}/{entry.role.word}"
    if entry.revoked:
        return "revoked"
    live = directory.live_keys(settings.member, settings.role_number)
    return "in force" if entry in live else "registered, but the role is not in force"


def _directory(client_path: Path) -> Directory:
    async def job(client: ExchangeClient, _: ClientConfig) -> Directory:
        return await client.directory()

    return with_client(client_path, job)


@key.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def new(file: Path, *, as_json: bool) -> None:
    """Make a workload's first signing key in a new FILE, and print its public key. Needs no hub.

    The file is for this workload alone; the public key is for an operator, who registers it.

    \b
    Example:
      exchange key new alpha/pipeline/signing.seed
    """
    public = make_key(file).public_key.hex()
    emit({"public_key": public, "file": str(file)}, as_json=as_json, lines=[f"{file} made; its public key is", public])


@key.command()
@client_option
@json_option
def status(client_path: Path, *, as_json: bool) -> None:
    """Show the present key and the next one: age, and what the directory says of each.

    \b
    Example:
      exchange key status --client alpha/pipeline/client.toml
    """
    settings = ClientConfig.load(client_path)
    directory = _directory(client_path)
    for name, path in (("present", settings.signing_key), ("next", settings.next_signing_key)):
        if name == "next" and not path.exists():
            continue
        held = settings.load_signing_key(path)
        said, days = standing(directory, settings, held), age_days(path)
        emit(
            {"key": name, "public_key": held.public_key.hex(), "days": days, "directory": said, "file": str(path)},
            as_json=as_json,
            lines=[f"{name:<8} {held.public_key.hex()}  {days} days old, {said}"],
        )


@key.command(name="next")
@client_option
@json_option
def next_(client_path: Path, *, as_json: bool) -> None:
    """Make the next key beside the present one, and print what an operator has to register.

    Clients go on with the present key, and change to the next one by themselves when the directory has it in force.

    \b
    Example:
      exchange key next --client alpha/pipeline/client.toml
    """
    settings = ClientConfig.load(client_path)
    path = settings.next_signing_key
    if path.exists():
        raise Rejected(
            Reason.CONFIG, f"{path}: there is a next key already", hint="`exchange key status` shows how it stands"
        )
    public = make_key(path).public_key.hex()
    command = f"exchange member key add {settings.member} --role {settings.role} --public-key {public}"
    emit(
        {"public_key": public, "file": str(path), "operator_command": command},
        as_json=as_json,
        lines=[str(path), "An operator registers it with:", f"  {command}"],
    )


@key.command()
@client_option
@json_option
def promote(client_path: Path, *, as_json: bool) -> None:
    """Put the next key in the present one's place, once the directory has it in force. The old key is gone then.

    \b
    Example:
      exchange key promote --client alpha/pipeline/client.toml
    """
    settings = ClientConfig.load(client_path)
    path = settings.next_signing_key
    if not path.exists():
        raise Rejected(Reason.CONFIG, f"{path}: there is no next key", hint="`exchange key next` makes one")
    old, new = settings.load_signing_key(), settings.load_signing_key(path)
    said = standing(_directory(client_path), settings, new)
    if said != "in force":
        raise Rejected(
            Reason.CONFIG,
            f"the next key is {said}",
            hint=f"an operator registers it: exchange member key add {settings.member} --role {settings.role} "
            f"--public-key {new.public_key.hex()}",
        )
    path.replace(settings.signing_key)
    sync_folder(path.parent)
    command = f"exchange member key revoke {settings.member} --role {settings.role} --public-key {old.public_key.hex()}"
    emit(
        {"public_key": new.public_key.hex(), "old_public_key": old.public_key.hex(), "operator_command": command},
        as_json=as_json,
        lines=[
            f"{settings.signing_key} holds {new.public_key.hex()}",
            "An operator revokes the old one with:",
            f"  {command}",
        ],
    )

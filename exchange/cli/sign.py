"""``exchange sign`` and ``exchange submit``: what several operators must sign, signed by each on their own machine."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli import cosigning
from exchange.cli.connect import as_client
from exchange.cli.output import client_option, emit, json_option, say
from exchange_client import ClientConfig, ExchangeClient

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=_FILE)
@client_option
@click.option("--yes", is_flag=True, help="Sign without asking.")
@json_option
def sign(file: Path, client_path: Path, *, yes: bool, as_json: bool) -> None:
    """Sign what another operator wrote with --to-sign, once you have read what it says. Needs no hub.

    FILE gets your signature beside those that are in it. Give it back to whoever wrote it, who submits it; several
    copies of it may be signed at the same time.

    \b
    Example:
      exchange retract 5f1c... --reason legal --to-sign retract.jsonl \\
          --community uk-elections --client hub/operator/client.toml
      exchange sign retract.jsonl --client second-operator/client.toml
      exchange submit retract.jsonl --client hub/operator/client.toml
    """
    settings = ClientConfig.load(client_path)
    cosigning.require_operator(settings, client_path)
    key = settings.load_signing_key()
    statements = cosigning.read(file)
    for statement in statements:
        say(*cosigning.in_words(statement), err=True)
    if not yes:
        click.confirm(f"Sign {'this' if len(statements) == 1 else f'these {len(statements)}'}?", abort=True, err=True)
    cosigning.write(file, [cosigning.signed_by(each, key) for each in statements], anew=False)
    data = {"file": str(file), "statements": len(statements), "key_id": key.key_id.hex()}
    emit(data, as_json=as_json, lines=[f"signed with key {key.key_id.hex()[:16]}: {file}"])


@click.command()
@click.argument("files", metavar="FILE...", type=_FILE, nargs=-1, required=True)
@client_option
@json_option
def submit(files: tuple[Path, ...], client_path: Path, *, as_json: bool) -> None:
    """Publish what was written with --to-sign, with the signatures of all copies of it.

    Done by the operator who wrote it. Submitted again, it is the same statement: nothing is said twice.

    \b
    Example:
      exchange submit retract.jsonl copy-of-second-operator.jsonl --client hub/operator/client.toml
    """
    statements = cosigning.merged([cosigning.read(file) for file in files])

    async def job(client: ExchangeClient, settings: ClientConfig) -> None:
        directory = await client.directory()
        whole = [cosigning.checked(directory, settings, each) for each in statements]
        for each in whole:
            cosigning.tell(each, await client.submit(each), as_json=as_json)

    as_client(ClientConfig.load(client_path), job)

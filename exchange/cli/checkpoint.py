"""``exchange checkpoint``: what a hub shows us of a ledger, to be held against what it shows to others."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.connect import origin_of, with_client
from exchange.cli.output import client_option, community_option, emit, json_option, say
from exchange.errors import Reason, Rejected, VerificationFailed
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, ExchangeClient
from exchange_client.auditor import Tree


@click.command()
@community_option
@client_option
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Another one's checkpoint: is the ledger that we are shown the same, gone on?",
)
@json_option
def checkpoint(name: str, client_path: Path, against: Path | None, *, as_json: bool) -> None:
    """Print a ledger's signed checkpoint as this hub shows it to us, its signature verified.

    It must go on from what this client file has followed, where it has. With --against a line on stderr says that both
    are of one ledger.

    Give it to other members by another way than through the hub, and hold theirs against what you are shown. It ends
    with 1 where the two cannot be of one ledger, and keeps both then in the client's state folder, under evidence: two
    of one size with different roots prove to everyone that two ledgers were shown.

    \b
    Examples:
      exchange checkpoint --community uk-elections --client alpha/liaison/client.toml > alpha.checkpoint
      exchange checkpoint --community uk-elections --client beta/liaison/client.toml --against alpha.checkpoint
    """

    async def job(client: ExchangeClient, settings: ClientConfig) -> tuple[Tree, Tree | None]:
        auditor = await client.auditor(origin_of(settings.exchange, name))
        shown = await auditor.tree()
        followed = await client.position(auditor.origin)
        other, theirs = followed.checkpoint if followed is not None else b"", None
        try:
            if followed is not None:
                await auditor.check_extends(shown, followed.range.size, followed.range.root())
            if against is not None:
                other = _read(against)
                theirs = auditor.opened(other)
                await auditor.check_extends(shown, theirs.size, theirs.checkpoint.root)
        except VerificationFailed as error:
            folder = _keep(settings, auditor.origin, shown.note, other)
            error.hint = f"both are in {folder}; was it another log, or another directory (--community directory)?"
            raise
        return shown, theirs

    tree, agreed = with_client(client_path, job)
    shown = tree.checkpoint
    data = {"origin": shown.origin, "size": shown.size, "root": shown.root.hex(), "checkpoint": tree.note.decode()}
    emit(data, as_json=as_json, lines=tree.note.decode().splitlines())
    if agreed is not None and not as_json:
        say(f"{against} and what we are shown agree up to size {agreed.size}: one ledger", err=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Rejected(Reason.CONFIG, f"{path}: {error.strerror}") from error


def _keep(settings: ClientConfig, origin: str, shown: bytes, other: bytes) -> Path:
    """Keep two checkpoints that are not of one ledger; return the folder."""
    folder = settings.state / "evidence" / f"{origin.replace('/', '_')}-{wall_ms()}"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "shown-to-us").write_bytes(shown)
    (folder / "against").write_bytes(other)
    return folder
